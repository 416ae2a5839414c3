"""The one writer outlives what follows its turns."""

import asyncio
from pathlib import Path

import pytest
from simulated import Simulated

from agg_server.driver.writer import Turn, Writer
from agg_server.ledger import Proposal
from agg_server.rounds.events import Offered


def test_a_writer_goes_on_where_what_follows_a_turn_fails_and_is_asked_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    sim = Simulated(tmp_path, 5, cohort_target=5)
    turns: list[Turn] = []

    def after(turn: Turn) -> None:
        turns.append(turn)
        if turn.recorded and len(turns) < 3:
            raise RuntimeError("a bug in what follows")

    async def run() -> None:
        writer = Writer(sim.ledger, lambda: sim.now, after)
        running = asyncio.create_task(writer.run())
        async with asyncio.timeout(120):
            for device in sim.devices[:2]:
                await writer.submit(Proposal(1, Offered(identity=device.identity)))
            writer.stop()
            await running
        writer.close()

    asyncio.run(run())
    assert [len(turn.recorded) for turn in turns if turn.recorded] == [1, 1]
    assert "a bug in what follows" in caplog.text
