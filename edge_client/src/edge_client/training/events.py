"""What the training child says while it works, in this order: Notice, Loading and Fetching, Planned, then Progress,
BackedOff and Checkpointed as they come, and last Finished or Failed."""

import msgspec


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag=str.lower):
    pass


class Notice(_Event, frozen=True, kw_only=True):
    """Something that the owner should know although the work goes on: a fallback, skipped records, no hashes."""

    message: str


class Loading(_Event, frozen=True, kw_only=True):
    """The part that is being loaded: ``data``, ``files`` (the model's: fetched and checked), ``libraries``, ``model``
    or ``adapter``."""

    part: str


class Fetching(_Event, frozen=True, kw_only=True):
    """The base model's files come from the hub, once: bytes ``here`` of ``total`` that were missing at first."""

    model: str
    here: int
    total: int


class Planned(_Event, frozen=True, kw_only=True):
    """How the task will be done on this machine. None of it changes the mathematics: a step is always ``batch_size``
    records, normalised over all their tokens."""

    device: str
    quantization: str
    """``int8``, ``nf4`` or ``none``."""
    kernel: str
    """What multiplies quantized weights: ``bitsandbytes``, ``weight-only`` (int8 dequantized layer by layer),
    ``weight-only in float16`` (so, of float32), or ``torch``."""
    compute_dtype: str
    micro_batch: int
    batch_size: int
    max_length: int
    """Tokens of the longest record here, at most the task's."""
    recomputed: int
    """Layers whose activations are computed again in the backward pass to save memory."""
    layers: int
    steps: int | None
    """Steps to do; None where the task gives minutes."""
    first_step: int
    """0, or where an interrupted run goes on."""
    records: int
    threads: int
    budget_bytes: int | None
    predicted_bytes: int
    """The peak that is expected; after the first step a Notice tells what it was."""
    table: tuple[tuple[str, int], ...]
    """What the bytes are for; they sum to ``predicted_bytes``."""
    reason: str
    """Why this plan."""
    alternatives: tuple[str, ...] = ()
    """What less and more memory would get, a sentence each; none where it was begun in this way."""


class Progress(_Event, frozen=True, kw_only=True):
    """After each optimizer step."""

    step: int
    steps: int | None
    loss: float
    """Mean over the step's trained tokens, in nats, before the step."""
    tokens_per_second: float
    """Tokens that went through the model, padding not counted."""
    memory_bytes: int
    budget_bytes: int | None
    seconds_left: float


class BackedOff(_Event, frozen=True, kw_only=True):
    """Memory ran out: the same step is done again in smaller pieces. Nothing is lost or repeated."""

    micro_batch: int
    reason: str


class Checkpointed(_Event, frozen=True, kw_only=True):
    """Everything up to and including ``step`` is on disk."""

    step: int


class Finished(_Event, frozen=True, kw_only=True):
    """``delta_path``: the adapter after training minus the one before, of the tensors that the round sums: flat,
    float32 little-endian, in the order of ``task.tensors``, and nothing else in the file
    (:func:`edge_client.training.read_delta`). ``private_path``: in the same form, the values after training of the
    tensors that stay on the device; None if there are none."""

    delta_path: str
    private_path: str | None = None
    examples: int
    """Distinct records that were trained on."""
    tokens: int
    """Tokens that carried loss, repetitions counted."""
    loss: float
    """Mean over those tokens, each before the step that used it."""
    steps: int
    seconds: float
    peak_bytes: int
    """Highest memory of the child: resident on a CPU, reserved by the allocator on CUDA."""


class Failed(_Event, frozen=True, kw_only=True):
    """The child gave up, or died. ``message`` and ``advice`` are one line each, for a person."""

    code: str
    """What has to be set right: ``usage``, ``model``, ``adapter``, ``memory`` or ``disk``. What may pass: ``hub`` (it
    cannot be reached), ``crowded`` (others hold the memory) or ``absent`` (the records' file is not there). ``stopped``
    and ``died``: ended from without. ``internal``: a bug."""
    message: str
    advice: str = ""
    detail: str = ""
    """Last lines that the child wrote to stderr: for a bug report, not for a person's screen."""


TrainEvent = Notice | Loading | Fetching | Planned | Progress | BackedOff | Checkpointed | Finished | Failed
