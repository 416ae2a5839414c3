"""/dashboard/rounds: the list of rounds, and a page for each."""

from functools import partial

from aiohttp import web
from sqlalchemy import Connection

from agg_server.dashboard.site import Site, Visit
from agg_server.dashboard.views import rounds
from agg_server.dashboard.views.timeline import PHASES, TURNING, WIDTH
from agg_server.rounds.report import RoundReport
from agg_server.store import Journal, Recorded
from agg_server.store.journal import Span
from fedit_shared.errors import NotFoundError

from .glance import look

_A_PAGE = 50
Kept = tuple[RoundReport, list[Recorded], dict[str, Span]]


async def all_rounds(site: Site, visit: Visit) -> web.StreamResponse:
    """The list, newest first, by the page: ``?before=N`` for those with a number below."""
    now = await look(site)
    before = _number(visit.request.query.get("before"))
    kept = await site.read(lambda c: Journal().recent_reports(c, _A_PAGE + 1, before=before))
    shown = [rounds.line(now.live.get(report.round, report)) for report in kept[-_A_PAGE:][::-1]]
    older = shown[-1].number if len(kept) > _A_PAGE else None
    return await site.show(visit, "rounds.html", lines=shown, older=older, newest=before is None)


async def one_round(site: Site, visit: Visit) -> web.StreamResponse:
    """A round's own page."""
    number = _number(visit.request.match_info["round"])
    now = await look(site)

    def read(connection: Connection) -> Kept | None:
        journal = Journal()
        report = None if number is None else journal.report_of(connection, number)
        if number is None or report is None:
            return None
        return report, journal.events_of_kinds(connection, number, TURNING), journal.spans(connection, number)

    found = await site.read(read)
    if number is None or found is None:
        raise NotFoundError("There is no such round.", advice="The page of all rounds lists them.")
    kept, turning, spans = found
    view = await site.driver.on_pool(partial(rounds.round_page, now.live.get(number, kept), turning, spans))
    return await site.show(visit, "round.html", round=view, phases=PHASES, width=WIDTH)


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None
