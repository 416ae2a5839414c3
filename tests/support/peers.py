"""A participant without training: speaks the whole protocol over pinned TLS, step by step, as a test tells it to."""

import asyncio
import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import aiohttp
import numpy as np
from numpy.typing import NDArray

from fedit_shared.errors import refusal
from fedit_shared.identity import JoinLink, SigningKey, sign_request
from fedit_shared.messages import (
    CHUNK_SIZE,
    MEDIA_TYPE,
    PIECE_SIZE,
    PROTOCOL_HEADER,
    ROUTES,
    Accepted,
    Answer,
    Certificate,
    CheckIn,
    ChunksHeld,
    Closed,
    Deal,
    Enrol,
    Enrolled,
    Muster,
    Offer,
    Poll,
    Prepare,
    Refused,
    Report,
    Result,
    Roster,
    ServerMessage,
    Survivors,
    Vote,
    Wait,
    adapter_path,
    chunk_path,
    decode,
    decode_task,
    encode,
)
from fedit_shared.secagg import Contributor, Member, RoundKey, Session, Update, open_session
from fedit_shared.secagg.bodies import EnrolBody, MusterBody

PIECES = CHUNK_SIZE // PIECE_SIZE
DEADLINE = 240.0
"""Seconds after which a test that waits for the server has failed."""


@dataclass
class Seat:
    """What a peer has done in one round."""

    offer: Offer
    update: Update
    muster: Muster
    round_key: RoundKey
    session: Session | None = None
    roster: Roster | None = None
    randomness: bytes = b""
    vector: bytes = b""
    deal: Deal | None = None
    prepare: Prepare | None = None
    sent: dict[type, Any] = field(default_factory=dict)

    @property
    def member(self) -> tuple[Session, RoundKey]:
        assert self.session is not None
        return self.session, self.round_key


class Peer:
    """One device. Use as an async context manager. What the server refuses is raised as its error class."""

    def __init__(self, link: JoinLink, seed: object = 0, *, skew: float = 0.0) -> None:
        self.link = link
        self.key = SigningKey(sha256(repr(("peer", seed)).encode()).digest())
        self.random = np.random.default_rng(list(self.key.public))
        self.skew = skew
        self.server_key = b""
        self.headers: dict[str, str] = {}

    @property
    def identity(self) -> bytes:
        return bytes(self.key.public)

    async def __aenter__(self) -> "Peer":
        self.http = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=_pinned(), limit=4))
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.http.close()

    def address(self) -> str:
        """Where the next request goes."""
        return self.link.address

    async def request(
        self, method: str, path: str, body: bytes = b"", *, headers: dict[str, str] | None = None
    ) -> tuple[int, bytes, Any]:
        """Status, body and headers of one signed request; a server that is not there is waited for."""
        end = time.monotonic() + DEADLINE
        while True:
            now, nonce = int(time.time() + self.skew), os.urandom(16)
            token = sign_request(self.key, self.link.federation, method, path, body, time=now, nonce=nonce)
            sent = {"Authorization": token, PROTOCOL_HEADER: "1", "Content-Type": MEDIA_TYPE} | (headers or {})
            try:
                async with self.http.request(
                    method, self.address() + path, data=body or None, headers=sent
                ) as response:
                    return response.status, await response.read(), response.headers
            except (aiohttp.ClientError, ConnectionError):
                if time.monotonic() > end:
                    raise
                await asyncio.sleep(0.1)

    async def exchange(self, method: str, path: str, body: bytes = b"") -> ServerMessage:
        _, raw, _ = await self.request(method, path, body)
        message: ServerMessage = decode(raw, ServerMessage)
        if isinstance(message, Refused):
            raise refusal(message.code)(message.message, advice=message.advice)
        return message

    async def send(self, message: Any) -> Any:
        return await self.exchange("POST", ROUTES[type(message)].path, encode(message))

    def enrolment(self) -> Enrol:
        now = int(time.time() + self.skew)
        body = EnrolBody(self.link.federation, self.identity, sha256(self.link.token).digest(), now)
        return Enrol(
            identity=self.identity, token=self.link.token, time=now, signature=self.key.sign("enrol", body.encode())
        )

    async def enrol(self) -> Enrolled:
        enrolled: Enrolled = await self.send(self.enrolment())
        self.server_key = enrolled.server_key
        return enrolled

    async def check_in(self, wait: int = 0) -> Offer | Wait | Closed:
        message = CheckIn(client_version="test", accelerator="cpu", memory_gib=1, wait=wait)
        answer: Offer | Wait | Closed = await self.send(message)
        return answer

    async def offer(self, after: int = 0) -> Offer:
        """The offer of a round later than ``after``, waited for."""
        return await until(lambda: self.check_in(5), lambda m: isinstance(m, Offer) and m.round > after)

    def train(self, offer: Offer, floor: int = 3, **changes: Any) -> Seat:
        """A random update and a muster for the offer; ``changes`` go into the muster's body."""
        task = decode_task(offer.task)
        size = sum(int(np.prod(tensor.shape)) for tensor in task.tensors)
        delta = self.random.normal(0, task.training.learning_rate, size).astype(np.float32)
        update = Update(delta, int(self.random.integers(1, 300)), float(self.random.uniform(1, 3)))
        round_key = RoundKey(os.urandom(96))
        fields = {
            "federation": self.link.federation,
            "task_hash": sha256(offer.task).digest(),
            "round": offer.round,
            "adapter": offer.adapter,
            "round_key_hash": sha256(round_key.public).digest(),
            "floor": floor,
            "not_after": offer.not_after,
        } | changes
        body = MusterBody(**fields).encode()
        muster = Muster(body=body, round_key=round_key.public, signature=self.key.sign("muster", body))
        return Seat(offer, update, muster, round_key)

    async def muster(self, floor: int = 3, after: int = 0) -> Seat:
        seat = self.train(await self.offer(after), floor)
        assert isinstance(await self.send(seat.muster), Accepted)
        return seat

    async def poll(self, seat: Seat, after: str, wait: int = 5) -> ServerMessage:
        cohort = seat.roster.cohort if seat.roster else None
        answer: ServerMessage = await self.send(Poll(round=seat.offer.round, cohort=cohort, after=after, wait=wait))
        return answer

    async def wait_for(self, seat: Seat, after: str) -> Any:
        """What comes after this step, Wait excepted."""
        return await until(lambda: self.poll(seat, after), lambda message: not isinstance(message, Wait))

    async def take_seat(self, seat: Seat) -> Roster:
        """Wait for the roster, check it, mask the update."""
        roster = await self.wait_for(seat, "mustered")
        assert isinstance(roster, Roster), roster
        session = open_session(
            roster.body, roster.signature, roster.settings, seat.offer.task, server_key=self.server_key
        )
        seat.roster, seat.session, seat.randomness = roster, session, os.urandom(32)
        parts: list[bytes] = []
        made = await asyncio.to_thread(
            Contributor(session, self.key).contribute,
            seat.update,
            seat.randomness,
            lambda view: parts.append(bytes(view)),
        )
        seat.vector = b"".join(parts)
        seat.deal = Deal(cohort=roster.cohort, body=made.deal, signature=made.signature, packets=made.packets)
        return roster

    def chunks(self, seat: Seat) -> list[bytes]:
        return [seat.vector[i : i + CHUNK_SIZE] for i in range(0, len(seat.vector), CHUNK_SIZE)]

    async def put_chunk(self, seat: Seat, index: int, content: bytes | None = None) -> ServerMessage:
        assert seat.roster is not None
        content = self.chunks(seat)[index] if content is None else content
        return await self.exchange("PUT", chunk_path(seat.roster.cohort, index * PIECES), content)

    async def held(self, seat: Seat) -> list[int]:
        """The chunks of which the server holds all pieces."""
        assert seat.roster is not None
        answer = await self.exchange("GET", chunk_path(seat.roster.cohort))
        assert isinstance(answer, ChunksHeld)
        bits = int.from_bytes(answer.held, "little")
        sizes = [-(-len(chunk) // PIECE_SIZE) for chunk in self.chunks(seat)]
        return [i for i, size in enumerate(sizes) if (2**size - 1) & ~(bits >> i * PIECES) == 0]

    async def contribute(self, seat: Seat) -> None:
        """Upload what is not held yet, then deal."""
        held = await self.held(seat)
        for index in range(len(self.chunks(seat))):
            if index not in held:
                await self.put_chunk(seat, index)
        assert isinstance(await self.send(seat.deal), Accepted)

    async def report(self, seat: Seat) -> Any:
        seat.prepare = await self.wait_for(seat, "contributed")
        if not isinstance(seat.prepare, Prepare):
            return seat.prepare
        session, round_key = seat.member
        report, signature = Member(session, self.key, round_key).report(seat.prepare)
        seat.sent[Report] = Report(cohort=session.roster.cohort, report=report, signature=signature)
        return await self.send(seat.sent[Report])

    async def vote(self, seat: Seat) -> Any:
        offered = await self.wait_for(seat, "reported")
        if not isinstance(offered, Survivors):
            return offered
        session, round_key = seat.member
        signature = Member(session, self.key, round_key).vote(seat.prepare, offered.survivors)
        digest = sha256(offered.survivors).digest()
        seat.sent[Vote] = Vote(cohort=session.roster.cohort, survivors_hash=digest, signature=signature)
        return await self.send(seat.sent[Vote])

    async def answer(self, seat: Seat) -> Any:
        certified = await self.wait_for(seat, "voted")
        if not isinstance(certified, Certificate):
            return certified
        session, round_key = seat.member
        answered = Member(session, self.key, round_key).answer(
            seat.prepare,
            certified.survivors,
            certified.certificate,
        )
        assert answered is not None
        digest = sha256(certified.survivors).digest()
        seat.sent[Answer] = Answer(
            cohort=session.roster.cohort, survivors_hash=digest, words=answered[0], signature=answered[1]
        )
        return await self.send(seat.sent[Answer])

    async def finish(self, seat: Seat) -> Result:
        """Everything after the upload."""
        for step in (self.report, self.vote, self.answer):
            if isinstance(said := await step(seat), Result):
                return said
        result = await self.wait_for(seat, "answered")
        assert isinstance(result, Result), result
        return result

    async def whole_round(self, after: int = 0) -> tuple[Seat, Result]:
        """One round from check-in to result."""
        seat = await self.muster(after=after)
        await self.take_seat(seat)
        await self.contribute(seat)
        return seat, await self.finish(seat)

    async def adapter(self, version: bytes, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        status, raw, _ = await self.request("GET", adapter_path(version), headers=headers)
        return status, raw


async def until(ask: Callable[[], Any], done: Callable[[Any], bool]) -> Any:
    """Ask until the answer is the one that is waited for."""
    end = time.monotonic() + DEADLINE
    while not done(answer := await ask()):
        assert time.monotonic() < end, f"waited in vain; the last answer was {answer}"
        await asyncio.sleep(0.02)
    return answer


def summed(slots: list[NDArray[np.int64]]) -> NDArray[np.int64]:
    """The plain integer sum."""
    return np.sum(slots, axis=0, dtype=np.int64)


def _pinned() -> ssl.SSLContext:
    """Trusts any certificate: what is under test is the server, and its pin is checked by a test of its own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
