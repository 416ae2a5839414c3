"""Replies to the jobs of rounds that are not finished: a run that was killed does not do these jobs again."""

from pathlib import Path

import msgspec

from edge_client.disk import Disk

from .jobs import DECODE_REPLY, Order, Reply, name_of


class Replies:
    """In ``folder``, a folder for each arm's round. Methods raise DiskError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._disk = Disk()

    def find(self, order: Order) -> Reply | None:
        """The reply that was kept; a damaged one counts as none."""
        data = self._disk.read(self._path(order))
        try:
            return None if data is None else DECODE_REPLY.decode(data)
        except msgspec.MsgspecError:
            return None

    def keep(self, order: Order, reply: Reply) -> None:
        """It survives a kill."""
        path = self._path(order)
        self._disk.make(path.parent)
        self._disk.write(path, msgspec.msgpack.encode(reply))

    def forget(self, arm: str, number: int) -> None:
        """The round is in the journal."""
        self._disk.remove(self._round(arm, number))

    def _path(self, order: Order) -> Path:
        return self._round(order.arm, order.round) / name_of(order.job)

    def _round(self, arm: str, number: int) -> Path:
        return self._folder / f"{arm.replace(' ', '-')}-{number}"
