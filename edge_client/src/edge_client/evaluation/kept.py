"""What an evaluation has found so far, in a folder: after a kill it goes on from there, and judging reads it later."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Self

import msgspec
from filelock import FileLock, Timeout
from msgspec.structs import replace

from edge_client.data import Record, Records
from edge_client.disk import Disk, disk_errors
from edge_client.inference import Open, TaskFigure
from fedit_shared import adapter as wire
from fedit_shared.errors import UserError
from fedit_shared.messages import UNREADABLE

from .lines import Lines

BASE = "base"
"""The arm of the model without an adapter."""
_ADVICE = "Name another folder with --out, or delete this one."


class Arm(msgspec.Struct, frozen=True, kw_only=True):
    """What is compared. ``sha256``: in hex, of the adapter's two files; "" for the base alone."""

    name: str
    adapter: str | None = None
    sha256: str = ""

    @classmethod
    def of(cls, named: str) -> Self:
        """The arm that a person names with ``named``: a PEFT folder, or NAME=FOLDER. Raises UserError."""
        name, _, path = named.rpartition("=")
        folder = Path(path).expanduser().absolute()
        name = name or folder.name
        if not name.isprintable() or name == BASE:
            raise UserError(f"An arm cannot be named {name!r}.", advice="Name it with NAME=FOLDER.")
        digest = sha256()
        for file in (wire.CONFIG_NAME, wire.FILE_NAME):
            try:
                digest.update(sha256((folder / file).read_bytes()).digest())
            except OSError as error:
                advice = "Name a PEFT folder, as `fedit-server export` writes it."
                raise UserError(f"{folder / file} cannot be read: {error.strerror}.", advice=advice) from error
        return cls(name=name, adapter=str(folder), sha256=digest.hexdigest())


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What decides the results; they are kept under one header only. ``files``: of a model's folder, each weights
    file's size and time; ``data``: SHA-256, in hex; ``arms``: by name, of their adapters."""

    model: str
    revision: str
    files: dict[str, tuple[int, int]]
    data: str
    records: int
    max_length: int
    max_new_tokens: int
    quantization: str
    arms: dict[str, str] = {}

    @classmethod
    def of(cls, settings: Open, data: Records | None, max_length: int, max_new_tokens: int) -> Self:
        """The header of an evaluation of ``settings`` on ``data`` (None: on tasks alone), without arms."""
        folder = Path(settings.model_folder) if settings.model_folder is not None else None
        stats = {path.name: path.stat() for path in sorted(folder.glob("*.safetensors"))} if folder else {}
        return cls(
            model=settings.model.id,
            revision=settings.model.revision,
            files={name: (stat.st_size, stat.st_mtime_ns) for name, stat in stats.items()},
            data="" if data is None else data.sha256.hex(),
            records=0 if data is None else len(data.records),
            max_length=max_length,
            max_new_tokens=max_new_tokens,
            quantization=",".join(settings.quantization),
        )


class Loss(msgspec.Struct, frozen=True, kw_only=True):
    """One record's reference under an arm: the sum of its tokens' losses in nats, and their number."""

    arm: str
    place: int
    category: str
    loss: float
    tokens: int


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What an arm answered to the record in ``place``. See :class:`edge_client.inference.Generated`."""

    arm: str
    place: int
    record: Record
    text: str
    tokens: int
    ended: bool


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """A task of lm-evaluation-harness that an arm has done, on ``limit`` documents (None: all)."""

    arm: str
    name: str
    limit: int | None
    figures: tuple[TaskFigure, ...]


class Kept:
    """The files in ``folder``: ``evaluation.json`` (the header), ``losses.jsonl``, ``answers.jsonl``,
    ``tasks.jsonl``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.losses: Lines[Loss] = Lines(folder / "losses.jsonl", Loss)
        self.answers: Lines[Answer] = Lines(folder / "answers.jsonl", Answer)
        self.tasks: Lines[Done] = Lines(folder / "tasks.jsonl", Done)

    def claim(self, header: Header, arms: Sequence[Arm]) -> None:
        """Let results of ``arms`` under ``header`` come in; arms may join later. Raises UserError if the folder holds
        results of other settings, or of another adapter under the same name."""
        path = self.folder / "evaluation.json"
        found = read_header(self.folder)
        named = {arm.name: arm.sha256 for arm in arms}
        if found is not None:
            if replace(found, arms={}) != header:
                differing = next(n for n in header.__struct_fields__ if getattr(found, n) != getattr(header, n))
                raise UserError(f"{self.folder} holds an evaluation with another {_WORDS[differing]}.", advice=_ADVICE)
            for name, digest in named.items():
                if found.arms.get(name, digest) != digest:
                    raise UserError(f"{self.folder} holds results of another adapter as {name}.", advice=_ADVICE)
            named = found.arms | named
        Disk().write(path, msgspec.json.format(msgspec.json.encode(replace(header, arms=named)), indent=1) + b"\n")


_WORDS = {
    "model": "model",
    "revision": "revision of the model",
    "files": "state of the model's files",
    "data": "data set",
    "records": "number of records",
    "max_length": "--max-length",
    "max_new_tokens": "--max-new-tokens",
    "quantization": "--quantization",
}


def read_header(folder: Path) -> Header | None:
    """What the results in ``folder`` belong to; None if there are none. Raises UserError for a file that is none."""
    data = Disk().read(folder / "evaluation.json")
    try:
        return None if data is None else msgspec.json.decode(data, type=Header)
    except UNREADABLE as error:
        raise UserError(f"{folder / 'evaluation.json'} is of no evaluation: {error}.", advice=_ADVICE) from error


@contextmanager
def held(folder: Path) -> Iterator[Path]:
    """``folder``, made if absent, for one process alone. Raises UserError if another one works there."""
    Disk().make(folder)
    lock = FileLock(folder / "lock", timeout=0)
    with disk_errors(folder):
        try:
            lock.acquire()
        except Timeout:
            raise UserError(f"Another process is at work in {folder}.", advice="Wait for it, or stop it.") from None
    try:
        yield folder
    finally:
        lock.release()
