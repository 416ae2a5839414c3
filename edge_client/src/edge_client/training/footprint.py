"""What training needs memory for, kind by kind, in bytes: arithmetic on a model's shape, held to measurements.

Per token and transformer layer, autograd keeps what the backward pass reads (a = width of a value in the compute
dtype, 4 or 2 bytes):

    norms            2 · width · 4             their inputs, in float32 whatever the compute dtype
    attention        (2 · heads + 2 · keys) · a + heads · 4     queries, keys, values, output; log-sum-exp; on a CPU
                     a = 4 where attention is ours; the output again where records are packed and need no conversion
    MLP              3 · inner · a             gate, its activation, up; ungated: 1 · inner · a
    adapter inputs   what A of each adapted layer multiplies: of layers that share their input one copy in float32,
                     under autocast on a CPU a copy for each; and there A and B themselves, once, in a bytes a value

That is a Llama. What others keep besides, or instead, is in :class:`.shape.Kept`: activations of several operations,
more norms or fewer, masks of dropout, and without a fused kernel attention's weights, heads · length · 4 and more.

The frozen, quantized weights keep nothing (:mod:`.int8_linear`). A layer that is computed again keeps its input alone.
At the peak either a chunk of logits stands beside all this, or one layer at work.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from fedit_shared.adapter import size
from fedit_shared.messages import TensorSpec
from fedit_shared.messages.task import Quantization
from fedit_shared.strategies import Role, Turn

from .shape import ModelShape

LIBRARIES = 390 << 20
"""Resident after every import: Python 3.11, torch 2.13 for CPUs, transformers 5.23, PEFT 0.21, bitsandbytes 0.50."""
TOKENIZER_ENTRY = 1000
"""Resident per word of the vocabulary: 50 MB for SmolLM2's 49,152."""
BUFFERS = 35 << 20
"""What torch, oneDNN and MKL allocate, and the code that is read in, once they are used."""
COMPILED = 25 << 20
"""Kernels that oneDNN compiles for bfloat16."""
HOLES = {False: 2.5, True: 3.5}
"""Layers whose activations would fill the gaps in pooled memory, with even and with uneven records."""
CUDA_BUFFERS = 64 << 20
"""Workspace of cuBLAS and the allocator's rounding. The context lies outside the allocator and outside the budget."""
MODULE = 100 << 10
"""Python's objects of one adapted layer."""
MAPPED = 1 << 20
"""Allocations of this size are mapped by themselves (set in :mod:`.process`) and handed back at once."""
POOLED_MOST = 32 << 20
"""Allocations of this size are mapped by themselves where freed memory is kept, too: glibc takes no larger size."""
CHUNK = 64
"""Tokens whose logits exist at one time: with 50,000 words 13 MB in float32, which stays in a CPU's cache."""


BLOCK = 256
"""Values of an 8-bit optimizer state that share a scale: bitsandbytes' optimizers know no other number."""


class Line(NamedTuple):
    """One line of the table."""

    what: str
    bytes: int


class Adapter(NamedTuple):
    """A LoRA adapter: values in all, and those of them that are trained; and the (name, inputs, rank) of the layers
    that it adapts, whose inputs are 0 where A rests, and rank where B does: a factor that rests keeps nothing."""

    parameters: int
    trained: int
    modules: tuple[tuple[str, int, int], ...]


@dataclass(frozen=True)
class Way:
    """One way to do the task. ``recomputed``: layers, the first ones, whose activations are computed again;
    ``optimizer_bits``: of a value of the optimizer's state, 32 or 8; ``pooled``: on a CPU, whether freed memory is kept
    for the next tensors, which is faster and leaves holes, or handed back at once; ``starved``: memory has run out in
    it, and is spared since by :meth:`.memory.Budget.tighten`."""

    quantization: Quantization
    micro_batch: int
    recomputed: int
    optimizer_bits: int = 32
    pooled: bool = False
    starved: bool = False


@dataclass(frozen=True)
class Work:
    """What does not depend on the way. ``width``: bytes of a value in the compute dtype; ``base``: bytes in use
    before the model is loaded, on a CPU; ``length``: tokens of the longest record; ``uneven``: whether others are
    shorter, so that they are packed."""

    shape: ModelShape
    adapter: Adapter
    cuda: bool
    width: int
    length: int
    base: int
    uneven: bool = False


def make_adapter(shape: ModelShape, rank: int, targets: Sequence[str]) -> Adapter:
    """An adapter of ``rank`` on the layers named ``targets``; names that ``shape`` does not know count for nothing."""
    chosen = [matrix for matrix in shape.matrices if matrix.name in targets]
    modules = tuple((matrix.name, matrix.inputs, rank) for _ in range(shape.layers) for matrix in chosen)
    values = shape.layers * sum(rank * (m.inputs + m.outputs) for m in chosen)
    return Adapter(values, values, modules)


def task_adapter(tensors: Sequence[TensorSpec], turn: Turn | None = None) -> Adapter:
    """The adapter of a task's manifest, as ``turn`` trains it, by default all of it."""
    resting = {t.name for t, role in zip(tensors, turn.roles, strict=True) if role is Role.REST} if turn else set()
    modules = []
    for tensor in tensors:
        layer, is_a, _ = tensor.name.partition(".lora_A.weight")
        if is_a:
            rank, inputs = tensor.shape
            kept = 0 if tensor.name in resting else inputs, 0 if f"{layer}.lora_B.weight" in resting else rank
            modules.append((layer.split(".")[-1], *kept))
    return Adapter(size(tensors), size([t for t in tensors if t.name not in resting]), tuple(modules))


def table(work: Work, way: Way) -> list[Line]:
    """The lines whose sum is the predicted peak of training."""
    shape, a, tokens = work.shape, work.width, way.micro_batch * work.length
    kept = shape.layers - way.recomputed
    layer = {name: sum(sizes) for name, sizes in _layer(work).items()}
    held = 4 * (work.adapter.parameters + work.adapter.trained)
    lines = [Line("interpreter, libraries, tokenizer, records", work.base)] if not work.cuda else []
    lines += weights(work, way.quantization)
    lines += [
        Line("adapter, its start and its modules", held + MODULE * len(work.adapter.modules)),
        Line("gradients, float32", 4 * work.adapter.trained),
        Line(f"optimizer state, {way.optimizer_bits} bits", optimizer_state(work, way)),
    ]
    lasting = len(lines)
    if way.recomputed:
        lines.append(
            Line(f"inputs of {way.recomputed} layers computed again", way.recomputed * tokens * shape.width * a)
        )
    lines += [Line(f"activations, {name}", kept * tokens * size) for name, size in layer.items() if kept and size]
    copies = _copies(work)
    if copies and kept:
        lines.append(Line("adapter in the compute dtype, where layers are kept", copies * kept // shape.layers))
    logits = CHUNK * shape.vocabulary * (2 * a + 8 if a < 4 else 12) + tokens * shape.width * a
    again = tokens * sum(layer.values()) + copies // shape.layers if way.recomputed else 0
    busy = at_work = again + _at_work(work, tokens)
    # The layers that are kept come last and are let go first, so none of them is there when others are computed again.
    if way.recomputed and kept:
        at_work = max(0, at_work - kept * tokens * sum(layer.values()))
    if logits >= at_work:
        lines.append(Line(f"logits of {CHUNK} tokens at a time", logits))
    else:
        lines.append(Line("one layer at work", at_work))
    # It grows while what was kept is let go, and is whole when that is gone.
    passing = sum(line.bytes for line in lines[lasting:])
    if 4 * work.adapter.trained + busy > passing:
        lines.append(Line("gradients of a piece, before they are summed", 4 * work.adapter.trained + busy - passing))
    lines.append(Line("buffers and allocator slack", _slack(work, way)))
    return lines


def _copies(work: Work) -> int:
    """Under autocast the products with A and B keep them in the compute dtype."""
    return work.width * work.adapter.parameters if work.width < 4 else 0


def optimizer_state(work: Work, way: Way) -> int:
    """AdamW's two moments; in 8 bits with a scale for BLOCK values."""
    values = 2 * work.adapter.trained
    return values * 4 if way.optimizer_bits == 32 else values + values * 4 // BLOCK


def peak(work: Work, way: Way) -> int:
    """Predicted peak of training in bytes: resident on a CPU, reserved by the allocator on CUDA."""
    return sum(line.bytes for line in table(work, way))


def weights(work: Work, quantization: Quantization) -> list[Line]:
    """The frozen base model."""
    shape = work.shape
    names = {"int8": "base, 8 bits and a scale a row", "nf4": "base, 4 bits (nf4)", "none": "base, unquantized"}
    sizes: Mapping[str, int] = {
        "int8": shape.quantized + 4 * shape.rows,
        "nf4": shape.quantized * 33 // 64,  # half a byte, and a byte of scale for 64 values
        "none": shape.quantized * work.width,
    }
    rest = "embeddings, norms" if shape.tied else "embeddings, head, norms"
    return [
        Line(names[quantization], sizes[quantization]),
        Line(f"{rest}, unquantized", shape.unquantized * work.width),
    ]


def mapped_share(work: Work, way: Way) -> float:
    """Which share of the activations' bytes is in tensors of MAPPED bytes and more: the others are pooled anyway."""
    sizes = _activations(work, way)
    return sum(size for size in sizes if size >= MAPPED) / sum(sizes)


def loading(work: Work, quantization: Quantization) -> int:
    """Peak of loading: the model, and the largest tensor in full precision while it is quantized or converted."""
    held = sum(line.bytes for line in weights(work, quantization)) + (0 if work.cuda else work.base)
    largest = max(matrix.inputs * matrix.outputs for matrix in work.shape.matrices)
    return held + max(13 * largest, work.shape.vocabulary * work.shape.width * 2)


def _layer(work: Work) -> dict[str, list[int]]:
    """What one layer keeps for one token: bytes of each tensor."""
    shape, a, kept = work.shape, work.width, work.shape.kept
    normed = a if kept.layer_norm and not work.cuda else 4
    norms = [normed * shape.width] * kept.norms
    if kept.head_norms:
        norms += [4 * shape.heads * shape.head_width, 4 * shape.key_heads * shape.head_width]
    plain = 3 if kept.inner > 3 else kept.inner
    made = 4 if work.cuda else a  # on CUDA autocast computes powers in float32
    return {
        "norms": norms,
        "attention": _attention(work),
        "MLP": [shape.inner * a] * plain + [shape.inner * made] * (kept.inner - plain),
        "dropout": [shape.width * (1 if work.cuda else a)] * kept.dropouts,
        "adapter inputs": _adapter_inputs(work),
    }


def _attention(work: Work) -> list[int]:
    """Queries, keys, values and what is made of them."""
    shape, a, kept = work.shape, work.width, work.shape.kept
    square = shape.heads * work.length
    queries, keys = shape.heads * shape.head_width, shape.key_heads * shape.head_width
    if kept.square:  # without a fused kernel keys and values are repeated for each query head
        repeated = keys if shape.key_heads == 1 else queries
        sizes = [queries * a, repeated * a, repeated * a, *[square * a] * kept.square]
        if a < 4 and (kept.widened or work.cuda):
            sizes.append(square * 4)
        if kept.attention_dropout:
            sizes += [square * a] * 2
        return sizes + ([(queries + keys) * a] if kept.whole else [])
    ours = _packs(work)  # in float32 on a CPU, see :mod:`.packing`
    wide = a if work.cuda or not ours else 4
    sizes = [queries * wide, queries * wide, keys * wide, keys * wide, 4 * shape.heads]
    if work.uneven and ours and a == wide:
        sizes.append(queries * wide)
    if kept.whole and a == wide:
        sizes.append((queries + keys) * wide)
    if _masked(work):  # keys and values are repeated for each query head, beside the mask
        sizes.append(int(shape.masked * (2 * (queries - keys) + work.length) * wide))
    elif work.cuda and a == 4 and shape.key_heads < shape.heads:
        # Cards before Ampere: no fused kernel there takes fewer key heads, the plain one keeps weights and copies.
        sizes += [(queries - keys) * a, (queries - keys) * a, square * a]
    if kept.attention_dropout and not work.cuda:  # no fused kernel on a CPU: weights, their mask, their product
        sizes += [square * wide] * 3
    return sizes


def _packs(work: Work) -> bool:
    """Whether attention is :mod:`.packing`'s."""
    return work.shape.kept.packs and (work.shape.window is None or work.length <= work.shape.window)


def _masked(work: Work) -> bool:
    """Whether some layers need a mask: that do not look back to the first token of the longest record."""
    return work.shape.masked > 0 and work.length > (work.shape.window or 0)


def _adapter_inputs(work: Work) -> list[int]:
    """Mean over the layers: an adapter may leave some of them out."""
    a, layers, modules = work.width, work.shape.layers, work.adapter.modules
    ranks = [rank * a // layers for _, _, rank in modules]
    if a < 4 and not work.cuda:  # PEFT asks for CUDA's autocast alone, and widens x before each A where it is off
        by_name: dict[str, int] = {}
        for name, inputs, _ in modules:
            by_name[name] = by_name.get(name, 0) + inputs
        return [inputs * a // layers for inputs in by_name.values()] + [sum(ranks)]
    known = {matrix.name: matrix.source for matrix in work.shape.matrices}
    sources: dict[str, int] = {}
    for name, inputs, _ in modules:
        source = known.get(name, name)
        sources[source] = max(inputs, sources.get(source, 0))
    kept = work.shape.kept
    copied = kept.joined and not (work.uneven and _packs(work))
    if not (kept.square or copied or (kept.attention_dropout and not work.cuda)):
        sources.pop("heads", None)  # a fused kernel keeps its output anyway
    return [inputs * a for inputs in sources.values()] + [sum(ranks)]


def _slack(work: Work, way: Way) -> int:
    """On a CPU: what is allocated once, and holes in the heap. Tensors of MAPPED bytes and more are mapped each by
    itself; where smaller ones are kept between them, up to three quarters of their size was lost: half is planned."""
    if work.cuda:
        return CUDA_BUFFERS
    sizes, kept = _activations(work, way), work.shape.layers - way.recomputed
    buffers = BUFFERS + (COMPILED if work.width < 4 else 0)
    if way.pooled:
        return buffers + int(HOLES[work.uneven] * sum(sizes)) + _widened_holes(work, way)
    small = sum(size for size in sizes if size < MAPPED)
    return buffers + (small * kept // 2 if mapped_share(work, way) else 0)


def _widened_holes(work: Work, way: Way) -> int:
    """bitsandbytes widens each 4-bit weight into memory of its own: among activations that are kept, a layer's largest
    leaves a hole of its size, unless it is mapped by itself."""
    if way.quantization != "nf4":
        return 0
    sizes = [matrix.inputs * matrix.outputs * work.width for matrix in work.shape.matrices]
    return (work.shape.layers - way.recomputed) * max((size for size in sizes if size < POOLED_MOST), default=0)


def _activations(work: Work, way: Way) -> list[int]:
    """Bytes of each tensor that one layer keeps."""
    return [way.micro_batch * work.length * size for sizes in _layer(work).values() for size in sizes]


def _at_work(work: Work, tokens: int) -> int:
    """What one layer's forward or backward pass holds for a moment: three of its widest values, a widened weight."""
    shape = work.shape
    widest = max(shape.inner, shape.width)
    largest = max(matrix.inputs * matrix.outputs for matrix in shape.matrices)
    return (3 * tokens * widest + largest) * work.width
