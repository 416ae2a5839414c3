"""What tests of whole rounds between a server process and peers have in common."""

from contextlib import AsyncExitStack
from typing import Any

import numpy as np
from peers import Peer, Seat, summed
from safetensors.numpy import load_file
from server_process import ServerProcess

from benchmarks.demo.plain import plain_slots


def assert_exact(server: ServerProcess, number: int, seats: list[Seat]) -> dict[str, Any]:
    """The round's opened sum is the integer sum over ``seats``, bit for bit."""
    told = server.rounds()[number - 1]
    assert told["outcome"] == "published", told
    [cohort] = told["cohorts"]
    opened = load_file(cohort["sum"])["slots"]
    plain = [plain_slots(seat.session, seat.update, seat.randomness) for seat in seats if seat.session]
    assert np.array_equal(opened, summed(plain))
    assert len(cohort["survivors"]) == len(seats)
    return told


async def enrolled(stack: AsyncExitStack, server: ServerProcess, count: int, *, first: int = 0) -> list[Peer]:
    """So many peers, numbered from ``first``."""
    [link] = server.invite("--uses", count)
    peers = [await stack.enter_async_context(Peer(link, i)) for i in range(first, first + count)]
    for peer in peers:
        await peer.enrol()
    return peers
