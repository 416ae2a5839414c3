"""What a federation trains, and how: bytes that everyone hashes as received and never encodes again."""

import math
from typing import Annotated, Literal

import msgspec

from fedit_shared.strategies import Turn, largest, require_fits, turn_of

from .fields import Hash, Text, UnixTime

# Bounds keep infinity and what no machine could do out of a task, where it is read and where it is made.
LearningRate = Annotated[float, msgspec.Meta(gt=0, le=10)]
Epochs = Annotated[float, msgspec.Meta(gt=0, le=10_000)]
Minutes = Annotated[float, msgspec.Meta(gt=0, le=7 * 24 * 60)]
Proximal = Annotated[float, msgspec.Meta(ge=0, le=10**6)]
Steps = Annotated[int, msgspec.Meta(ge=1, le=10_000_000)]
ClipRange = Annotated[float, msgspec.Meta(ge=1e-300, le=1e30)]
"""Beyond it w·L/c is no float64, or the mean no float32."""
Quantization = Literal["int8", "nf4", "none"]
MaxWeight = Annotated[int, msgspec.Meta(ge=1, le=4096)]
ADAPTER_CONFIG_BYTES = 2**16
MAX_VALUES = 2**31
"""Values of an adapter: 8 GiB in float32. Rank 64 on every layer of a 70B model has 0.8 · 10⁹."""


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    pass


class ModelRef(_Part, frozen=True, kw_only=True):
    """The base model: a hub id (or a folder's name), its commit, and the SHA-256 of the files that decide what it
    computes. A client loads nothing whose file hashes differ; no hashes, no check, and the client says so."""

    id: Text
    revision: Text = ""
    files: dict[Text, Hash] = {}


class TensorSpec(_Part, frozen=True, kw_only=True):
    """One tensor of the adapter, by its name in PEFT's file; its place is its place in the list."""

    name: Text
    shape: Annotated[tuple[Annotated[int, msgspec.Meta(ge=1, le=2**31)], ...], msgspec.Meta(max_length=4)]

    @property
    def size(self) -> int:
        """Number of values."""
        return math.prod(self.shape)


class TrainingSettings(_Part, frozen=True, kw_only=True):
    """Local work. Exactly one of ``steps``, ``epochs`` and ``minutes`` is set."""

    learning_rate: LearningRate = 3e-4
    batch_size: Annotated[int, msgspec.Meta(ge=1, le=65536)] = 16
    """Records a step, whatever micro-batch a machine can hold."""
    steps: Steps | None = None
    epochs: Epochs | None = 1.0
    minutes: Minutes | None = None
    max_length: Annotated[int, msgspec.Meta(ge=8, le=2**20)] = 512
    """Tokens of a record; what is longer is cut at its end."""
    train_on_inputs: bool = False
    weight_decay: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.0
    max_grad_norm: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 1.0
    warmup_steps: Annotated[int, msgspec.Meta(ge=0, le=10_000_000)] = 0
    quantization: Annotated[tuple[Quantization, ...], msgspec.Meta(min_length=1, max_length=3)] = ("int8",)
    """What a client may load the base in, preferred first."""

    def __post_init__(self) -> None:
        if sum(measure is not None for measure in (self.steps, self.epochs, self.minutes)) != 1:
            raise ValueError("exactly one of steps, epochs and minutes has to be set")


class TaskSpec(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """Everything that stays the same over all rounds of a federation."""

    name: Text
    model: ModelRef
    adapter_config: Annotated[str, msgspec.Meta(max_length=ADAPTER_CONFIG_BYTES)]
    """PEFT's adapter_config.json: at most ADAPTER_CONFIG_BYTES in UTF-8, of whatever characters."""
    tensors: Annotated[tuple[TensorSpec, ...], msgspec.Meta(min_length=1, max_length=65536)]
    training: TrainingSettings
    strategy: Text = "fedavg"
    """A name in :data:`fedit_shared.strategies.STRATEGIES`: which tensors a round trains, and which it sums."""
    proximal: Proximal = 0.0
    """μ of FedProx: μ/2·‖x‖² is added to the loss of local training, x being the change of what is summed."""
    max_weight: MaxWeight = 1
    """The most that a device may count for; 1: all count the same. Sums of weights are published, so above 1 they tell
    how many records each device has: it is part of what its owner agrees to."""

    def __post_init__(self) -> None:
        if len(self.adapter_config.encode()) > ADAPTER_CONFIG_BYTES:
            raise ValueError(f"adapter_config has more than {ADAPTER_CONFIG_BYTES} bytes")
        if len({tensor.name for tensor in self.tensors}) < len(self.tensors):
            raise ValueError("two tensors have the same name")
        values = sum(tensor.size for tensor in self.tensors)
        if values > MAX_VALUES:
            raise ValueError(f"the tensors have {values} values, {MAX_VALUES} are allowed")
        require_fits(self.strategy, (tensor.name for tensor in self.tensors))

    def turn(self, round: int) -> Turn:
        """What round ``round`` does with each tensor."""
        return turn_of(self.strategy, self._sizes, round)

    @property
    def most_summed(self) -> int:
        """Values of the vector that a device masks, in the round with the longest one."""
        return largest(self.strategy, self._sizes)

    @property
    def _sizes(self) -> list[tuple[str, int]]:
        return [(tensor.name, tensor.size) for tensor in self.tensors]


class RoundSettings(_Part, frozen=True, kw_only=True):
    """How a cohort's vectors are quantized and until when it may answer."""

    model: Text
    clip: Annotated[tuple[ClipRange, ...], msgspec.Meta(min_length=1, max_length=65536)]
    """Clip range of each tensor, in the task's order; that of one which this round does not sum counts for nothing."""
    slot_bits: Literal[12, 16, 24] = 16
    max_weight: MaxWeight = 1
    """W: at most the task's."""
    not_after: UnixTime
