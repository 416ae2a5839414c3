"""What can go wrong in a child and that a person can set right. The ``code`` becomes that of the Failed event."""

from fedit_shared.errors import UserError


class ModelError(UserError):
    """The base model cannot be found, is not the federation's, or cannot be loaded here."""

    code = "model"
    usual = "Name another model, or get its files anew: a hub id, or a folder with config.json and safetensors."


class AdapterError(UserError):
    """The adapter does not fit the base model or the task."""

    code = "adapter"
    usual = "Name a PEFT folder that was made for this model, with adapter_config.json and adapter_model.safetensors."


class NoRoomError(UserError):
    """It does not fit into the memory that it may use."""

    code = "memory"
    usual = "Give it more memory with --memory, or close other programs."
