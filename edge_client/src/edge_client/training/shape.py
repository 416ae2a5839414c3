"""A language model's shape, from its ``config.json`` alone: what matrices it has, how wide, how many.

Pure arithmetic on a mapping: no torch, no transformers. What a configuration leaves out is transformers' default for
its type; what had to be guessed is said in :attr:`ModelShape.guesses`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from .failures import ModelError

Source = Literal["attention", "heads", "mlp", "inner"]
"""What a matrix multiplies: the normed input of attention, the heads' output, the MLP's normed input, its middle."""


class Matrix(NamedTuple):
    """A linear layer's weight, which every transformer layer has one of."""

    name: str
    inputs: int
    outputs: int
    source: Source


class _Family(NamedTuple):
    """Names of the linear layers. One name for several projections: they are fused into one matrix."""

    attention: tuple[str, ...]
    out: str
    mlp: tuple[str, ...]
    down: str
    gated: bool = True


_QKV = ("q_proj", "k_proj", "v_proj")
_NEOX = _Family(("query_key_value",), "dense", ("dense_h_to_4h",), "dense_4h_to_h", gated=False)
_LLAMA = _Family(_QKV, "o_proj", ("gate_proj", "up_proj"), "down_proj")
_FAMILIES = {
    **dict.fromkeys("llama mistral qwen2 qwen3 gemma gemma2 gemma3_text smollm3 stablelm olmo olmo2".split(), _LLAMA),
    **dict.fromkeys("granite cohere cohere2 ernie4_5".split(), _LLAMA),
    **dict.fromkeys(("glm", "glm4"), _Family(_QKV, "o_proj", ("gate_up_proj",), "down_proj")),
    "phi3": _Family(("qkv_proj",), "o_proj", ("gate_up_proj",), "down_proj"),
    "phi": _Family(_QKV, "dense", ("fc1",), "fc2", gated=False),
    "gpt_neox": _NEOX,
    "bloom": _NEOX,
    "falcon": _NEOX,
    "gpt2": _Family(("c_attn",), "c_proj", ("c_fc",), "c_proj", gated=False),
    "gptj": _Family(_QKV, "out_proj", ("fc_in",), "fc_out", gated=False),
    "opt": _Family(_QKV, "out_proj", ("fc1",), "fc2", gated=False),
    "starcoder2": _Family(_QKV, "o_proj", ("c_fc",), "c_proj", gated=False),
}
_TIED = set("gemma gemma2 gemma3_text gpt2 opt falcon bloom smollm3 cohere cohere2 starcoder2 mpt ernie4_5".split())
"""Types whose head is the embedding unless the configuration says otherwise."""
_HEAD_WIDTH = {"gemma": 256, "gemma2": 256, "gemma3_text": 256, "qwen3": 128, "glm": 128, "glm4": 128}
"""What transformers takes for a head's width where that is not width / heads."""
_EQUAL_HEADS = {"gpt_neox", "gpt2", "gptj", "opt", "bloom", "mpt"}
"""Types with as many key heads as heads, whatever else the configuration says."""
_POSITIONS = {"gpt2": 0, "opt": 2}
"""Types that learn a table of positions, and the rows that it has besides."""
_TABLES = {
    "gpt2": 1024,
    "opt": 2048,
    "gptj": 2048,
    "codegen": 2048,
    "gpt_neo": 2048,
    "gpt_bigcode": 1024,
    "biogpt": 1024,
}
"""Types that look positions up in a table, and its length where the configuration says none."""
_MOST_LAYERS, _MOST_WORDS, _MOST = 1000, 2**24, 2**20
"""Of layers, of words, and of anything else, in a configuration that is taken for one: far more than any model has."""


@dataclass(frozen=True)
class ModelShape:
    """Widths are in values. ``matrices``: of one layer, those that are quantized."""

    kind: str
    width: int
    layers: int
    vocabulary: int
    heads: int
    key_heads: int
    head_width: int
    inner: int
    gated: bool
    tied: bool
    square_attention: bool
    """Whether attention's weights, heads × length × length, are kept: no fused kernel for it."""
    matrices: tuple[Matrix, ...]
    unquantized: int
    """Parameters besides ``matrices``: embeddings, a head of its own, norms, experts."""
    guesses: tuple[str, ...]

    @property
    def quantized(self) -> int:
        """Parameters in all layers' ``matrices``."""
        return self.layers * sum(matrix.inputs * matrix.outputs for matrix in self.matrices)

    @property
    def rows(self) -> int:
        """Rows of all layers' ``matrices``: in 8 bits each has a scale."""
        return self.layers * sum(matrix.outputs for matrix in self.matrices)


def read_shape(config: Mapping[str, Any]) -> ModelShape:
    """The shape in a parsed ``config.json``. Raises ModelError if it is no language model's."""
    text, kind = _text_model(config)
    guesses = []
    family = _FAMILIES.get(kind)
    if family is None:
        family = _LLAMA
        guesses.append(f"Models of type {kind or 'unknown'} are taken for ones like Llama.")
    width = _number(text, "hidden_size", "n_embd", "d_model")
    layers = _number(text, "num_hidden_layers", "n_layer", "n_layers", "num_layers", most=_MOST_LAYERS)
    heads = _number(text, "num_attention_heads", "n_head", "n_heads")
    vocabulary = _number(text, "vocab_size", most=_MOST_WORDS)
    key_heads = _key_heads(text, kind, heads)
    head_width = _number(text, "head_dim", default=_HEAD_WIDTH.get(kind, width // heads))
    if not head_width:
        raise ModelError(f"The model's config.json has {heads} heads in a width of {width}, which no model has.")
    inner = _number(text, "ffn_hidden_size", "ffn_dim", "n_inner", "intermediate_size", default=4 * width)
    experts = _number(text, "num_local_experts", "num_experts", "n_routed_experts", default=1)
    attention = heads * head_width
    keys = key_heads * head_width
    tied = bool(_first(text, config, "tie_word_embeddings", kind in _TIED))
    up = inner * (2 if family.gated else 1) // len(family.mlp)
    outputs = (attention, keys, keys) if len(family.attention) == 3 else (attention + 2 * keys,)
    matrices = [Matrix(name, width, size, "attention") for name, size in zip(family.attention, outputs, strict=True)]
    matrices.append(Matrix(family.out, attention, width, "heads"))
    unquantized = vocabulary * width * (1 if tied else 2) + (2 * layers + 1) * width
    if kind in _POSITIONS:
        unquantized += (_positions(text, kind) + _POSITIONS[kind]) * width
    if experts > 1:
        size = _number(text, "moe_intermediate_size", default=inner)
        unquantized += layers * experts * 3 * width * size
        inner = size * _number(text, "num_experts_per_tok", default=2)
        guesses.append(f"Its {experts} experts a layer are held unquantized, as transformers stores them.")
    else:
        matrices += [Matrix(name, width, up, "mlp") for name in family.mlp]
        matrices.append(Matrix(family.down, inner, width, "inner"))
    return ModelShape(
        kind=kind,
        width=width,
        layers=layers,
        vocabulary=vocabulary,
        heads=heads,
        key_heads=key_heads,
        head_width=head_width,
        inner=inner,
        gated=family.gated,
        tied=tied,
        square_attention=text.get("attn_logit_softcapping") is not None or kind == "gemma2",
        matrices=tuple(matrices),
        unquantized=unquantized,
        guesses=tuple(guesses),
    )


def read_positions(config: Mapping[str, Any]) -> int | None:
    """Tokens of the longest text that the model in a parsed ``config.json`` has positions for; None where it computes
    them, so that what it was trained on is a recommendation only. Raises ModelError for a number that is none."""
    text, kind = _text_model(config)
    return _positions(text, kind) if kind in _TABLES else None


def _text_model(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The language model's own part, and its type."""
    inner = config.get("text_config")
    text: Mapping[str, Any] = inner if isinstance(inner, Mapping) else config
    kind = text.get("model_type") or config.get("model_type") or ""
    if not isinstance(kind, str):
        raise ModelError("The model's config.json has a model_type that is no text.")
    return text, kind


def _positions(text: Mapping[str, Any], kind: str) -> int:
    return _number(text, "n_positions", "max_position_embeddings", default=_TABLES[kind])


def _key_heads(text: Mapping[str, Any], kind: str, heads: int) -> int:
    if kind == "falcon":  # its old architecture has one key head, by a flag
        if not text.get("new_decoder_architecture"):
            return 1 if text.get("multi_query", True) else heads
        return _number(text, "num_kv_heads", default=heads)
    return heads if kind in _EQUAL_HEADS else _number(text, "num_key_value_heads", default=heads)


def _number(text: Mapping[str, Any], *names: str, default: int | None = None, most: int = _MOST) -> int:
    """The first of ``names`` that is there and not null. Raises ModelError unless it is 1 to ``most``."""
    for name in names:
        value = text.get(name)
        if value is not None:
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ModelError(f"The model's config.json has {name} = {value!r}, which is no size.")
            if value > most:
                raise ModelError(f"The model's config.json has a {name} of more than {most:,}, which no model has.")
            return value
    if default is None:
        raise ModelError(
            f"The model's config.json names no {names[0]}: no language model that can be planned for.",
            advice="Name a causal language model in transformers' format.",
        )
    return default


def _first(text: Mapping[str, Any], config: Mapping[str, Any], name: str, default: bool) -> bool:
    value = text.get(name, config.get(name))
    return default if value is None else bool(value)
