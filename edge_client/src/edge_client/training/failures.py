"""What can go wrong in a child and that a person can set right. The ``code`` becomes that of the Failed event."""

from fedit_shared.errors import UserError


class ModelError(UserError):
    """The base model cannot be found, is not the federation's, or cannot be loaded here."""

    code = "model"


class AdapterError(UserError):
    """The adapter does not fit the base model or the task."""

    code = "adapter"


class NoRoomError(UserError):
    """It does not fit into the memory that it may use."""

    code = "memory"
