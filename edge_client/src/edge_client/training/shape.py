"""A language model's shape, from its ``config.json`` alone: what matrices it has, how wide, how many.

Pure arithmetic on a mapping: no torch, no transformers. What a configuration leaves out is transformers' default for
its type; what had to be guessed is said in :attr:`ModelShape.guesses`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from .failures import ModelError
from .families import (
    ACTIVATIONS,
    DROPOUT,
    EAGER,
    EQUAL_HEADS,
    FAMILIES,
    FIXED_INNER,
    HEAD_WIDTH,
    LLAMA,
    POSITIONS,
    TABLES,
    TIED,
    WHOLE_EVERY,
    WINDOWS,
    Family,
)

Source = Literal["attention", "heads", "mlp", "inner"]
"""What a matrix multiplies: the normed input of attention, the heads' output, the MLP's normed input, its middle."""


class Matrix(NamedTuple):
    """A linear layer's weight, which every transformer layer has one of."""

    name: str
    inputs: int
    outputs: int
    source: Source


_MOST_LAYERS, _MOST_WORDS, _MOST = 1000, 2**24, 2**20
"""Of layers, of words, and of anything else, in a configuration that is taken for one: far more than any model has."""


class Kept(NamedTuple):
    """What a layer keeps for the backward pass, as far as the widths do not say. ``norms`` and ``inner``: copies of the
    model's and the MLP's width; ``head_norms``: queries and keys from before their norms too; ``whole``: also what one
    matrix made of all three; ``square``: copies of attention's weights, heads × length, 0 with a fused kernel;
    ``widened``: one of them in float32; ``dropouts``: masks of the model's width; ``attention_dropout``: one of
    attention's weights; ``layer_norm``: the norms' copies are in the compute dtype on a CPU; ``packs`` and
    ``joined``: see :class:`.families.Family`."""

    norms: int
    inner: int
    head_norms: bool = False
    whole: bool = False
    square: int = 0
    widened: bool = True
    dropouts: int = 0
    attention_dropout: bool = False
    layer_norm: bool = False
    packs: bool = True
    joined: bool = False


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
    tied: bool
    kept: Kept
    window: int | None
    """Tokens that attention looks back; None: all of them."""
    masked: float
    """In which part of the layers, 0 to 1, attention has a mask where a record is longer than :attr:`window`."""
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
    refuse_more_than_text(config)
    text, kind = _text_model(config)
    guesses = []
    family = FAMILIES.get(kind)
    if family is None:
        family = LLAMA
        guesses.append(f"Models of type {kind or 'unknown'} are taken for ones like Llama.")
    if others := _other_layers(text):
        guesses.append(f"Its layers of {' and '.join(others)} are planned as if they were attention.")
    width = _number(text, "hidden_size", "n_embd", "n_embed", "d_model")
    layers = _number(text, "num_hidden_layers", "n_layer", "n_layers", "num_layers", most=_MOST_LAYERS)
    heads = _number(text, "num_attention_heads", "n_head", "n_heads", "num_heads")
    vocabulary = _number(text, "vocab_size", most=_MOST_WORDS)
    key_heads = _key_heads(text, kind, heads)
    head_width = _number(text, "head_dim", default=HEAD_WIDTH.get(kind, width // heads))
    if not head_width:
        raise ModelError(f"The model's config.json has {heads} heads in a width of {width}, which no model has.")
    inner = _inner(text, kind, width)
    experts = _number(text, "num_local_experts", "num_experts", "n_routed_experts", default=1)
    attention = heads * head_width
    keys = key_heads * head_width
    tied = bool(_first(text, config, "tie_word_embeddings", kind in TIED))
    up = inner * (2 if family.gated else 1) // len(family.mlp)
    outputs = (attention, keys, keys) if len(family.attention) == 3 else (attention + 2 * keys,)
    matrices = [Matrix(name, width, size, "attention") for name, size in zip(family.attention, outputs, strict=True)]
    matrices.append(Matrix(family.out, attention, width, "heads"))
    unquantized = vocabulary * width * (1 if tied else 2) + (2 * layers + 1) * width
    if kind in POSITIONS:
        unquantized += (_positions(text, kind) + POSITIONS[kind]) * width
    if experts > 1:
        size = _number(text, "moe_intermediate_size", default=inner)
        unquantized += layers * experts * 3 * width * size
        inner = size * _number(text, "num_experts_per_tok", default=2)
        guesses.append(f"Its {experts} experts a layer are held unquantized, as transformers stores them.")
    else:
        matrices += [Matrix(name, width, up, "mlp") for name in family.mlp]
        matrices.append(Matrix(family.down, inner, width, "inner"))
    window, masked = _window(text, kind, layers)
    return ModelShape(
        kind=kind,
        width=width,
        layers=layers,
        vocabulary=vocabulary,
        heads=heads,
        key_heads=key_heads,
        head_width=head_width,
        inner=inner,
        tied=tied,
        kept=_kept(text, kind, family),
        window=window,
        masked=masked,
        matrices=tuple(matrices),
        unquantized=unquantized,
        guesses=tuple(guesses),
    )


def refuse_more_than_text(config: Mapping[str, Any]) -> None:
    """Raises ModelError for a model of images or sounds beside its text: what lies there is neither counted nor
    trained, but would be loaded, and adapters would be put onto it."""
    beside = sorted(
        name.removesuffix("_config")
        for name, value in config.items()
        if name.endswith("_config") and name not in _OF_TEXT and isinstance(value, Mapping)
    )
    if beside and isinstance(config.get("text_config"), Mapping):
        _, kind = _text_model(config)
        raise ModelError(
            f"This model is one of text and {', '.join(beside)}, of which only the text could be trained.",
            advice=f"Name a variant that holds the language model alone, one whose config.json says model_type {kind}.",
        )


_OF_TEXT = {"text_config", "quantization_config", "generation_config"}


def read_positions(config: Mapping[str, Any]) -> int | None:
    """Tokens of the longest text that the model in a parsed ``config.json`` has positions for; None where it computes
    them, so that what it was trained on is a recommendation only. Raises ModelError for a number that is none."""
    text, kind = _text_model(config)
    return _positions(text, kind) if kind in TABLES else None


def _text_model(config: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    """The language model's own part, and its type."""
    inner = config.get("text_config")
    text: Mapping[str, Any] = inner if isinstance(inner, Mapping) else config
    kind = text.get("model_type") or config.get("model_type") or ""
    if not isinstance(kind, str):
        raise ModelError("The model's config.json has a model_type that is no text.")
    return text, kind


def _other_layers(text: Mapping[str, Any]) -> list[str]:
    """Kinds of layers besides attention that the configuration names, each once."""
    types = text.get("layer_types", text.get("layers_block_type"))
    named = {kind for kind in types if isinstance(kind, str)} if isinstance(types, list) else set()
    return sorted(kind for kind in named if "attention" not in kind or kind.startswith("linear"))


def _positions(text: Mapping[str, Any], kind: str) -> int:
    return _number(text, "n_positions", "max_position_embeddings", default=TABLES[kind])


def _key_heads(text: Mapping[str, Any], kind: str, heads: int) -> int:
    if kind == "gpt_bigcode" or _is_old_falcon(text, kind):
        return 1 if text.get("multi_query", True) else heads
    if kind == "falcon":
        return _number(text, "num_kv_heads", default=heads)
    return heads if kind in EQUAL_HEADS else _number(text, "num_key_value_heads", default=heads)


def _inner(text: Mapping[str, Any], kind: str, width: int) -> int:
    if kind == "mpt" and text.get("expansion_ratio"):
        return width * _number(text, "expansion_ratio")
    if kind == "falcon" and text.get("ffn_hidden_size"):
        return _number(text, "ffn_hidden_size")
    if kind in FIXED_INNER:
        return 4 * width
    return _number(text, "ffn_hidden_size", "ffn_dim", "n_inner", "intermediate_size", default=4 * width)


def _is_old_falcon(text: Mapping[str, Any], kind: str) -> bool:
    return kind == "falcon" and not text.get("new_decoder_architecture")


def _kept(text: Mapping[str, Any], kind: str, family: Family) -> Kept:
    name = next((text[key] for key in _ACTIVATION if isinstance(text.get(key), str)), family.activation)
    capped = text.get("attn_logit_softcapping") is not None or kind in ("gemma2", "vaultgemma")
    lonely = _is_old_falcon(text, kind) and text.get("multi_query", True) and not text.get("alibi")
    parallel = text.get(_PARALLEL[kind], True) if kind in _PARALLEL else False
    residual = ("resid_pdrop", "resid_dropout", "residual_dropout", "hidden_dropout", "dropout")
    return Kept(
        norms=1 if parallel else family.norms,
        inner=ACTIVATIONS.get(name, 1) + (2 if family.gated else 0),
        head_norms=family.head_norms or bool(text.get("use_qk_norm") or text.get("qk_layernorm")),
        whole=family.turned and len(family.attention) == 1,
        square=2 if capped else int(family.eager or kind in EAGER or lonely),  # SDPA has no kernel for one key head
        widened=family.widened,
        dropouts=0 if family.gated else 2 * _drops(text, kind, *residual),
        attention_dropout=_drops(text, kind, "attn_pdrop", "attention_dropout"),
        layer_norm=family.layer_norm,
        packs=family.packs,
        joined=family.joined,
    )


_PARALLEL = {"gpt_neox": "use_parallel_residual", "falcon": "parallel_attn"}
_ACTIVATION = ("hidden_activation", "hidden_act", "activation_function", "activation")


def _drops(text: Mapping[str, Any], kind: str, *names: str) -> bool:
    """Whether values are left out at random while training."""
    found = next((text[name] for name in names if isinstance(text.get(name), int | float)), DROPOUT.get(kind, 0))
    return bool(found > 0)


def _window(text: Mapping[str, Any], kind: str, layers: int) -> tuple[int | None, float]:
    """How far some layers look back, and which part of all have a mask for that."""
    if kind == "falcon" and text.get("new_decoder_architecture"):
        return None, 1.0  # it always makes one
    if not text.get("use_sliding_window", True) or ("use_sliding_window" not in text and kind in _ON_REQUEST):
        return None, 0.0
    if "sliding_window" in text and text["sliding_window"] is None:
        return None, 0.0
    size = _number(text, "sliding_window", default=WINDOWS.get(kind, _MOST))
    if size == _MOST:
        return None, 0.0
    types = text.get("layer_types")
    if isinstance(types, list) and types:
        return size, types.count("sliding_attention") / len(types)
    if kind in _ON_REQUEST:
        return size, max(0, layers - _number(text, "max_window_layers", default=layers)) / layers
    every = WHOLE_EVERY.get(kind)
    return size, 1.0 if every is None else (layers - layers // every) / layers


_ON_REQUEST = {"qwen2", "qwen3", "smollm3"}
"""Types that have a window only where they are told to use it."""


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
