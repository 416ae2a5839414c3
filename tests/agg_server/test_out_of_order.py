"""What comes too early, too late or for another cohort is refused in every phase, and changes nothing."""

import asyncio
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from bad_requests import HASH, SIGNATURE
from peers import Peer, Seat, until
from refusals import require_refused, state
from server_process import ServerProcess

from fedit_shared.identity import SigningKey
from fedit_shared.messages import ROUTES, Answer, Deal, Report, Vote, chunk_path, encode
from fedit_shared.secagg.bodies import DealBody, ReportBody, VoteBody


class Company(NamedTuple):
    """Six devices of two cohorts of three, and what each has done so far."""

    peers: list[Peer]
    seats: list[Seat]

    def cohort(self, place: int) -> list[int]:
        """The places of those who are of one cohort with the ``place``-th."""
        wanted = self.seats[place].roster
        assert wanted is not None
        return [k for k, seat in enumerate(self.seats) if seat.roster and seat.roster.cohort == wanted.cohort]


def test_what_comes_out_of_order_or_for_anothers_cohort_is_refused_in_every_phase(tmp_path: Path):
    """Two cohorts go through a round; in each phase whatever belongs to another phase or cohort is tried."""
    server = ServerProcess(tmp_path, target=6, cohort_max=3, rounds=1, answer_grace="5min")
    server.start()
    [link] = server.invite("--uses", 6)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            peers = [await stack.enter_async_context(Peer(link, place)) for place in range(6)]
            for peer in peers:
                await peer.enrol()
            company = Company(peers, [await peer.muster() for peer in peers])
            for peer, seat in zip(*company, strict=True):
                await peer.take_seat(seat)
            await try_all(server, company, right=("chunk", "held"))
            for peer, seat in zip(*company, strict=True):
                await peer.contribute(seat)
            await wait_for_all(company, "contributed")
            await try_all(server, company, right=("held", "deal", "report"))
            for step, after, right in (
                (Peer.report, "reported", ("held", "deal", "report")),
                (Peer.vote, "voted", ("held", "deal", "report")),
            ):
                for peer, seat in zip(*company, strict=True):
                    await step(peer, seat)
                await wait_for_all(company, after)
                await try_all(server, company, right=right)
            for peer, seat in zip(*company, strict=True):
                await peer.answer(seat)
            await wait_for_all(company, "answered")
            await until(lambda: asyncio.to_thread(uploads, server), lambda found: not found)
            # what comes late to a cohort that needs no more is of no use, and is not held against anybody
            await try_all(server, company, right=("held", "deal", "report", "vote", "answer"))

    try:
        asyncio.run(run())
    finally:
        assert server.stop() == 0


def uploads(server: ServerProcess) -> list[Path]:
    """What devices have sent; it goes when their round has ended."""
    return list((server.folder / "blobs" / "cohorts").rglob("uploads/*"))


async def wait_for_all(company: Company, after: str) -> None:
    for peer, seat in zip(*company, strict=True):
        await peer.wait_for(seat, after)


async def try_all(server: ServerProcess, company: Company, right: tuple[str, ...]) -> None:
    """The first device says everything to its own cohort but what is ``right`` now, or was and may be said again, and
    everything to the other's."""
    own = company.cohort(0)
    other = next(place for place in range(6) if place not in own)
    before = state(server)
    for place, skipped in ((0, right), (other, ())):
        for name, (method, path, body) in everything(company, place).items():
            if name not in skipped:
                told = await company.peers[0].request(method, path, body)
                require_refused(told, (400, 403, 404, 409), (name, "own" if place == 0 else "another's", right))
    assert state(server) == before


def everything(company: Company, place: int) -> dict[str, tuple[str, str, bytes]]:
    """What the first device could say to the cohort of the ``place``-th: in form, and signed by it."""
    seat, key = company.seats[place], company.peers[0].key
    assert seat.roster is not None
    assert seat.session is not None
    assert seat.deal is not None
    cohort, sid, me = seat.roster.cohort, seat.session.sid, company.peers[0].identity
    deal = DealBody(sid, me, HASH, HASH).encode() if place else seat.deal.body
    said: list[Any] = [
        Deal(cohort=cohort, body=deal, signature=key.sign("deal", deal), packets=seat.deal.packets),
        seat.sent.get(Report) if not place and Report in seat.sent else _report(cohort, sid, key, me),
        Vote(
            cohort=cohort,
            survivors_hash=HASH,
            signature=key.sign("vote", VoteBody(sid, HASH).encode()),
        ),
        Answer(
            cohort=cohort,
            survivors_hash=HASH,
            words=bytes(4 * seat.session.parameters.words),
            signature=SIGNATURE,
        ),
    ]
    return {
        "chunk": ("PUT", chunk_path(cohort, 0), bytes(len(company.peers[0].chunks(seat)[0]))),
        "held": ("GET", chunk_path(cohort), b""),
        **{type(message).__name__.lower(): ("POST", ROUTES[type(message)].path, encode(message)) for message in said},
    }


def _report(cohort: bytes, sid: bytes, key: SigningKey, me: bytes) -> Report:
    body = ReportBody(sid, me, sha256(b"").digest()).encode()
    return Report(cohort=cohort, report=b"", signature=key.sign("report", body))
