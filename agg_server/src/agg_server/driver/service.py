"""What devices can do here: each message of the protocol, checked on worker threads, recorded, answered."""

import asyncio
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple
from weakref import WeakValueDictionary

from agg_server.adapters.publishing import adapter_key
from agg_server.enrolment import check_enrol
from agg_server.ledger import Proposal
from agg_server.rounds.causes import LEFT
from agg_server.rounds.events import Answered, Dealt, Mustered, Offered, Reported, Voted, Withdrawn
from agg_server.rounds.state import Phase, Round
from agg_server.rounds.views import POLL_SECONDS
from agg_server.storage.kinds import Uploading
from agg_server.store import Database, Device, People
from fedit_shared.errors import ConflictError, FeditError, ForgedError, NotFoundError
from fedit_shared.identity import federation_id, verify
from fedit_shared.messages import (
    Accepted,
    Answer,
    CheckIn,
    ChunksHeld,
    Closed,
    Deal,
    Enrol,
    Enrolled,
    Leave,
    Muster,
    Offer,
    Poll,
    Prepare,
    Report,
    ServerMessage,
    Vote,
    Wait,
)
from fedit_shared.secagg import Session, check_vector, split_packets
from fedit_shared.secagg.bodies import DealBody, MusterBody
from fedit_shared.secagg.sealing import check_round_key

from .desk import Packets
from .driver import Driver

PROBE = "probe"
"""A blob that is written to see whether blobs can be."""
PROBE_BYTES = 4096
READY_SECONDS = 5.0
PROBE_SECONDS = 2.0
"""What was found counts for so long: anybody may ask, and each look syncs the disk."""


class _Looked(NamedTuple):
    """When (loop time), and what was found to fail."""

    time: float
    failing: list[str]


class _Contributor(NamedTuple):
    """A member in the time for uploads: what its upload is checked against, and whether its receipt is there."""

    session: Session
    dealt: bool


class Service:
    """The protocol's server side, behind authentication: ``identity`` is who has signed the request."""

    def __init__(self, driver: Driver, database: Database) -> None:
        self._driver = driver
        self._database = database
        self._people = People()
        self._key = driver.tools.key
        self._federation = federation_id(driver.tools.key.public)
        self._dealing: WeakValueDictionary[bytes, asyncio.Lock] = WeakValueDictionary()
        self._looking = asyncio.Lock()
        self._looked: _Looked | None = None

    async def enrol(self, message: Enrol) -> Enrolled:
        """Let a device in by its invitation."""
        now = self._driver.clock()
        token_hash = await self._driver.on_pool(partial(check_enrol, message, self._federation, now))
        await self._driver.on_ledger(partial(self._enrol, message.identity, token_hash, now))
        name = self._driver.tools.config.federation.name
        return Enrolled(server_key=self._key.public, federation_name=name)

    async def leave(self, identity: bytes, message: Leave) -> Accepted:
        """The device takes part no more; a muster of it is not waited for."""
        mustered = await self._driver.on_ledger(partial(self._leave, identity))
        if mustered is not None:
            with suppress(ConflictError):  # the cohorts have just been formed
                await self._driver.submit(Proposal(mustered, Withdrawn(identity=identity, reason=LEFT)))
        return Accepted()

    async def check_in(self, identity: bytes, message: CheckIn) -> Offer | Wait | Closed:
        """Work for this device, why it waits, or that the federation has finished."""
        device = Device(
            identity=identity,
            status="active",
            joined=0.0,
            last_seen=self._driver.clock(),
            client_version=message.client_version,
            accelerator=message.accelerator,
            memory_gib=message.memory_gib,
        )
        self._driver.attendance.note(device)
        return await self._driver.waiting.until(b"", message.wait, partial(self._offer, identity), Wait)

    async def muster(self, identity: bytes, message: Muster) -> Accepted:
        """The device stands in for a cohort."""
        body = await self._driver.on_pool(partial(_check_muster, identity, message))
        event = Mustered(identity=identity, body=message.body, round_key=message.round_key, signature=message.signature)
        await self._driver.submit(Proposal(body.round, event))
        return Accepted()

    async def poll(self, identity: bytes, message: Poll) -> ServerMessage:
        """What comes next for this device; held back up to ``wait`` seconds while that is Wait."""
        topic = message.cohort or b""
        look = partial(self._look, identity, message)
        return await self._driver.waiting.until(topic, message.wait, look, Wait)

    async def put_chunk(self, identity: bytes, cohort: bytes, first: int, content: bytes) -> Accepted:
        """Store pieces of the device's upload, from number ``first`` on."""
        found = await self._driver.on_ledger(partial(self._contributing, identity, cohort))
        await self._driver.on_pool(partial(self._upload(found, identity).put, first, content))
        return Accepted()

    async def chunks_held(self, identity: bytes, cohort: bytes) -> ChunksHeld:
        """Which pieces of the device's upload are on disk."""
        found = await self._driver.on_ledger(partial(self._contributing, identity, cohort))
        return ChunksHeld(held=await self._driver.on_pool(self._upload(found, identity).held))

    async def deal(self, identity: bytes, message: Deal) -> Accepted:
        """Take the receipt of a finished upload, after checking that it is of just this upload and these packets.

        A device's deals are taken one after the other: a second one, checked beside the first, could put its packets
        in the place of those that are recorded, and every member would refuse them; or find fault with the upload, and
        take it away after the first was recorded. So too if they come to two replicas.
        """
        event = Dealt(cohort=message.cohort, identity=identity, body=message.body, signature=message.signature)
        alone = self._dealing.setdefault(identity, asyncio.Lock())
        async with alone, self._driver.claimed(b"deal" + identity):
            found = await self._driver.on_ledger(partial(self._contributing, identity, message.cohort))
            if not found.dealt:
                await self._driver.on_pool(partial(self._check_deal, found.session, identity, message))
            await self._driver.submit(Proposal(None, event))
        return Accepted()

    async def report(self, identity: bytes, message: Report) -> Accepted:
        """A member's report."""
        event = Reported(cohort=message.cohort, identity=identity, report=message.report, signature=message.signature)
        await self._driver.submit(Proposal(None, event))
        return Accepted()

    async def vote(self, identity: bytes, message: Vote) -> Accepted:
        """A member's vote."""
        event = Voted(
            cohort=message.cohort,
            identity=identity,
            survivors_hash=message.survivors_hash,
            signature=message.signature,
        )
        await self._driver.submit(Proposal(None, event))
        return Accepted()

    async def answer(self, identity: bytes, message: Answer) -> Accepted:
        """A member's answer."""
        event = Answered(
            cohort=message.cohort,
            identity=identity,
            survivors_hash=message.survivors_hash,
            words=message.words,
            signature=message.signature,
        )
        await self._driver.submit(Proposal(None, event))
        return Accepted()

    async def adapter_file(self, adapter: bytes) -> Path:
        """A file with this version. Raises NotFoundError."""
        try:
            return await self._driver.on_pool(partial(self._driver.tools.blobs.file, adapter_key(adapter)))
        except FileNotFoundError:
            raise NotFoundError("There is no such adapter version.") from None

    async def failing(self) -> list[str]:
        """What keeps this server from work: ``database`` unless it answers, ``blobs`` unless one can be written,
        soon. The self test has passed: else it would not be listening."""
        loop = asyncio.get_running_loop()
        async with self._looking:
            if self._looked is None or loop.time() - self._looked.time > PROBE_SECONDS:
                found = await self._look_at_itself()
                self._looked = _Looked(loop.time(), found)
            return self._looked.failing

    async def _look_at_itself(self) -> list[str]:
        driver, found = self._driver, []
        try:
            async with asyncio.timeout(READY_SECONDS):
                await driver.on_ledger(driver.ledger.require_working)
        except (FeditError, TimeoutError):
            found.append("database")
        try:
            async with asyncio.timeout(READY_SECONDS):
                await driver.on_pool(partial(driver.tools.blobs.write, PROBE, bytes(PROBE_BYTES)))
        except (FeditError, TimeoutError):
            found.append("blobs")
        return found

    async def _offer(self, identity: bytes) -> Offer | Wait | Closed:
        driver = self._driver
        found = await driver.on_ledger(lambda: driver.desk.check_in(identity, driver.clock()))
        if not isinstance(found, Round):
            return found
        try:
            await driver.submit(Proposal(found.number, Offered(identity=identity)))
        except ConflictError:
            return Wait(reason="The muster has just ended.", seconds=POLL_SECONDS)
        return await driver.on_pool(lambda: driver.desk.offer(found, identity, driver.clock()))

    async def _look(self, identity: bytes, message: Poll) -> ServerMessage:
        driver = self._driver
        found = await driver.on_ledger(lambda: driver.desk.poll(identity, message, driver.clock()))
        if not isinstance(found, Packets):
            return found
        try:
            return await driver.on_pool(partial(self._prepare, found))
        except FileNotFoundError:  # its cohort has just ended
            return Wait(reason="The cohort has just ended.", seconds=0.0)

    def _prepare(self, found: Packets) -> Prepare:
        rooms = self._driver.tools.rooms
        packets = [rooms.packet(found.session, receipt, found.member) for receipt in found.receipts]
        return Prepare(receipts=found.receipts, packets=packets)

    def _enrol(self, identity: bytes, token_hash: bytes, now: float) -> None:
        with self._database.begin() as connection:
            self._people.enrol(connection, identity, token_hash, now)
        self._driver.desk.joined(identity)

    def _leave(self, identity: bytes) -> int | None:
        """The number of the round for which it had mustered."""
        with self._database.begin() as connection:
            self._people.leave(connection, identity)
        self._driver.desk.left(identity)
        round = self._driver.ledger.current
        return round.number if round is not None and identity in round.musters else None

    def _contributing(self, identity: bytes, cohort: bytes) -> _Contributor:
        """Raises NotFoundError for a cohort that this device is not of, ConflictError once its uploads are closed."""
        _, found = self._driver.ledger.cohort(cohort)
        if identity not in found.session.identities:
            raise NotFoundError("This device is not of this cohort.")
        dealt = identity in found.aggregator.receipts
        if found.phase is not Phase.CONTRIBUTE and not dealt:
            raise ConflictError(
                "The time for uploads of this round is over.", advice="This update was not counted; check in again."
            )
        return _Contributor(found.session, dealt)

    def _upload(self, found: _Contributor, identity: bytes) -> Uploading:
        return self._driver.tools.rooms.upload(found.session, identity)

    def _check_deal(self, session: Session, identity: bytes, message: Deal) -> None:
        """Hash and check the upload, check and store the packets."""
        upload = self._driver.tools.rooms.upload(session, identity)
        if not upload.complete():
            raise ConflictError("The upload is not complete.", advice="Ask which pieces are held, and send the others.")
        packets = split_packets(session, identity, message.body, message.signature, message.packets)
        if upload.digest() != DealBody.decode(message.body).vector_hash:
            upload.discard()
            raise ForgedError("The upload is not what its receipt names.", advice="Send all of it again.")
        check_vector(session, upload.vector())
        self._driver.tools.rooms.store_packets(message.cohort, identity, message.body, packets)


def _check_muster(identity: bytes, message: Muster) -> MusterBody:
    """The muster's body; its signature and round key checked, so that no roster can fail on them."""
    verify(identity, "muster", message.body, message.signature)
    check_round_key(message.round_key)
    return MusterBody.decode(message.body)
