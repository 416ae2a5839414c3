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
from agg_server.metrics import Metrics
from fedit_shared.errors import ConflictError, ForgedError, ProtocolError
from fedit_shared.messages import Accepted, Deal
from fedit_shared.secagg import Contributor
from fedit_shared.secagg.bodies import DealBody
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
