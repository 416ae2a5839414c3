"""The folder of one federation on this machine.

identity       this device's Ed25519 seed           membership    which federation, where, which task was agreed to
preferences    data file, memory, floor, when       tasks/        tasks as received, named by their hash
pause          there while its owner keeps training from running; written beside a running client
adapters/      adapter versions, named by hash      updates/      what was trained: ADAPTER-N
rounds/        what was mustered: ROUND-N           private       tensors that the strategy keeps here
lock           held by the one client that works here
"""

import os
from contextlib import suppress
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from filelock import FileLock, Timeout
from platformdirs import user_state_path

from edge_client.disk import TEMPORARY, Disk, disk_error
from edge_client.paths import absolute
from fedit_shared.errors import UserError
from fedit_shared.identity import SigningKey

from .attempt import Attempt
from .private import PrivateTensors
from .records import CorruptStateError, Ended, Membership, Mustered, Pause, Preferences, R, pack, unpack
from .update import Begun, UpdateFolder

ENVIRONMENT = "FEDIT_STATE"
LOCK_SECONDS = 0.25
"""So long a client waits for the lock, which another command may hold for a moment, to see who works here."""
ROUNDS_KEPT = 1000
"""So many rounds that are over are remembered."""


class BusyError(UserError):
    """Another client works on the same folder."""

    exit_code = 7
    code = "busy"


def state_folder(federation: bytes | None, given: Path | None = None) -> Path:
    """Where a federation's state lies: ``given``, else $FEDIT_STATE, else the platform's own place.

    With ``federation`` None: the one federation that this machine has joined. Raises UserError if it has joined none,
    or several.
    """
    if named := given or os.environ.get(ENVIRONMENT):
        return absolute(named)
    base = user_state_path("fedit", appauthor=False)
    if federation is not None:
        return base / federation.hex()[:32]
    begun = sorted(path.parent for path in base.glob("*/membership"))
    joined = [folder for folder in begun if _has_joined(folder)] or begun
    if len(joined) != 1:
        listed = "".join(f" {path}" for path in joined)
        raise UserError(
            f"This machine has joined several federations:{listed}."
            if joined
            else "This machine has not joined a federation.",
            advice="Name one folder with --state." if joined else "Join one with `fedit-client join LINK`.",
        )
    return joined[0]


def named_folder(name: str) -> Path | None:
    """The folder of the federation that a person names: the folder itself, or the federation's own name. None if this
    machine has joined none of that name; UserError if it has joined several."""
    with suppress(OSError, ValueError):
        if (Path(name).expanduser() / "membership").is_file():
            return absolute(name)
    found = []
    for path in sorted(user_state_path("fedit", appauthor=False).glob("*/membership")):
        with suppress(CorruptStateError):
            membership = FederationState(path.parent).membership
            if membership is not None and membership.name == name:
                found.append(path.parent)
    if len(found) > 1:
        listed = "".join(f" {path}" for path in found)
        raise UserError(f"Several federations here are named {name}:{listed}.", advice="Name one of these folders.")
    return found[0] if found else None


def _has_joined(folder: Path) -> bool:
    """Whether the server took this device in, which an invitation that had expired does not come to."""
    try:
        membership = FederationState(folder).membership
    except CorruptStateError:
        return True  # to be looked at, not to be passed over
    return membership is not None and membership.server_key is not None


class FederationState:
    """The folder, locked while this is open. Use as a context manager. Raises DiskError wherever the disk refuses."""

    def __init__(self, folder: Path, disk: Disk | None = None) -> None:
        self.folder = folder
        self.disk = disk or Disk()
        self._lock = FileLock(folder / "lock", mode=0o600)
        self._removing = Lock()
        """Held while updates go: a round ends in one thread while the next one's training begins in another."""

    def __enter__(self) -> Self:
        self.disk.make(self.folder)
        try:
            self._lock.acquire(timeout=LOCK_SECONDS, poll_interval=LOCK_SECONDS / 10)
        except Timeout:
            raise BusyError(
                f"Another fedit-client is at work in {self.folder}.",
                advice="Stop it first, or give this one a folder of its own with --state.",
            ) from None
        except OSError as error:
            raise disk_error(self.folder / "lock", error) from error
        try:
            self._tidy()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    @property
    def busy(self) -> bool:
        """Whether a client works here now."""
        path = self.folder / "lock"
        if not path.exists():
            return False
        probe = FileLock(path, mode=0o600)
        try:
            with probe.acquire(timeout=0):
                return False
        except Timeout:
            return True
        except OSError as error:
            raise disk_error(path, error) from error

    @cached_property
    def identity(self) -> SigningKey:
        """This device's key, made at its first use."""
        path = self.folder / "identity"
        seed = self.disk.read(path)
        if seed is None:
            seed = os.urandom(32)
            self.disk.write(path, seed)
        if len(seed) != 32:
            raise CorruptStateError(
                f"{path} is damaged.", advice="Move the folder away and join with a new invitation."
            )
        return SigningKey(seed)

    @property
    def membership(self) -> Membership | None:
        """Which federation this folder belongs to."""
        return self._record("membership", Membership)

    @membership.setter
    def membership(self, value: Membership) -> None:
        self.disk.write(self.folder / "membership", pack(value))

    @property
    def preferences(self) -> Preferences | None:
        """How this machine takes part."""
        try:
            return self._record("preferences", Preferences)
        except CorruptStateError as error:
            raise CorruptStateError(
                error.message,
                advice="It holds settings alone, keys and rounds are safe: delete it, then `fedit-client run` with "
                "--data FILE.",
            ) from error

    @preferences.setter
    def preferences(self, value: Preferences) -> None:
        self.disk.write(self.folder / "preferences", pack(value))

    @property
    def pause(self) -> Pause | None:
        """The owner's pause, also one that is over. One that cannot be read holds until it is taken back."""
        try:
            return self._record("pause", Pause)
        except CorruptStateError:
            return Pause()

    @pause.setter
    def pause(self, value: Pause | None) -> None:
        if value is None:
            self.disk.remove(self.folder / "pause")
        else:
            self.disk.write(self.folder / "pause", pack(value))

    def keep_task(self, task: bytes) -> bytes:
        """Keep a task as received; its SHA-256."""
        digest = sha256(task).digest()
        path = self.folder / "tasks" / digest.hex()
        if not path.exists():
            self.disk.make(path.parent)
            self.disk.write(path, task)
        return digest

    def task(self, digest: bytes) -> bytes:
        """A kept task."""
        task = self.disk.read(self.folder / "tasks" / digest.hex())
        if task is None or sha256(task).digest() != digest:
            raise CorruptStateError(
                "A task in this folder is missing or damaged.", advice="Start again: the server is asked for it anew."
            )
        return task

    def adapter_path(self, adapter: bytes) -> Path:
        """Where this adapter version's safetensors file lies, or will lie."""
        folder = self.folder / "adapters"
        self.disk.make(folder)
        return folder / f"{adapter.hex()}.safetensors"

    @property
    def private(self) -> PrivateTensors:
        """The tensors that the task's strategy keeps on this device."""
        return PrivateTensors(self.folder / "private", self.disk)

    @property
    def attempts(self) -> list[Attempt]:
        """All rounds that this device has mustered for, oldest first."""
        return [Attempt(folder, self.disk) for folder in self._numbered("rounds")]

    def new_attempt(self, mustered: Mustered, secret: bytes) -> Attempt:
        """Keep a new muster and its round key's secret."""
        self._forget_oldest()
        name = self._next_name("rounds", f"{mustered.round:06d}")
        return Attempt.begin(self.folder / "rounds" / name, self.disk, mustered, secret)

    def end(self, attempt: Attempt, ended: Ended) -> None:
        """The round is over for this device: the record of it stays, and what was sent in it goes, also unmasked."""
        attempt.end(ended)
        self._erase_sent()

    @property
    def updates(self) -> list[UpdateFolder]:
        """All updates, of each adapter version the oldest first."""
        return [UpdateFolder(folder, self.disk) for folder in self._numbered("updates")]

    def update(self, name: str) -> UpdateFolder | None:
        """The update of that name, if it is still here."""
        return next((update for update in self.updates if update.name == name), None)

    def new_update(self, adapter: bytes, task_hash: bytes, turn: int = 0) -> UpdateFolder:
        """Begin another update from this adapter version, in this turn of the strategy, and forget all other updates.

        Its seed is drawn here and kept: training that is interrupted goes on with the same one, and no update is ever
        made twice, whatever the server offers again.
        """
        others = self.updates
        name = self._next_name("updates", adapter.hex()[:32])
        seed = int.from_bytes(os.urandom(4), "little") >> 1
        begun = Begun(adapter=adapter, task_hash=task_hash, turn=turn, seed=seed)
        update = UpdateFolder.begin(self.folder / "updates" / name, self.disk, begun)
        with self._removing:
            for other in others:
                other.drop()
        return update

    def _record(self, name: str, kind: type[R]) -> R | None:
        data = self.disk.read(self.folder / name)
        return None if data is None else unpack(data, kind, self.folder / name)

    def _numbered(self, kind: str) -> list[Path]:
        folder = self.folder / kind
        paths = [path for path in folder.iterdir() if "-" in path.name] if folder.is_dir() else []
        return sorted(paths, key=lambda path: (path.name.rpartition("-")[0], _number(path.name)))

    def _next_name(self, kind: str, stem: str) -> str:
        numbers = [_number(path.name) for path in self._numbered(kind) if path.name.rpartition("-")[0] == stem]
        return f"{stem}-{max(numbers, default=0) + 1}"

    def _forget_oldest(self) -> None:
        over = [attempt for attempt in self.attempts if attempt.over]
        for attempt in over[:-ROUNDS_KEPT]:
            self.disk.remove(attempt.folder)

    def _tidy(self) -> None:
        """Throw away what was left unfinished when everything stopped; finish what had been decided."""
        self.disk.settle(self.folder)
        for path in self.folder.glob(f"**/*{TEMPORARY}"):
            if "work" not in path.relative_to(self.folder).parts:
                self.disk.remove(path)
        for attempt in self.attempts:
            if not attempt.begun:
                self.disk.remove(attempt.folder)
            elif attempt.held.ended:
                attempt.tidy()
        for update in self.updates:
            if update.begun() is None:
                self.disk.remove(update.folder)
        self._erase_sent()

    def _erase_sent(self) -> None:
        """Only votes in an attempt that is alive can still give the update back that it sent."""
        with self._removing:
            for update in self.updates:
                with suppress(CorruptStateError):  # told when the update is asked for
                    sent_by = update.spent_by
                    if sent_by is not None and not Attempt(self.folder / "rounds" / sent_by, self.disk).alive:
                        update.erase()


def _number(name: str) -> int:
    number = name.rpartition("-")[2]
    return int(number) if number.isdigit() else 0
