"""The tensors that a strategy keeps on the device: what training made of them, from round to round.

They move on when the federation does. A training that begins from the same adapter version as the last finished one
(whose round has failed) begins with what that one began with; one from another version, with what the last finished
one ended with. Whether the update that was trained beside them came into a sum does not matter.
"""

from hashlib import sha256
from pathlib import Path

import msgspec

from edge_client.disk import Disk
from fedit_shared.messages import TaskSpec

from .records import CorruptStateError, pack, unpack


class _Kept(msgspec.Struct, frozen=True, kw_only=True):
    """``sha256``: of the values. ``fits``: see :func:`_fits`. ``adapter``: from which version the last finished
    training began. ``before`` and ``after`` it: float32, little-endian, in the order of the task; an empty ``before``
    is the version's own values."""

    sha256: bytes
    fits: bytes
    adapter: bytes
    before: bytes
    after: bytes


class PrivateTensors:
    """One file, replaced as a whole: nothing is ever half-way between two rounds."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self._path = path
        self._disk = disk

    def start(self, adapter: bytes, task: TaskSpec) -> bytes:
        """With which values a training from this adapter version begins; empty: with the version's own."""
        kept = self._kept(task)
        if kept is None:
            return b""
        return kept.before if kept.adapter == adapter else kept.after

    def keep(self, adapter: bytes, task: TaskSpec, after: bytes) -> None:
        """A training from this adapter version has ended with these values. To say it twice changes nothing."""
        before = self.start(adapter, task)
        digest = sha256(before + after).digest()
        kept = _Kept(sha256=digest, fits=_fits(task), adapter=adapter, before=before, after=after)
        self._disk.write(self._path, pack(kept))

    def newest(self, task: TaskSpec) -> tuple[bytes, bytes] | None:
        """From which adapter version the last finished training began, and what it made of them; None: there was
        none."""
        kept = self._kept(task)
        return None if kept is None else (kept.adapter, kept.after)

    def _kept(self, task: TaskSpec) -> _Kept | None:
        data = self._disk.read(self._path)
        if data is None:
            return None
        kept = unpack(data, _Kept, self._path)
        if sha256(kept.before + kept.after).digest() != kept.sha256:
            raise CorruptStateError(
                f"{self._path} is damaged.", advice="Delete it: this device begins anew with the published values."
            )
        return kept if kept.fits == _fits(task) else None


def _fits(task: TaskSpec) -> bytes:
    """SHA-256 of what the values belong to. Settings of training may change; another model or adapter begins anew."""
    parts = (task.model, task.adapter_config, task.tensors, task.strategy)
    return sha256(msgspec.msgpack.encode(parts, order="sorted")).digest()
