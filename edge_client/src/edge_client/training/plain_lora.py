"""Which of PEFT's options an adapter may use. Light to import."""

import json
from typing import TYPE_CHECKING

from fedit_shared import adapter as wire
from fedit_shared.errors import ProtocolError

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
