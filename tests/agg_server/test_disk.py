"""A disk that takes no more: devices are told to try again, nothing is lost, and what needs no disk goes on."""

import asyncio
import resource
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager

import pytest
from peers import Peer
from served import assert_exact, enrolled
from server_process import ServerProcess

from fedit_shared.errors import ProtocolError
from fedit_shared.messages import Offer, Refused, ServerMessage, decode

Serve = Callable[..., ServerProcess]


@contextmanager
def full_disk(server: ServerProcess) -> Iterator[None]:
    """No file of the server's process may grow: its writes fail as on a full disk, by the kernel's own limit."""
    soft, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_loses_nothing_and_the_round_goes_on_when_there_is_room_again(serve: Serve):
    server = serve(target=3, scale=300)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            peers = await enrolled(stack, server, 4)
            offers = [await peer.offer() for peer in peers]
            seats = [peer.train(offer) for peer, offer in zip(peers, offers, strict=True)][:3]
            with full_disk(server):
                await refused_for_now(peers[0].send(seats[0].muster))
                assert isinstance(await peers[3].check_in(), Offer)  # known already: nothing to write
                assert (await peers[3].adapter(offers[3].adapter))[0] == 200
            there = list(zip(peers[:3], seats, strict=True))
            for peer, seat in there:
                await peer.send(seat.muster)
            for peer, seat in there:
                await peer.take_seat(seat)
            with full_disk(server):
                status, raw, headers = await peers[0].request(
                    "PUT", f"/v1/cohorts/{seats[0].roster.cohort.hex()}/chunks/0", peers[0].chunks(seats[0])[0]
                )
                told = decode(raw, ServerMessage)
                assert (status, isinstance(told, Refused)) == (503, True)
                assert "Retry-After" in headers
                assert "later" in told.advice
            for peer, seat in there:
                for index in range(len(peer.chunks(seat))):
                    await peer.put_chunk(seat, index)
            with full_disk(server):
                await refused_for_now(peers[0].send(seats[0].deal))
            for peer, seat in there:
                await peer.contribute(seat)
            for step in (Peer.report, Peer.vote):
                for peer, seat in there:
                    await step(peer, seat)
            for peer, seat in there[:2]:
                await peer.answer(seat)
            with full_disk(server):
                await refused_for_now(peers[2].answer(seats[2]))
            await asyncio.gather(*(peer.finish(seat) for peer, seat in there))
            assert_exact(server, 1, seats)
        assert "Traceback" not in server.log.read_text()

    async def refused_for_now(sent) -> None:
        with pytest.raises(ProtocolError) as refused:
            await sent
        assert type(refused.value) is ProtocolError  # no class of its own: the status, 503, says to try again
        assert refused.value.advice

    asyncio.run(run())
