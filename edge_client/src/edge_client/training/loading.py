"""Loads the base model in the first way that the task allows and this machine can do."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bitsandbytes.nn import Linear4bit, Linear8bitLt
from safetensors import SafetensorError
from transformers import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    AutoConfig,
    BitsAndBytesConfig,
    GenerationConfig,
    PretrainedConfig,
    PreTrainedModel,
    core_model_loading,
)

from edge_client.reasons import reason_of
from fedit_shared.messages.task import Quantization

from .failures import ModelError
from .int8_linear import use_int8_linear
from .memory import is_out_of_memory
from .shape import refuse_more_than_text
from .tokenizer import load_tokenizer
from .weights import stored_weights

QUANTIZED = (Linear4bit, Linear8bitLt)
Notify = Callable[[str], None]
_LOAD_ERRORS = (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError, RuntimeError, SafetensorError)
"""What transformers raises for files that are no model, or for one that this version does not know."""


@dataclass(frozen=True)
class Base:
    """A frozen base model with its tokenizer. ``kernel``: see :class:`.events.Planned`."""

    model: PreTrainedModel
    tokenizer: Any
    device: torch.device
    dtype: torch.dtype
    """Of activations; adapters are float32."""
    quantization: Quantization
    kernel: str


def choose_device(wanted: str) -> torch.device:
    """``auto``: a CUDA card where torch sees one, by its number, which some of torch's functions insist on. Raises
    ModelError for a card that is not there."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ModelError("torch finds no CUDA card here.", advice="`fedit-client doctor` says what to install.")
    if wanted == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", torch.cuda.current_device())


def compute_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the machine multiplies it, else float32: emulated, bfloat16 is 40 times slower than that on a CPU,
    and float16 does not hold what models trained in bfloat16 compute (see :func:`half_products`)."""
    if device.type == "cuda":
        can = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        found = torch.cpu.get_capabilities()
        can = found.get("avx512_bf16") or found.get("amx_bf16")
    return torch.bfloat16 if can else torch.float32


def half_products(device: torch.device) -> bool:
    """Whether float32 is multiplied with the base's codes in float16: on cards without bfloat16."""
    return device.type == "cuda" and compute_dtype(device) == torch.float32


def load_base(
    folder: Path, allowed: Sequence[Quantization], device: torch.device, notify: Notify, tokenizer: Any = None
) -> Base:
    """The model in ``folder``, frozen, in the first of ``allowed`` that works; ``notify`` is told of each that does
    not. ``tokenizer``: if it is loaded already. Raises ModelError if none works, and lets an out-of-memory error
    through."""
    tokenizer = tokenizer or load_tokenizer(folder)
    dtype = compute_dtype(device)
    for place, quantization in enumerate(allowed):
        try:
            model = _load(folder, quantization, dtype, device)
        except _LOAD_ERRORS as error:
            if is_out_of_memory(error):
                raise
            reason = f"The model in {folder} cannot be loaded {_NAMES[quantization]}: {reason_of(error)}."
            if place + 1 == len(allowed):
                raise ModelError(reason, advice=_advice(allowed)) from error
            notify(f"{reason} It is loaded {_NAMES[allowed[place + 1]]} instead, as the federation allows.")
            continue
        model.requires_grad_(False)
        _keep_differentiable(model)
        half = half_products(device)
        if use_int8_linear(model, half=half):
            kernel = "weight-only in float16" if half else "weight-only"
        else:
            kernel = "bitsandbytes" if quantization == "nf4" else "torch"
        return Base(model, tokenizer, device, dtype, quantization, kernel)
    raise AssertionError("a task allows at least one quantization")


def _keep_differentiable(model: PreTrainedModel) -> None:
    """Have bitsandbytes leave 4-bit weights as they are. On a CPU with AVX512-BF16 it packs them anew at the first
    forward pass in ``eval()``, for good, for a product without a backward pass: gradients end there, silently."""
    for layer in model.modules():
        if isinstance(layer, Linear4bit):
            layer.support_avx512bf16_for_cpu = False


_NAMES = {"int8": "in 8 bits", "nf4": "in 4 bits (nf4)", "none": "unquantized"}


def _load(folder: Path, quantization: Quantization, dtype: torch.dtype, device: torch.device) -> PreTrainedModel:
    config: BitsAndBytesConfig | None = None
    if quantization == "int8":
        config = BitsAndBytesConfig(load_in_8bit=True)
    elif quantization == "nf4":
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    shape = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    refuse_more_than_text(shape.to_dict())
    os.environ["HF_DEACTIVATE_ASYNC_LOAD"] = "1"  # several threads would each hold a tensor in full precision
    with _running_out_is_raised(), _plain_linear_layers(shape):
        model, info = _architecture(shape).from_pretrained(
            None,
            config=shape,
            state_dict=stored_weights(folder),
            dtype=dtype,
            device_map={"": device},
            quantization_config=config,
            output_loading_info=True,
        )
    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    missing = sorted(info["missing_keys"]) + sorted(str(key) for key in info["mismatched_keys"])
    if missing:  # transformers would go on with random weights
        raise ValueError(f"{len(missing)} weights are missing or of another shape, first {missing[0]}")
    loaded: PreTrainedModel = model
    if config is not None and not any(isinstance(layer, QUANTIZED) for layer in loaded.modules()):
        raise ValueError("bitsandbytes finds no layer in it to quantize")  # it only warns, and goes on unquantized
    return loaded


@contextmanager
def _running_out_is_raised() -> Iterator[None]:
    """Within the block an out-of-memory error in the quantization of a weight ends the load: transformers notes down
    whatever is raised there, goes on, and says at the end that a conversion failed."""
    noted = core_model_loading.log_conversion_errors

    @contextmanager
    def note(*arguments: Any, **options: Any) -> Iterator[None]:
        ran_out: Exception | None = None
        with noted(*arguments, **options):
            try:
                yield
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                ran_out = error
        if ran_out is not None:
            raise ran_out

    core_model_loading.log_conversion_errors = note
    try:
        yield
    finally:
        core_model_loading.log_conversion_errors = noted


@contextmanager
def _plain_linear_layers(config: PretrainedConfig) -> Iterator[None]:
    """Within the block a Falcon is made with torch's own linear layers: transformers quantizes no others, and Falcon's
    compute the same."""
    if config.model_type != "falcon":
        yield
        return
    from transformers.models.falcon import modeling_falcon

    own = modeling_falcon.FalconLinear
    modeling_falcon.FalconLinear = torch.nn.Linear
    try:
        yield
    finally:
        modeling_falcon.FalconLinear = own


def _architecture(config: PretrainedConfig) -> Any:
    """The class of causal language models for ``config``. Raises ValueError if transformers has none."""
    try:
        return MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    except KeyError:
        raise ValueError(f"models of type {config.model_type} are no causal language models") from None


def _advice(allowed: Sequence[Quantization]) -> str:
    return f"The federation allows no other way than {', '.join(_NAMES[q] for q in allowed)}."
