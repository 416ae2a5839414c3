"""One update of this device: a piece of training from one adapter version, its delta, and whether that is spent."""

from hashlib import sha256
from pathlib import Path

import msgspec

from edge_client.data import DataSource, RecordSource, write_records
from edge_client.disk import Disk
from fedit_shared.errors import FeditError

from .records import CorruptStateError, Trained, pack, unpack


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """What is trained: from which adapter version, by which task, in which turn of its strategy, in which order of
    records."""

    adapter: bytes
    task_hash: bytes
    seed: int
    turn: int = 0


class SpentError(FeditError):
    """This delta may be in a sum already. It must never enter a second one."""

    usual = "Nothing is lost: the next round trains anew."


class UpdateFolder:
    """A folder of ``updates/``: ``begun``, the trainer's ``work``, ``trained`` when it is done, ``spent``; ``private``:
    with what the tensors begin that stay on this device; ``records``: what an application gave to be trained on."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self.folder = folder
        self._disk = disk

    @classmethod
    def begin(cls, folder: Path, disk: Disk, begun: Begun) -> "UpdateFolder":
        """A new update."""
        disk.make(folder / "work")
        disk.write(folder / "begun", pack(begun))
        return cls(folder, disk)

    @property
    def name(self) -> str:
        """What attempts call this update by."""
        return self.folder.name

    @property
    def work(self) -> Path:
        """The trainer's own folder."""
        return self.folder / "work"

    def begun(self) -> Begun | None:
        """None for a folder that was only just made when everything stopped: rubbish."""
        data = self._disk.read(self.folder / "begun")
        return None if data is None else unpack(data, Begun, self.folder / "begun")

    def keep_records(self, records: RecordSource) -> DataSource:
        """What an application gives to be trained on, as a file: asked for once, however often training is
        interrupted."""
        path = self.folder / "records"
        if not path.exists():
            given = list(records())
            with self._disk.stream(path) as file:
                write_records(given, file)
        return DataSource(path=str(path), container="jsonl")

    def begin_with(self, private: bytes) -> Path:
        """A file with these values, for the trainer."""
        path = self.folder / "private"
        self._disk.write(path, private)
        return path

    def finish(self, delta: Path, *, examples: int, loss: float) -> Trained:
        """Keep what training gave. ``delta``: float32 little-endian, a file inside :attr:`work`."""
        data = self._disk.read(delta)
        if data is None:
            raise CorruptStateError(f"{delta} is missing.", advice="Start again: the training is repeated.")
        own = self.folder / "delta"
        self._disk.write(own, data)
        trained = Trained(sha256=sha256(data).digest(), examples=examples, loss=loss)
        self._disk.write(self.folder / "trained", pack(trained))
        self._disk.remove(self.work)
        self._disk.remove(self.folder / "private")
        self._disk.remove(self.folder / "records")
        return trained

    def trained(self) -> Trained | None:
        """What training gave, once it is done."""
        data = self._disk.read(self.folder / "trained")
        return None if data is None else unpack(data, Trained, self.folder / "trained")

    def delta(self) -> bytes:
        """The trained delta. Raises SpentError if it may be in a sum already."""
        trained, data = self.trained(), self._disk.read(self.folder / "delta")
        if self.spent_by is not None:
            raise SpentError("This update was sent already.")
        if trained is None or data is None or sha256(data).digest() != trained.sha256:
            raise CorruptStateError(
                f"{self.folder / 'delta'} is damaged.", advice="Start again: the training is repeated."
            )
        return data

    @property
    def spent_by(self) -> str | None:
        """The attempt whose receipt this delta left with; None if it is in no sum and may still enter one."""
        data = self._disk.read(self.folder / "spent")
        if data is not None and not data.isascii():
            raise CorruptStateError(
                f"{self.folder / 'spent'} is damaged.", advice="Move the folder away and join with a new invitation."
            )
        return None if data is None else data.decode()

    def spend(self, attempt: str) -> None:
        """Mark it, before ``attempt``'s receipt leaves. Raises SpentError if another one's has left."""
        if self.spent_by not in (None, attempt):
            raise SpentError("This update was sent already.")
        self._disk.write(self.folder / "spent", attempt.encode())

    def restore(self) -> None:
        """Votes show that it is in no sum: it may be mustered again."""
        self._disk.remove(self.folder / "spent")

    def erase(self) -> None:
        """Remove the delta of a sent update that nothing can give back any more. That it was sent stays known."""
        self._disk.remove(self.folder / "delta")

    def drop(self) -> None:
        """Forget it."""
        self._disk.remove(self.folder / "begun")
        self._disk.remove(self.folder)
