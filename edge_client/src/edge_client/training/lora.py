"""Puts the federation's adapter onto the base model, and gets it back in the order of the task's tensors."""

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
from fedit_shared.errors import FeditError
from fedit_shared.messages import TensorSpec

from .failures import AdapterError
from .memory import is_out_of_memory
from .plain_lora import ADVICE, lora_config


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
            raise AdapterError(f"The adapter does not fit the model: {error.message}", advice=ADVICE) from error
        parameters = [trained.pop(_place(state[tensor.name]), None) for tensor in self.tensors]
        if trained or None in parameters:
            raise AdapterError("The adapter trains weights that its file does not hold.", advice=ADVICE)
        return [parameter for parameter in parameters if parameter is not None]


def _put_on(model: PreTrainedModel, config: LoraConfig) -> PeftModel:
    try:
        return get_peft_model(model, config)
    except (ValueError, TypeError, AttributeError, KeyError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise
        reason = str(error).splitlines()[0].rstrip(".")
        raise AdapterError(f"The adapter cannot be put onto this model: {reason}.", advice=ADVICE) from error


def _take_off(model: PreTrainedModel) -> None:
    """As PEFT's ``unload``, which there is none of where PEFT itself failed half-way."""
    for name, module in list(model.named_modules()):
        if isinstance(module, BaseTunerLayer | ModulesToSaveWrapper):
            parent, _, own = name.rpartition(".")
            base = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module.original_module
            setattr(model.get_submodule(parent), own, base)
    model.__dict__.pop("peft_config", None)


def _place(tensor: Tensor) -> tuple[int, int]:
    return tensor.data_ptr(), tensor.numel()
