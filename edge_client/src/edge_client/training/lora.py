"""Puts the federation's adapter onto the base model, and gets it back in the order of the task's tensors."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper, get_peft_model_state_dict
from torch import Tensor, nn
from transformers import PreTrainedModel

from fedit_shared import adapter as wire
from fedit_shared.errors import FeditError, ProtocolError
from fedit_shared.messages import TensorSpec

from .failures import AdapterError
from .memory import is_out_of_memory

_USED = {
    "r", "lora_alpha", "lora_dropout", "target_modules", "exclude_modules", "bias", "use_rslora", "rank_pattern",
    "alpha_pattern", "layers_to_transform", "layers_pattern", "fan_in_fan_out", "modules_to_save",
}  # fmt: skip
_IGNORED = {
    "peft_type", "task_type", "inference_mode", "base_model_name_or_path", "revision", "auto_mapping", "peft_version",
    "init_lora_weights", "megatron_core",
}  # fmt: skip
"""Of no meaning here, or of none once the weights are given."""


class Adapter:
    """The adapter on a model: :attr:`parameters` in the order of the manifest ``tensors``."""

    def __init__(self, model: PreTrainedModel, config: str, tensors: Sequence[TensorSpec]) -> None:
        """Attach to ``model``, in place. Raises AdapterError for a configuration or manifest that does not fit it, and
        lets an out-of-memory error through; ``model`` is as before then."""
        self.tensors = tuple(tensors)
        self.config = config
        lora = lora_config(config)
        try:
            self.peft = _put_on(model, lora)
            self.parameters = self._in_order()
        except BaseException:
            _take_off(model)
            raise

    def write(self, vector: NDArray[Any]) -> None:
        """Set the parameters from a flat float32 vector in the manifest's order."""
        values = torch.from_numpy(vector)
        with torch.no_grad():
            start = 0
            for parameter in self.parameters:
                parameter.copy_(values[start : start + parameter.numel()].view_as(parameter))
                start += parameter.numel()

    def read(self) -> NDArray[np.float32]:
        """The parameters as :meth:`write` takes them."""
        flat = torch.cat([parameter.detach().reshape(-1).float() for parameter in self.parameters])
        vector: NDArray[np.float32] = flat.cpu().numpy()
        return vector

    def remove(self) -> None:
        """Take the adapter off again; the base model is as before."""
        self.peft.unload()

    def _in_order(self) -> list[nn.Parameter]:
        trained = {_place(p): p for p in self.peft.parameters() if p.requires_grad}
        state = get_peft_model_state_dict(self.peft, save_embedding_layers=False)
        manifest = tuple(TensorSpec(name=name, shape=tuple(state[name].shape)) for name in sorted(state))
        try:
            wire.check_fits(self.tensors, manifest)
        except FeditError as error:
            raise AdapterError(f"The adapter does not fit the model: {error.message}", advice=_ADVICE) from error
        parameters = [trained.pop(_place(state[tensor.name]), None) for tensor in self.tensors]
        if trained or None in parameters:
            raise AdapterError("The adapter trains weights that its file does not hold.", advice=_ADVICE)
        return [parameter for parameter in parameters if parameter is not None]


def _put_on(model: PreTrainedModel, config: LoraConfig) -> PeftModel:
    try:
        return get_peft_model(model, config)
    except (ValueError, TypeError, AttributeError, KeyError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).splitlines()[0].rstrip(".")
        raise AdapterError(f"The adapter cannot be put onto this model: {reason}.", advice=_ADVICE) from error


def _take_off(model: PreTrainedModel) -> None:
    """As PEFT's ``unload``, which there is none of where PEFT itself failed half-way."""
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer | ModulesToSaveWrapper):
            parent, _, own = name.rpartition(".")
            base = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module.original_module
            setattr(model.get_submodule(parent), own, base)
    model.__dict__.pop("peft_config", None)


_ADVICE = "The federation's operator has to start it with an adapter made for its model."


def lora_config(text: str) -> LoraConfig:
    """The LoRA configuration in PEFT's adapter_config.json ``text``. Raises AdapterError for anything but plain LoRA:
    it comes from a server, and some of PEFT's options import modules by name or change the base's weights."""
    try:
        given = json.loads(wire.read_config(text.encode()))
    except ProtocolError as error:
        raise AdapterError(error.message, advice=_ADVICE) from error
    default = LoraConfig().to_dict()
    odd = sorted(key for key in given.keys() - _USED - _IGNORED if given[key] and given[key] != default.get(key))
    if odd:
        raise AdapterError(f"The adapter uses {', '.join(odd)}, which this client does not do.", advice=_ADVICE)
    try:
        return LoraConfig(task_type="CAUSAL_LM", **{key: given[key] for key in _USED & given.keys()})
    except (ValueError, TypeError) as error:
        raise AdapterError(f"The adapter's configuration is not usable: {error}.", advice=_ADVICE) from error


def _place(tensor: Tensor) -> tuple[int, int]:
    return tensor.data_ptr(), tensor.numel()
