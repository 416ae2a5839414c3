"""Rounds between a real server process and protocol clients, over TLS: the sum is exact, the adapter moves by it."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from hashlib import sha256

import numpy as np
from peers import Peer, Seat, summed
from safetensors.numpy import load_file
from server_process import ServerProcess

from benchmarks.demo.plain import plain_slots
from fedit_shared.adapter import read_adapter
from fedit_shared.quantize import read_mean

Serve = Callable[..., ServerProcess]


def assert_exact(server: ServerProcess, number: int, seats: list[Seat]) -> dict[str, object]:
    """The round's opened sum is the integer sum over ``seats``, bit for bit."""
    told = server.rounds()[number - 1]
    assert told["outcome"] == "published", told
    [cohort] = told["cohorts"]
    opened = load_file(cohort["sum"])["slots"]
    plain = [plain_slots(seat.session, seat.update, seat.randomness) for seat in seats if seat.session]
    assert np.array_equal(opened, summed(plain))
    assert len(cohort["survivors"]) == len(seats)
    return told


async def enrolled(stack: AsyncExitStack, server: ServerProcess, count: int) -> list[Peer]:
    [link] = server.invite("--uses", count)
    peers = [await stack.enter_async_context(Peer(link, i)) for i in range(count)]
    for peer in peers:
        await peer.enrol()
    return peers


def test_a_round_of_five_is_exact_and_its_adapter_is_the_old_one_plus_the_mean(serve: Serve):
    server = serve(target=5)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            peers = await enrolled(stack, server, 5)
            done = await asyncio.gather(*(peer.whole_round() for peer in peers))
            seats, results = [seat for seat, _ in done], [result for _, result in done]
            told = assert_exact(server, 1, seats)
            assert {result.outcome for result in results} == {"published"}
            assert told["dropped"] == []
            status, new = await peers[0].adapter(results[0].adapter)
            assert status == 200
            assert sha256(new).digest() == results[0].adapter
            _, old = await peers[0].adapter(seats[0].offer.adapter)
            session = seats[0].session
            assert session is not None
            slots = summed([plain_slots(session, seat.update, seat.randomness) for seat in seats])
            mean = read_mean(session.quantizer, slots.astype(np.uint16), 5)
            before, after = read_adapter(old)[1], read_adapter(new)[1]
            assert np.array_equal(after, (before + mean.delta.astype(np.float64)).astype(np.float32))
            assert np.isclose(results[0].mean_loss or 0, mean.loss)

    asyncio.run(run())
