"""Rounds between a real server process and protocol clients, over TLS: the sum is exact, the adapter moves by it."""

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
import pytest
from peers import summed
from safetensors.numpy import load_file
from served import assert_exact, enrolled
from server_process import WINDOW, ServerProcess, command

from benchmarks.demo.plain import plain_slots
from fedit_shared.adapter import read_adapter
from fedit_shared.errors import ConflictError, ForgedError, ProtocolError, UnauthorizedError
from fedit_shared.messages import Closed, Leave, Wait
from fedit_shared.quantize import read_mean
from fedit_shared.secagg.bodies import RosterBody
from fedit_shared.secagg.member import check_certificate

Serve = Callable[..., ServerProcess]


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
            assert 0 < told["relative_error"] == told["quantization_error"] / told["mean_norm"] < 0.1
            assert f"{told['relative_error']:.2%}" in command("rounds", server.folder).stdout
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


def test_one_who_vanishes_before_its_upload_and_one_after_it_cost_nothing(serve: Serve):
    server = serve(target=7, clock=True, contribute_window=WINDOW)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            peers = await enrolled(stack, server, 7)
            seats = await asyncio.gather(*(peer.muster() for peer in peers))
            await asyncio.gather(*(peer.take_seat(seat) for peer, seat in zip(peers, seats, strict=True)))
            there = list(zip(peers, seats, strict=True))
            await asyncio.gather(*(peer.contribute(seat) for peer, seat in there[1:]))
            await server.window_over(dealt=6)
            results = await asyncio.gather(*(peer.finish(seat) for peer, seat in there[2:]))
            assert {result.outcome for result in results} == {"published"}
            told = assert_exact(server, 1, seats[1:])
            gone = {(drop["device"], drop["phase"]) for drop in told["dropped"]}
            assert gone == {(peers[0].identity.hex(), "contribute"), (peers[1].identity.hex(), "answer")}

            # both are back: they learn the result, and take part in the next round
            assert (await peers[0].poll(seats[0], "contributed")).outcome == "published"
            assert (await peers[1].poll(seats[1], "contributed")).outcome == "published"
            done = await asyncio.gather(*(peer.whole_round(after=1) for peer in peers))
            assert_exact(server, 2, [seat for seat, _ in done])

    asyncio.run(run())


def test_two_cohorts_make_one_step(serve: Serve):
    server = serve(target=8, cohort_max=5)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            peers = await enrolled(stack, server, 8)
            done = await asyncio.gather(*(peer.whole_round() for peer in peers))
            assert {result.outcome for _, result in done} == {"published"}
            assert len({result.adapter for _, result in done}) == 1
            assert len({result.cohort for _, result in done}) == 2
            [told, *_] = server.rounds()
            for cohort in told["cohorts"]:
                seats = [seat for seat, result in done if result.cohort.hex() == cohort["cohort"]]
                plain = [plain_slots(seat.session, seat.update, seat.randomness) for seat in seats if seat.session]
                assert np.array_equal(load_file(cohort["sum"])["slots"], summed(plain))

    asyncio.run(run())


def test_a_given_up_round_gives_members_their_updates_back_while_the_next_is_open(serve: Serve):
    server = serve(target=5, clock=True, contribute_window=WINDOW)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            peers = await enrolled(stack, server, 5)
            seats = await asyncio.gather(*(peer.muster() for peer in peers))
            await asyncio.gather(*(peer.take_seat(seat) for peer, seat in zip(peers, seats, strict=True)))
            await asyncio.gather(*(peer.contribute(seat) for peer, seat in zip(peers[:2], seats[:2], strict=True)))
            await server.window_over(dealt=2)
            offer = await peers[4].offer(after=1)
            assert (offer.round, offer.adapter) == (2, seats[0].offer.adapter)
            members = list(zip(peers[:4], seats[:4], strict=True))
            results = await asyncio.gather(*(peer.finish(seat) for peer, seat in members))
            assert {(result.outcome, result.survivors) for result in results} == {("abandoned", b"")}
            session = seats[0].session
            assert session is not None
            for result in results:
                check_certificate(session, result.survivors, result.certificate)
            told = server.rounds()[0]
            assert (told["outcome"], told["cohorts"][0]["outcome"]) == ("abandoned", "abandoned")

    asyncio.run(run())


def test_who_musters_for_a_round_that_is_over_is_told_so(serve: Serve):
    server = serve(target=3)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            peers = await enrolled(stack, server, 4)
            late = peers[3].train(await peers[3].offer())
            await asyncio.gather(*(peer.whole_round() for peer in peers[:3]))
            with pytest.raises(ConflictError, match="Round 1 is not open"):
                await peers[3].send(late.muster)
            closed = await peers[3].poll(late, "mustered")
            assert isinstance(closed, Closed)
            renewed = peers[3].train(await peers[3].offer(after=1), adapter=late.offer.adapter)
            with pytest.raises(ConflictError, match="another round"):
                await peers[3].send(renewed.muster)

    asyncio.run(run())


def test_an_upload_that_is_not_what_its_receipt_names_is_refused_and_can_be_sent_again(serve: Serve):
    server = serve(target=3, scale=300)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            peers = await enrolled(stack, server, 3)
            seats = await asyncio.gather(*(peer.muster() for peer in peers))
            await asyncio.gather(*(peer.take_seat(seat) for peer, seat in zip(peers, seats, strict=True)))
            peer, seat = peers[0], seats[0]
            assert seat.deal is not None
            pieces = peer.chunks(seat)
            assert len(pieces) > 2
            with pytest.raises(ConflictError, match="not complete"):
                await peer.send(seat.deal)
            spoilt = bytes([pieces[0][0] ^ 1]) + pieces[0][1:]
            await peer.put_chunk(seat, 0, spoilt)
            with pytest.raises(ConflictError, match="other content"):
                await peer.put_chunk(seat, 0)
            for index in range(1, len(pieces)):
                await peer.put_chunk(seat, index)
            with pytest.raises(ForgedError, match="not what its receipt names"):
                await peer.send(seat.deal)
            assert await peer.held(seat) == []
            packets = bytes([seat.deal.packets[0] ^ 1]) + seat.deal.packets[1:]
            await asyncio.gather(*(peer.put_chunk(seat, index) for index in reversed(range(len(pieces)))))
            for forged in (
                msgspec.structs.replace(seat.deal, packets=packets),
                msgspec.structs.replace(seat.deal, packets=seat.deal.packets[:-1]),
                msgspec.structs.replace(seat.deal, signature=bytes(64)),
            ):
                with pytest.raises(ProtocolError):
                    await peer.send(forged)
            with pytest.raises(ProtocolError):
                await peers[1].send(seat.deal)
            await peer.send(seat.deal)
            await peer.send(seat.deal)
            await peer.put_chunk(seat, 0)
            with pytest.raises(ConflictError):
                await peer.put_chunk(seat, 0, spoilt)
            there = list(zip(peers, seats, strict=True))
            await asyncio.gather(*(peer.contribute(seat) for peer, seat in there[1:]))
            await asyncio.gather(*(peer.finish(seat) for peer, seat in there))
            assert_exact(server, 1, list(seats))

    asyncio.run(run())


def test_the_adapter_comes_in_ranges_and_a_published_one_is_exported(serve: Serve, tmp_path: Path):
    server = serve(target=3)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            peers = await enrolled(stack, server, 3)
            [(_, result), *_] = await asyncio.gather(*(peer.whole_round() for peer in peers))
            _, whole = await peers[0].adapter(result.adapter)
            status, rest = await peers[0].adapter(result.adapter, {"Range": "bytes=100-"})
            assert (status, rest) == (206, whole[100:])
            assert command("export", server.folder, tmp_path / "out").returncode == 0
            assert (tmp_path / "out" / "adapter_model.safetensors").read_bytes() == whole

    asyncio.run(run())


def test_after_the_last_round_devices_are_told_that_the_federation_has_finished(serve: Serve):
    server = serve(target=3, rounds=1)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            peers = await enrolled(stack, server, 4)
            seats = await asyncio.gather(*(peer.muster() for peer in peers[:3]))
            there = list(zip(peers, seats, strict=False))
            await asyncio.gather(*(peer.take_seat(seat) for peer, seat in there))
            held = asyncio.create_task(peers[3].check_in(wait=50))  # no offer: the cohort is formed
            await asyncio.gather(*(peer.contribute(seat) for peer, seat in there))
            await asyncio.gather(*(peer.finish(seat) for peer, seat in there))
            finished = Closed(reason="The federation has finished: all 1 rounds are published.")
            assert [await held, await peers[0].check_in(wait=50)] == [finished] * 2
            server.stop()
            server.configure("federation", rounds=2)
            server.start()
            assert (await peers[3].offer(after=1)).round == 2

    asyncio.run(run())


def test_a_device_that_leaves_is_not_waited_for(serve: Serve):
    server = serve(target=4)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            peers = await enrolled(stack, server, 5)
            seats = [await peer.muster() for peer in peers[:3]]
            await peers[0].send(Leave())
            with pytest.raises(UnauthorizedError):
                await peers[0].poll(seats[0], "mustered")
            waiting = await peers[1].poll(seats[1], "mustered", wait=0)
            assert isinstance(waiting, Wait)
            assert (waiting.present, waiting.expected) == (2, 4)
            for peer in peers[3:]:
                await peer.muster()
            roster = RosterBody.decode((await peers[1].take_seat(seats[1])).body)
            assert {entry.identity for entry in roster.entries} == {peer.identity for peer in peers[1:]}

    asyncio.run(run())
