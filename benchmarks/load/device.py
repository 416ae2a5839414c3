"""A device without training: the client's own transport and the protocol, and nothing kept for a restart.

It stands in for a participant of this benchmark alone: what a client must have on disk before it speaks is in memory.
"""

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from enum import Enum, auto
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from edge_client.transport import Server, Transport, download_adapter, upload
from fedit_shared.errors import ConflictError
from fedit_shared.identity import JoinLink, SigningKey
from fedit_shared.messages import (
    Accepted,
    Answer,
    Certificate,
    CheckIn,
    ClientMessage,
    Deal,
    Enrol,
    Enrolled,
    Muster,
    Offer,
    Poll,
    Prepare,
    Report,
    Result,
    Roster,
    ServerMessage,
    Survivors,
    Vote,
    Wait,
    decode_task,
)
from fedit_shared.messages.client import Step
from fedit_shared.secagg import Contribution, Contributor, Member, RoundKey, Session, Update, open_session
from fedit_shared.secagg.bodies import EnrolBody, MusterBody

T = TypeVar("T")
WAIT = 50
"""Seconds that the server may hold a question."""
FLOOR = 3


class Fate(Enum):
    """How far a device comes in a round."""

    ENDS = auto()
    VANISHES_UNHEARD = auto()
    """Before its receipt: with half of its upload sent."""
    VANISHES_COUNTED = auto()
    """After its receipt: it is in the sum and answers nothing."""


class Share(NamedTuple):
    """What a device put into a sum, to be computed a second time: everything but the vector, which ``update`` makes."""

    session: Session
    randomness: bytes
    update: Update


class Pool(NamedTuple):
    """What devices share. ``values``: float32, longer than an update: each device's is a part of it; ``threads``: for
    what computes; ``busy``: how many may mask and upload; ``scratch``: a folder, best in memory."""

    values: NDArray[np.float32]
    threads: Executor
    busy: asyncio.Semaphore
    scratch: Path


class Device:
    """One device, joined once, in round after round. Use as an async context manager."""

    def __init__(self, link: JoinLink, number: int, pool: Pool) -> None:
        self._link, self._number, self._pool = link, number, pool
        self._key = SigningKey(os.urandom(32))
        self._server_key = b""
        self.troubles: list[str] = []
        self.dealt_at = 0.0
        """When its receipt was accepted, by the monotonic clock."""
        server = Server(link.address, link.pin, link.federation)
        self._transport = Transport(server, self._key, lambda news: self.troubles.append(str(news)), clock=time.time)

    @property
    def identity(self) -> bytes:
        """Its public key."""
        return bytes(self._key.public)

    async def __aenter__(self) -> "Device":
        await self._transport.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._transport.__aexit__(None, None, None)

    async def join(self) -> None:
        """Enrol by the link."""
        now = int(time.time())
        body = EnrolBody(self._link.federation, self.identity, sha256(self._link.token).digest(), now).encode()
        signature = self._key.sign("enrol", body)
        answer = await self._transport.send(
            Enrol(identity=self.identity, token=self._link.token, time=now, signature=signature)
        )
        assert isinstance(answer, Enrolled), answer
        self._server_key = answer.server_key

    async def take_part(self, after: int, fate: Callable[[int], Fate]) -> Share | None:
        """One round later than round ``after``, from check-in to result; ``fate`` is asked with its place in the
        roster. What it put into the sum; None if it vanished before its receipt."""
        offer = await self._until(CheckIn(client_version="load", accelerator="cpu", memory_gib=1, wait=WAIT))
        assert isinstance(offer, Offer), offer
        assert offer.round > after, f"round {offer.round} is offered again"
        await self._fetch(offer)
        round_key = RoundKey(os.urandom(96))
        await self._accepted(self._muster(offer, round_key))
        roster = await self._poll(offer, None, "mustered")
        assert isinstance(roster, Roster), roster
        session = open_session(roster.body, roster.signature, roster.settings, offer.task, server_key=self._server_key)
        ends = fate(session.identities.index(self.identity))
        share = await self._contribute(session, offer, unheard=ends is Fate.VANISHES_UNHEARD)
        if share is not None and ends is Fate.ENDS:
            await self._answer(offer, session, round_key)
        return share

    async def _fetch(self, offer: Offer) -> None:
        """Nobody trains here, so the adapter is thrown away."""
        file = self._pool.scratch / f"{self._number}.safetensors"
        await download_adapter(self._transport, offer.adapter, offer.adapter_size, file, lambda here, size: None)
        file.unlink()

    def _muster(self, offer: Offer, round_key: RoundKey) -> Muster:
        body = MusterBody(
            federation=self._link.federation,
            task_hash=sha256(offer.task).digest(),
            round=offer.round,
            adapter=offer.adapter,
            round_key_hash=sha256(round_key.public).digest(),
            floor=FLOOR,
            not_after=offer.not_after,
        ).encode()
        return Muster(body=body, round_key=round_key.public, signature=self._key.sign("muster", body))

    async def _contribute(self, session: Session, offer: Offer, *, unheard: bool) -> Share | None:
        size = sum(int(np.prod(tensor.shape)) for tensor in decode_task(offer.task).tensors)
        first = 61 * (self._number + offer.round) % (self._pool.values.size - size)
        update = Update(self._pool.values[first : first + size], 32 * (1 + self._number % 16), 2.0)
        share = Share(session, os.urandom(32), update)
        file = self._pool.scratch / f"{self._number}.upload"
        try:
            async with self._pool.busy:
                made = await self._computed(lambda: self._seal(share, file))
                cohort = session.roster.cohort
                if unheard:
                    os.truncate(file, file.stat().st_size // 2)
                    return None
                await upload(self._transport, cohort, file, lambda held, total: None)
                deal = Deal(cohort=cohort, body=made.deal, signature=made.signature, packets=made.packets)
                await self._accepted(deal)
        finally:
            file.unlink(missing_ok=True)
        self.dealt_at = time.monotonic()
        return share

    def _seal(self, share: Share, file: Path) -> Contribution:
        with file.open("wb") as stream:
            return Contributor(share.session, self._key).contribute(share.update, share.randomness, stream.write)

    async def _answer(self, offer: Offer, session: Session, round_key: RoundKey) -> None:
        """Report, vote, answer, and hear the result."""
        cohort, member = session.roster.cohort, Member(session, self._key, round_key)
        after: Step = "contributed"
        prepare: Prepare | None = None
        while not isinstance(said := await self._poll(offer, cohort, after), Result):
            message, after = await self._computed(partial(self._reply, member, cohort, prepare, said))
            prepare = said if isinstance(said, Prepare) else prepare
            with suppress(ConflictError):  # the others were faster
                await self._accepted(message)
        assert said.outcome == "published", said.outcome

    def _reply(
        self, member: Member, cohort: bytes, prepare: Prepare | None, said: ServerMessage
    ) -> tuple[ClientMessage, Step]:
        """What to say, and what has been done then."""
        if isinstance(said, Prepare):
            report, signature = member.report(said)
            return Report(cohort=cohort, report=report, signature=signature), "reported"
        assert prepare is not None
        if isinstance(said, Survivors):
            signature = member.vote(prepare, said.survivors)
            digest = sha256(said.survivors).digest()
            return Vote(cohort=cohort, survivors_hash=digest, signature=signature), "voted"
        assert isinstance(said, Certificate), said
        answer = member.answer(prepare, said.survivors, said.certificate)
        assert answer is not None, "a survivor's packet does not open"
        digest = sha256(said.survivors).digest()
        return Answer(cohort=cohort, survivors_hash=digest, words=answer[0], signature=answer[1]), "answered"

    async def _poll(self, offer: Offer, cohort: bytes | None, after: Step) -> ServerMessage:
        return await self._until(Poll(round=offer.round, cohort=cohort, after=after, wait=WAIT))

    async def _until(self, question: CheckIn | Poll) -> ServerMessage:
        """The answer that is no Wait. The server holds a question that it cannot answer yet."""
        while isinstance(answer := await self._transport.send(question, wait=WAIT), Wait):
            pass
        return answer

    async def _accepted(self, message: ClientMessage) -> None:
        answer: ServerMessage = await self._transport.send(message)
        assert isinstance(answer, Accepted), answer

    async def _computed(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool.threads, work)
