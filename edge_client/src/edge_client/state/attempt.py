"""One muster of this device and all that followed from it: a folder whose files are written once and in order.

``key`` and ``mustered`` before the muster is sent; ``roster`` when the round key is bound to a cohort; ``vector``, then
``deal`` before the upload's first byte; ``prepare``; ``vote`` before it is sent, once; ``answer`` likewise; ``past``
whenever the server has acknowledged a step; ``ended`` last, after which all the others go. The one secret among them is
``key``, which stays until the round's end is proved or nobody may ask for answers any more.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import msgspec

from edge_client.disk import Disk
from edge_client.rounds import Held
from fedit_shared.errors import ConflictError
from fedit_shared.messages import Answer, Deal, Muster, Prepare, Roster, Vote, decode, encode
from fedit_shared.messages.client import Step
from fedit_shared.secagg import RoundKey

from .records import CorruptStateError, Ended, Mustered, R, pack, unpack

_NEITHER = "This device keeps to the first."


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """The last step that is behind this device, and the bytes that it had sent for this round by then."""

    step: Step
    bytes_up: int
    late: bool = False
    """Its update did not go up in time: it is a member all the same."""
    sent: int = 0
    """When the server had its update, Unix seconds; 0: not yet, or never."""
    reason: str = ""
    """Why it is late."""


class Attempt:
    """A folder of ``rounds/``. Every method that keeps something has it on disk when it returns."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self.folder = folder
        self._disk = disk

    @classmethod
    def begin(cls, folder: Path, disk: Disk, mustered: Mustered, secret: bytes) -> "Attempt":
        """Keep a fresh round key's ``secret`` and the muster that promises it."""
        disk.make(folder)
        disk.write(folder / "key", secret)
        disk.write(folder / "mustered", pack(mustered))
        return cls(folder, disk)

    @property
    def name(self) -> str:
        """What updates call this attempt by."""
        return self.folder.name

    @property
    def begun(self) -> bool:
        """Whether a muster may have been sent from this folder; one that has not begun is rubbish."""
        return self._has("mustered") or self.over

    @cached_property
    def mustered(self) -> Mustered:
        """What this device stands in with."""
        return self._record("mustered", Mustered)

    @property
    def held(self) -> Held:
        """What is here, for :func:`edge_client.rounds.next_action`."""
        past = self.past
        return Held(
            past=past.step if past else None,
            roster=self._has("roster"),
            sealed=self._has("deal"),
            prepare=self._has("prepare"),
            vote=self._has("vote"),
            answer=self._has("answer"),
            ended=self.over,
        )

    @property
    def past(self) -> Past | None:
        """See :class:`Past`; None before the muster was acknowledged."""
        data = self._disk.read(self.folder / "past")
        return None if data is None else unpack(data, Past, self.folder / "past")

    @property
    def alive(self) -> bool:
        """Whether this device can still vote and answer here."""
        return self._has("key") and not self.over

    @property
    def over(self) -> bool:
        """Whether its end is recorded."""
        return self._has("ended")

    def round_key(self) -> RoundKey:
        """The round's HPKE key. Raises CorruptStateError once it has been deleted."""
        return RoundKey(self._must("key"))

    def muster(self) -> Muster:
        """The muster, as it was first sent."""
        return decode(self.mustered.muster, Muster)

    def passed(self, past: Past) -> None:
        """Note what is behind this device. A vector that the server has, or will not take, is not kept longer."""
        self._disk.write(self.folder / "past", pack(past))
        if past.step == "contributed":
            self._disk.remove(self.vector)

    def bind(self, roster: Roster) -> None:
        """Bind the round key to this roster, for good. Raises ConflictError if it is bound to another one."""
        kept = self.roster()
        if kept is None:
            self._disk.write(self.folder / "roster", encode(roster))
        elif (kept.body, kept.settings) != (roster.body, roster.settings):
            raise ConflictError("The server shows this device a second roster for one round key.", advice=_NEITHER)

    def roster(self) -> Roster | None:
        """The roster that the round key is bound to."""
        return self._message("roster", Roster)

    @property
    def vector(self) -> Path:
        """The masked vector's file."""
        return self.folder / "vector"

    @contextmanager
    def sealing(self) -> Iterator[BinaryIO]:
        """A file for the masked vector. Raises ConflictError if a finished one may have left this machine."""
        if self._has("deal"):
            raise ConflictError("This round's vector is sealed already: one secret masks one vector.")
        with self._disk.stream(self.vector) as file:
            yield file

    def seal(self, deal: Deal) -> None:
        """Keep the deal that belongs to the vector just written: from here on, these bytes are sent and no others."""
        self._keep("deal", encode(deal), "A second deal was made for one round.")

    def deal(self) -> Deal | None:
        """The sealed deal."""
        return self._message("deal", Deal)

    def keep_prepare(self, prepare: Prepare) -> None:
        """Keep the receipts and packets that the report is about."""
        self._keep("prepare", encode(prepare), "The server shows this device other packets than before.")

    def prepare(self) -> Prepare:
        """The receipts and packets reported on."""
        return decode(self._must("prepare"), Prepare)

    def cast(self, vote: Vote) -> None:
        """Keep the one vote of this cohort. Raises ConflictError if another one was cast."""
        self._keep("vote", encode(vote), "The server asks this device for a second vote.")

    def vote(self) -> Vote | None:
        """The vote that was cast."""
        return self._message("vote", Vote)

    def keep_answer(self, answer: Answer) -> None:
        """Keep the answer: asked again, the device gives the same."""
        self._keep("answer", encode(answer), "The server asks this device for a second answer.")

    def answer(self) -> Answer | None:
        """The answer that was given."""
        return self._message("answer", Answer)

    def discard(self) -> None:
        """Forget a muster from which nothing followed."""
        self._disk.remove(self.folder / "mustered")
        self._disk.remove(self.folder)

    def end(self, ended: Ended) -> None:
        """The round is over for this device; only this record of it stays."""
        self._disk.write(self.folder / "ended", pack(ended))
        self.tidy()

    def ended(self) -> Ended | None:
        """How it ended."""
        data = self._disk.read(self.folder / "ended")
        return None if data is None else unpack(data, Ended, self.folder / "ended")

    def tidy(self) -> None:
        """Remove what an ended attempt does not need, its key first."""
        for name in ("key", "vector", "deal", "prepare", "roster", "vote", "answer", "past", "mustered"):
            self._disk.remove(self.folder / name)

    def _has(self, name: str) -> bool:
        return (self.folder / name).exists()

    def _must(self, name: str) -> bytes:
        data = self._disk.read(self.folder / name)
        if data is None:
            raise CorruptStateError(f"{self.folder / name} is missing.", advice="Do not edit this folder.")
        return data

    def _record(self, name: str, kind: type[R]) -> R:
        return unpack(self._must(name), kind, self.folder / name)

    def _message(self, name: str, kind: type[R]) -> R | None:
        data = self._disk.read(self.folder / name)
        return None if data is None else unpack(data, kind, self.folder / name)

    def _keep(self, name: str, data: bytes, conflict: str) -> None:
        kept = self._disk.read(self.folder / name)
        if kept is None:
            self._disk.write(self.folder / name, data)
        elif kept != data:
            raise ConflictError(conflict, advice=_NEITHER)
