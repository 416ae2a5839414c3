"""What the children are asked to do. Paths are of this machine and never leave it."""

from typing import Literal

import msgspec

from edge_client.data.source import DataSource
from fedit_shared.messages import TaskSpec

Device = Literal["auto", "cpu", "cuda"]


class TrainJob(msgspec.Struct, frozen=True, kw_only=True, tag="train"):
    """One round's local work: the federation's adapter, trained on this machine's records."""

    task: TaskSpec
    round: int = 1
    """Its number, which decides the strategy's turn."""
    adapter: str
    """The global adapter: PEFT's safetensors file, whose tensors are ``task.tensors``."""
    private: str | None = None
    """With what the tensors begin that the strategy keeps on the device: a file of their values alone, float32
    little-endian, in the order of ``task.tensors``. None: with the adapter's."""
    data: DataSource
    work: str
    """Folder for checkpoints and the result, of this job alone; made if absent. What it holds of another job is
    thrown away."""
    seed: int = 0
    """Decides the order of records and dropout. The same job and seed give the same delta on a CPU."""
    model_folder: str | None = None
    """The base model's files, instead of the hub's ``task.model.id``."""
    memory_bytes: int | None = None
    """What the child may use in all, the interpreter and libraries included; on CUDA, of the card's memory."""
    device: Device = "auto"
    threads: int | None = None
    """CPU threads; None: all of this machine's cores."""
    checkpoint_seconds: float = 60.0
    """At most this much work is lost by a kill."""


class CreateJob(msgspec.Struct, frozen=True, kw_only=True, tag="create"):
    """A new adapter, the start state of a federation: B is zero, A random by ``seed``, so it changes nothing yet."""

    model: str
    """A hub id, or a folder."""
    out: str
    revision: str | None = None
    rank: int = 8
    alpha: int | None = None
    """None: twice the rank."""
    dropout: float = 0.0
    target_modules: tuple[str, ...] | None = None
    """Names of linear layers; None: PEFT's own choice for this architecture."""
    seed: int = 0


class Created(msgspec.Struct, frozen=True, kw_only=True, tag="created"):
    """What the child made in ``out``: ``adapter_config.json``, ``adapter_model.safetensors`` and ``fedit.json`` (a
    :class:`~fedit_shared.messages.ModelRef` as JSON)."""

    out: str
    model_id: str
    revision: str
    tensors: int
    parameters: int
    target_modules: tuple[str, ...]


class MergeJob(msgspec.Struct, frozen=True, kw_only=True, tag="merge"):
    """One model of a base model (a hub id, or a folder) and a PEFT folder."""

    model: str
    adapter: str
    out: str
    revision: str | None = None


class Merged(msgspec.Struct, frozen=True, kw_only=True, tag="merged"):
    """What the child made in ``out``: the model's files, of whose weights ``tensors`` have changed."""

    out: str
    tensors: int
    bytes: int
