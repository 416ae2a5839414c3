"""What fits on this machine, before anything of a model but its shape is known. No torch."""

from collections.abc import Sequence

from edge_client.hardware import Hardware

from .footprint import LIBRARIES, TOKENIZER_ENTRY, Adapter, Work, make_adapter
from .planner import smallest
from .shape import ModelShape, read_shape

FREE_SHARE = 0.9
"""Of what is free now, without a budget from the owner."""
_ATTENTION = ("q_proj", "k_proj", "v_proj", "qkv_proj", "query_key_value", "c_attn", "o_proj", "out_proj", "dense")
_SIZES = (  # billions of parameters, width, layers, inner, heads, key heads, vocabulary: Llama's and SmolLM2's shapes
    (0.135, 576, 30, 1536, 9, 3, 49152),
    (0.36, 960, 32, 2560, 15, 5, 49152),
    (1.2, 2048, 16, 8192, 32, 8, 128256),
    (1.7, 2048, 24, 8192, 32, 32, 49152),
    (3.2, 3072, 28, 8192, 24, 8, 128256),
    (7, 4096, 32, 11008, 32, 32, 32000),
    (8, 4096, 32, 14336, 32, 8, 128256),
    (13, 5120, 40, 13824, 40, 40, 32000),
    (34, 8192, 48, 22016, 64, 8, 32000),
    (70, 8192, 80, 28672, 64, 8, 128256),
)


def expected_work(shape: ModelShape, adapter: Adapter, *, cuda: bool, bfloat16: bool, length: int) -> Work:
    """The work as it will be once the libraries are loaded; the child measures what this estimates."""
    base = LIBRARIES + TOKENIZER_ENTRY * shape.vocabulary
    width = 2 if bfloat16 else 4
    return Work(shape, adapter, cuda, width, length, base, uneven=True)  # as nearly all data is


def usual_adapter(shape: ModelShape, rank: int, targets: Sequence[str] | None) -> Adapter:
    """An adapter of ``rank`` on ``targets``, by default on all of attention."""
    return make_adapter(shape, rank, targets or _ATTENTION)


def free_memory(hardware: Hardware, *, cuda: bool) -> int:
    """Bytes that are free now: of the card, or of the machine."""
    if not cuda:
        return hardware.free_bytes
    return hardware.card.free_bytes if hardware.card else 0


def largest_model(hardware: Hardware, length: int = 512) -> float | None:
    """Billions of parameters of the largest usual model that can be trained here in 8 bits; None: not the smallest."""
    cuda = hardware.accelerator == "cuda"
    free = free_memory(hardware, cuda=cuda)
    fitting = None
    for billions, width, layers, inner, heads, keys, vocabulary in _SIZES:
        shape = read_shape(
            {
                "model_type": "llama",
                "hidden_size": width,
                "num_hidden_layers": layers,
                "intermediate_size": inner,
                "num_attention_heads": heads,
                "num_key_value_heads": keys,
                "vocab_size": vocabulary,
                "tie_word_embeddings": billions < 5,
            }
        )
        adapter = usual_adapter(shape, 8, None)
        work = expected_work(shape, adapter, cuda=cuda, bfloat16=hardware.multiplies_bfloat16(cuda=cuda), length=length)
        if smallest(work, ("int8",), 1).budget <= FREE_SHARE * free:
            fitting = billions
    return fitting
