"""What the inference child is asked, and what it answers."""

import msgspec

from edge_client.data.source import DataSource, Record
from edge_client.training.events import Failed, Fetching, Loading, Notice
from edge_client.training.job import Device
from fedit_shared.messages import ModelRef
from fedit_shared.messages.task import Quantization


class Open(msgspec.Struct, frozen=True, kw_only=True, tag="open"):
    """Load the base model once. ``adapter_config``: PEFT's adapter_config.json for adapters given as bare files."""

    model: ModelRef
    model_folder: str | None = None
    adapter_config: str | None = None
    quantization: tuple[Quantization, ...] = ("int8",)
    memory_bytes: int | None = None
    device: Device = "auto"
    threads: int | None = None


class Evaluate(msgspec.Struct, frozen=True, kw_only=True, tag="evaluate"):
    """Loss of the records' responses. ``adapter``: a safetensors file, a PEFT folder, or None for the base alone."""

    adapter: str | None
    records: tuple[Record, ...] | DataSource
    max_length: int = 512
    train_on_inputs: bool = False


class Generate(msgspec.Struct, frozen=True, kw_only=True, tag="generate"):
    """Answer each record's instruction, always taking the likeliest token."""

    adapter: str | None
    records: tuple[Record, ...]
    max_new_tokens: int = 128


class Chat(msgspec.Struct, frozen=True, kw_only=True, tag="chat"):
    """Answer one instruction, telling the answer piece by piece while it is made."""

    adapter: str | None
    record: Record
    max_new_tokens: int = 512


class RunTask(msgspec.Struct, frozen=True, kw_only=True, tag="run_task"):
    """Do one task, or group of tasks, of lm-evaluation-harness. ``include_path``: a folder with tasks besides its own;
    ``limit``: so many documents of each, None for all."""

    adapter: str | None
    name: str
    include_path: str | None = None
    limit: int | None = None


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """The model is loaded."""

    quantization: str
    kernel: str
    device: str


class Scored(msgspec.Struct, frozen=True, kw_only=True, tag="scored"):
    """Progress of a request: so many of its records are done."""

    done: int
    records: int


class Piece(msgspec.Struct, frozen=True, kw_only=True, tag="piece"):
    """The next characters of the answer to a Chat."""

    text: str


class RecordLoss(msgspec.Struct, frozen=True, kw_only=True):
    """One record's response: the sum of its tokens' losses, in nats, and their number."""

    loss_sum: float
    tokens: int
    category: str


class Evaluation(msgspec.Struct, frozen=True, kw_only=True, tag="evaluation"):
    """Losses in the order of the records; one whose response was cut off whole, or that the model's chat template
    cannot show, has 0 tokens."""

    records: tuple[RecordLoss, ...]

    @property
    def loss(self) -> float:
        """Mean loss of a response token over all records, in nats; NaN without any."""
        return _mean(self.records)

    def by_category(self) -> dict[str, float]:
        """Mean loss of a response token in each category, in the categories' alphabetical order."""
        names = sorted({record.category for record in self.records})
        return {name: _mean(tuple(r for r in self.records if r.category == name)) for name in names}


class Generated(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to an instruction."""

    text: str
    tokens: int
    """How many were generated, the end of turn counted. 0: the instruction fills the model's context already,
    or its chat template cannot show it."""
    ended: bool
    """Whether the model ended its turn, and was not cut off."""


class Answers(msgspec.Struct, frozen=True, kw_only=True, tag="answers"):
    """In the order of the records."""

    answers: tuple[Generated, ...]


class TaskFigure(msgspec.Struct, frozen=True, kw_only=True):
    """One metric of one task. ``values``: of each document, where ``value`` is their mean; else empty."""

    task: str
    metric: str
    value: float
    values: tuple[float, ...]


class TaskFigures(msgspec.Struct, frozen=True, kw_only=True, tag="task_figures"):
    """What the harness found, a group's tasks one by one."""

    figures: tuple[TaskFigure, ...]


Request = Open | Evaluate | Generate | Chat | RunTask
Reply = Ready | Scored | Piece | Evaluation | Answers | TaskFigures | Failed | Notice | Loading | Fetching


def _mean(records: tuple[RecordLoss, ...]) -> float:
    tokens = sum(record.tokens for record in records)
    return sum(record.loss_sum for record in records) / tokens if tokens else float("nan")
