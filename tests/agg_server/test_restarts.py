"""The server is killed at every turn of a round, and goes on in the same round; a stop drains."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack

from peers import Peer, Seat
from served import assert_exact, enrolled
from server_process import WINDOW, ServerProcess

from fedit_shared.messages import Accepted, Offer, Prepare, Result, Survivors, Wait

Serve = Callable[..., ServerProcess]


def test_a_server_killed_at_every_turn_goes_on_in_the_same_round_to_the_exact_sum(serve: Serve):
    server = serve(target=5, scale=300)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            peers = await enrolled(stack, server, 5)
            await server.restart()  # nobody has to join again
            first = await peers[0].offer()
            await server.restart()  # an offer is still good
            seats = [peers[0].train(first)]
            assert isinstance(await peers[0].send(seats[0].muster), Accepted)
            seats += [await peer.muster() for peer in peers[1:3]]
            await server.restart()  # musters are still there
            waiting = await peers[0].poll(seats[0], "mustered", wait=0)
            assert isinstance(waiting, Wait)
            assert waiting.present == 3
            seats += [await peer.muster() for peer in peers[3:]]
            there = list(zip(peers, seats, strict=True))
            roster = await peers[0].take_seat(seats[0])
            await server.restart()  # the roster stays the same, byte for byte
            assert await peers[0].take_seat(seats[0]) == roster
            for peer, seat in there[1:]:
                assert (await peer.take_seat(seat)).body == roster.body

            await peers[0].put_chunk(seats[0], 1)
            await server.restart()  # a chunk that was accepted need not be sent again
            assert await peers[0].held(seats[0]) == [1]
            for peer, seat in there[:2]:
                await peer.contribute(seat)
            await server.restart()
            assert isinstance(await peers[1].send(seats[1].deal), Accepted)
            for peer, seat in there[2:]:
                await peer.contribute(seat)
            await server.restart()

            for peer, seat in there[:2]:
                await peer.report(seat)
            prepared = seats[0].prepare
            await server.restart()
            assert await peers[0].poll(seats[0], "contributed") == prepared
            for peer, seat in there[2:]:
                await peer.report(seat)
            offered = await peers[0].wait_for(seats[0], "reported")
            await server.restart()  # the list of survivors stays the same
            assert isinstance(offered, Survivors)
            assert await peers[4].wait_for(seats[4], "reported") == offered
            for peer, seat in there[:3]:
                await peer.vote(seat)
            await server.restart()
            for peer, seat in there[3:]:
                await peer.vote(seat)
            for peer, seat in there[:3]:
                await peer.answer(seat)
            await server.restart()
            for peer, seat in there[3:]:
                await peer.answer(seat)
            results = [await peer.wait_for(seat, "answered") for peer, seat in there]
            assert {result.outcome for result in results} == {"published"}
            await server.restart()  # results stay
            assert [await peer.wait_for(seat, "answered") for peer, seat in there] == results
            assert_exact(server, 1, seats)
            following = await peers[0].offer(after=1)
            assert (following.round, following.adapter) == (2, results[0].adapter)

    asyncio.run(run())


def test_a_deadline_that_passes_while_the_server_is_down_counts_when_it_is_back(serve: Serve):
    server = serve(target=5, clock=True, contribute_window=WINDOW)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            peers = await enrolled(stack, server, 5)
            seats = [await peer.muster() for peer in peers]
            there = list(zip(peers, seats, strict=True))
            for peer, seat in there:
                await peer.take_seat(seat)
            for peer, seat in there[:4]:
                await peer.contribute(seat)
            await asyncio.to_thread(server.kill)
            await server.window_over(dealt=4)
            await asyncio.to_thread(server.start)
            await asyncio.gather(*(peer.finish(seat) for peer, seat in there[:4]))
            assert_exact(server, 1, seats[:4])

    asyncio.run(run())


def test_a_stop_answers_those_who_wait_and_ends_cleanly(serve: Serve):
    server = serve(target=5)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            peers = await enrolled(stack, server, 2)
            seats = [await peer.muster() for peer in peers]
            held = [
                asyncio.create_task(peer.poll(seat, "mustered", wait=60))
                for peer, seat in zip(peers, seats, strict=True)
            ]
            await until_held(server, peers[0])
            assert await asyncio.to_thread(server.stop) == 0
            assert {type(answer) for answer in await asyncio.gather(*held)} == {Wait}

    async def until_held(server: ServerProcess, peer: Peer) -> None:
        """A later request is answered after the held ones have arrived."""
        for _ in range(20):
            assert isinstance(await peer.check_in(), Wait)

    asyncio.run(run())


def test_a_member_that_comes_back_late_is_given_all_that_it_missed(serve: Serve):
    server = serve(target=5, answer_grace="1s")

    async def run() -> None:
        async with AsyncExitStack() as stack:
            peers = await enrolled(stack, server, 5)
            seats: list[Seat] = [await peer.muster() for peer in peers]
            there = list(zip(peers, seats, strict=True))
            for peer, seat in there:
                await peer.take_seat(seat)
                await peer.contribute(seat)
            for peer, seat in there[:4]:
                await peer.report(seat)
            for peer, seat in there[:4]:
                await peer.vote(seat)
            for peer, seat in there[:3]:
                await peer.answer(seat)
            await server.restart()
            late, seat = there[4]  # the list is certified without it; its answer makes the sum open
            seat.prepare = await late.wait_for(seat, "contributed")
            assert isinstance(seat.prepare, Prepare)
            result = await late.finish(seat)
            assert isinstance(result, Result)
            assert result.outcome == "published"
            assert isinstance(await peers[3].answer(seats[3]), Result)
            assert isinstance(await peers[3].offer(after=1), Offer)
            told = assert_exact(server, 1, seats)
            assert told["dropped"] == []

    asyncio.run(run())
