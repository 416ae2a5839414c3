"""Adapters as PEFT keeps them, and which of its options one may use. Light to import."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedit_shared import adapter as wire
from fedit_shared.errors import ProtocolError
from fedit_shared.messages import TensorSpec

from .failures import AdapterError

if TYPE_CHECKING:
    from peft import LoraConfig

_USED = {
    "r", "lora_alpha", "lora_dropout", "target_modules", "exclude_modules", "bias", "use_rslora", "rank_pattern",
    "alpha_pattern", "layers_to_transform", "layers_pattern", "fan_in_fan_out", "modules_to_save",
}  # fmt: skip
_IGNORED = {
    "peft_type", "task_type", "inference_mode", "base_model_name_or_path", "revision", "auto_mapping", "peft_version",
    "init_lora_weights", "megatron_core",
}  # fmt: skip
"""Of no meaning here, or of none once the weights are given."""
ADVICE = "The federation's operator has to start it with an adapter made for its model."


def lora_config(text: str) -> "LoraConfig":
    """The LoRA configuration in PEFT's adapter_config.json ``text``, for PEFT. Raises AdapterError for anything but
    plain LoRA: it comes from a server, and some of PEFT's options import modules by name or change the base's weights.
    Loads torch."""
    from peft import LoraConfig

    try:
        given = json.loads(wire.read_config(text.encode()))
    except ProtocolError as error:
        raise AdapterError(error.message, advice=ADVICE) from error
    default = LoraConfig().to_dict()
    odd = sorted(key for key in given.keys() - _USED - _IGNORED if given[key] and given[key] != default.get(key))
    if odd:
        raise AdapterError(f"The adapter uses {', '.join(odd)}, which this client does not do.", advice=ADVICE)
    try:
        return LoraConfig(task_type="CAUSAL_LM", **{key: given[key] for key in _USED & given.keys()})
    except (ValueError, TypeError) as error:
        raise AdapterError(f"The adapter's configuration is not usable: {error}.", advice=ADVICE) from error


def read_peft(path: Path, config: str | None = None) -> tuple[str, tuple[TensorSpec, ...], NDArray[np.float32]]:
    """Configuration, manifest and values of an adapter's folder, or of a bare file with the configuration given.
    Raises AdapterError."""
    try:
        if path.is_dir():
            config, path = wire.read_config((path / wire.CONFIG_NAME).read_bytes()), path / wire.FILE_NAME
        if config is None:
            raise AdapterError(f"{path} is no folder, and no configuration is given.", advice="Name a PEFT folder.")
        return config, *wire.read_adapter(path.read_bytes())
    except OSError as error:
        raise AdapterError(f"The adapter {path} cannot be read: {error.strerror or error}.") from error
    except ProtocolError as error:
        raise AdapterError(f"{path}: {error.message}", advice=error.advice) from error
