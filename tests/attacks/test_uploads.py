"""A contributor that sends other bytes than its receipt names, or two deals at once: at the real service and driver."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
from cohorts import SERVER
from simulated import Sim, Simulated

from agg_server.driver import Driver
from agg_server.driver.desk import Desk
from agg_server.driver.service import Service
from agg_server.ledger import Ledger
from agg_server.rounds import repeats
from agg_server.rounds.events import Offered, Voted
from agg_server.rounds.state import FINAL
from agg_server.storage.uploads import Upload
from agg_server.watching.metrics import Metrics
from fedit_shared.errors import ConflictError, ForgedError, NotFoundError, ProtocolError
from fedit_shared.identity import SigningKey
from fedit_shared.messages import CHUNK_SIZE, PIECE_SIZE, Accepted, Deal, Muster, Receipt
from fedit_shared.secagg import Contributor
from fedit_shared.secagg.bodies import DealBody, MusterBody
from fedit_shared.secagg.member import check_deal


def serving(sim: Simulated, test: Callable[[Service, Driver], Awaitable[None]]) -> None:
    """Run ``test`` against the service over this federation's disk; what it did is in ``sim`` afterwards."""

    async def run() -> None:
        ledger = Ledger(sim.database, SERVER)
        driver = Driver(
            database=sim.database,
            ledger=ledger,
            desk=Desk(ledger, SERVER, sim.config),
            tools=sim.tools,
            plans=sim.plans,
            metrics=Metrics(),
            clock=lambda: sim.now,
            threads=4,
        )
        await driver.start()
        try:
            await test(Service(driver, sim.database), driver)
        finally:
            await driver.stop()

    asyncio.run(run())
    sim.restart()


def mustered(folder: Path) -> Simulated:
    sim = Simulated(folder)
    sim.muster(*sim.devices)
    sim.wait(sim.round.opened.rules.muster_window)
    return sim


def contribution(sim: Simulated, device: Sim) -> tuple[bytes, Deal]:
    """A fresh masking and dealing of the device's update; its vector is one chunk."""
    session, parts = sim.session_of(device), []
    assert device.update is not None
    made = Contributor(session, device.key).contribute(
        device.update, device.randomness or bytes(32), lambda view: parts.append(bytes(view))
    )
    return b"".join(parts), Deal(cohort=device.cohort, body=made.deal, signature=made.signature, packets=made.packets)


def naming(device: Sim, deal: Deal, vector: bytes) -> Deal:
    """The same deal for another vector."""
    body = replace(DealBody.decode(deal.body), vector_hash=sha256(vector).digest()).encode()
    return Deal(cohort=deal.cohort, body=body, signature=device.key.sign("deal", body), packets=deal.packets)


def test_a_chunk_changed_on_its_way_is_refused_with_the_receipt_and_can_be_sent_again(tmp_path: Path):
    sim = mustered(tmp_path)
    device = sim.devices[0]
    vector, deal = contribution(sim, device)

    async def attack(service: Service, driver: Driver) -> None:
        changed = vector[:9] + bytes([vector[9] ^ 1]) + vector[10:]
        await service.put_chunk(device.identity, device.cohort, 0, changed)
        with pytest.raises(ForgedError, match="not what its receipt names"):
            await service.deal(device.identity, deal)
        await service.put_chunk(device.identity, device.cohort, 0, vector)
        await service.deal(device.identity, deal)

    serving(sim, attack)
    receipts = sim.cohort_of(device).aggregator.receipts
    assert list(receipts) == [device.identity]
    assert sim.tools.rooms.upload(sim.session_of(device), device.identity).digest() == sha256(vector).digest()


def test_a_deal_before_its_upload_is_whole_or_with_words_that_are_no_residues_is_refused(tmp_path: Path):
    sim = mustered(tmp_path)
    device = sim.devices[0]
    vector, deal = contribution(sim, device)
    bad = b"\xff" * 4 + vector[4:]

    async def attack(service: Service, driver: Driver) -> None:
        with pytest.raises(ConflictError, match="not complete"):
            await service.deal(device.identity, deal)
        await service.put_chunk(device.identity, device.cohort, 0, bad)
        with pytest.raises(ProtocolError, match="residue"):
            await service.deal(device.identity, naming(device, deal, bad))

    serving(sim, attack)
    assert not sim.cohort_of(device).aggregator.receipts


def test_nobody_uploads_or_deals_for_another_device(tmp_path: Path):
    sim = mustered(tmp_path)
    device, other = sim.devices[:2]
    vector, deal = contribution(sim, device)

    async def attack(service: Service, driver: Driver) -> None:
        await service.put_chunk(other.identity, device.cohort, 0, vector)
        with pytest.raises(ForgedError):
            await service.deal(other.identity, deal)
        held = await service.chunks_held(device.identity, device.cohort)
        assert not any(held.held)

    serving(sim, attack)
    assert not sim.cohort_of(device).aggregator.receipts


@pytest.mark.parametrize("second", ["other packets", "another vector"])
def test_two_deals_at_once_leave_the_upload_and_packets_of_the_one_that_is_recorded(tmp_path: Path, second: str):
    """Else one device could make every member refuse its packets, and the whole cohort fail."""
    sim = mustered(tmp_path)

    async def attack(service: Service, driver: Driver) -> None:
        for device in sim.devices:
            vector, deal = contribution(sim, device)
            again = contribution(sim, device)[1] if second == "other packets" else naming(device, deal, b"other")
            await service.put_chunk(device.identity, device.cohort, 0, vector)
            outcomes = await asyncio.gather(
                *(service.deal(device.identity, d) for d in (deal, again, deal, again)), return_exceptions=True
            )
            assert {type(outcome) for outcome in outcomes} <= {Accepted, ConflictError, ForgedError}

    serving(sim, attack)
    session = sim.session_of(sim.devices[0])
    receipts = sim.cohort_of(sim.devices[0]).aggregator.receipts
    for device in sim.devices:
        if receipt := receipts.get(device.identity):
            named = check_deal(session, receipt.identity, receipt.body, receipt.signature)
            assert sim.tools.rooms.upload(session, device.identity).digest() == named.vector_hash
    if receipts:
        for device in sim.devices:
            sim.member(device).report(sim.prepare_for(device))


def test_a_stranger_can_upload_nothing_into_a_cohort(tmp_path: Path):
    sim = mustered(tmp_path)
    stranger = SigningKey(bytes(32)).public

    async def attack(service: Service, driver: Driver) -> None:
        with pytest.raises(NotFoundError):
            await service.put_chunk(stranger, sim.devices[0].cohort, 0, b"")
        with pytest.raises(NotFoundError):
            await service.chunks_held(stranger, sim.devices[0].cohort)

    serving(sim, attack)


def test_nothing_is_uploaded_after_the_window(tmp_path: Path):
    sim = mustered(tmp_path)
    device = sim.devices[0]
    vector, deal = contribution(sim, device)
    sim.contribute(*sim.devices[1:])
    sim.wait(sim.round.opened.rules.contribute_window)

    async def attack(service: Service, driver: Driver) -> None:
        with pytest.raises(ConflictError, match="over"):
            await service.put_chunk(device.identity, device.cohort, 0, vector)
        with pytest.raises(ConflictError, match="over"):
            await service.deal(device.identity, deal)

    serving(sim, attack)
    assert not sim.tools.rooms.upload(sim.session_of(device), device.identity).complete()
    assert len(sim.cohort_of(device).aggregator.receipts) == 4


def test_packets_come_with_a_receipt_of_their_dealer_for_this_session(tmp_path: Path):
    """They are stored before the receipt is recorded: a forged one must not put others in their place."""
    sim = mustered(tmp_path)
    device = sim.devices[0]
    vector, deal = contribution(sim, device)
    forged = Deal(cohort=deal.cohort, body=deal.body, signature=bytes(64), packets=deal.packets)

    async def attack(service: Service, driver: Driver) -> None:
        await service.put_chunk(device.identity, device.cohort, 0, vector)
        with pytest.raises(ForgedError):
            await service.deal(device.identity, forged)

    serving(sim, attack)
    receipt = Receipt(identity=device.identity, body=deal.body, signature=deal.signature)
    with pytest.raises(FileNotFoundError):
        sim.tools.rooms.packet(sim.session_of(device), receipt, 0)


@pytest.mark.parametrize("spoil", ["signature", "round key"])
def test_a_muster_that_would_spoil_the_roster_is_refused_when_it_comes(tmp_path: Path, spoil: str):
    """Else one device could make every other refuse the roster."""
    sim = Simulated(tmp_path)
    device = sim.devices[0]
    sim.record(Offered(identity=device.identity))
    made = sim.make_muster(device)
    body, round_key, signature = made.body, made.round_key, made.signature
    if spoil == "signature":
        signature = bytes(64)
    else:
        round_key = round_key[:-32] + bytes(32)
        body = replace(MusterBody.decode(body), round_key_hash=sha256(round_key).digest()).encode()
        signature = device.key.sign("muster", body)

    async def attack(service: Service, driver: Driver) -> None:
        with pytest.raises(ProtocolError):
            await service.muster(device.identity, Muster(body=body, round_key=round_key, signature=signature))

    serving(sim, attack)
    assert not sim.round.musters


def test_a_muster_may_end_when_answers_may_last_be_needed_and_not_a_second_earlier(tmp_path: Path):
    sim = Simulated(tmp_path)
    first, second = sim.devices[:2]
    last = int(sim.round.must_last_until(sim.now))
    assert last == sim.round.must_last_until(sim.now)
    sim.muster(first, not_after=last)
    with pytest.raises(ConflictError, match="ends too early"):
        sim.muster(second, not_after=last - 1)
    assert list(sim.round.musters) == [first.identity]


def test_a_stranger_or_an_unknown_cohort_is_refused_before_and_after_a_cohorts_end(tmp_path: Path):
    sim = Simulated(tmp_path)
    sim.muster(*sim.devices)
    sim.wait(sim.round.opened.rules.muster_window)
    round_, cohort = sim.round, sim.devices[0].cohort
    stranger = SigningKey(bytes(32)).public

    def vote(cohort: bytes, identity: bytes) -> Voted:
        return Voted(cohort=cohort, identity=identity, survivors_hash=bytes(32), signature=bytes(64))

    for step in (None, sim.contribute, sim.report, sim.vote, sim.answer):
        if step:
            step(*sim.devices)
        with pytest.raises(NotFoundError, match="no such cohort"):
            repeats(round_, vote(bytes(16), sim.devices[0].identity))
        with pytest.raises(ProtocolError, match="not in the cohort"):
            repeats(round_, vote(cohort, stranger))
    assert round_.cohorts[cohort].phase in FINAL


def test_there_is_no_chunk_before_the_first_or_behind_the_last(tmp_path: Path):
    upload = Upload(tmp_path / "upload", 2 * CHUNK_SIZE)
    for first, content in ((-1, bytes(PIECE_SIZE)), (32, b""), (32, bytes(PIECE_SIZE))):
        with pytest.raises(ProtocolError, match="pieces 0 to 31"):
            upload.put(first, content)
    for first in (0, 16):
        upload.put(first, bytes([first]) * CHUNK_SIZE)
    assert upload.complete()
