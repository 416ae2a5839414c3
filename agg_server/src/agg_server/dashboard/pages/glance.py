"""/dashboard: the federation at a glance. What is going on comes again, by server-sent events, when it has changed."""

from functools import partial

from aiohttp import web

from agg_server.dashboard.moment import Moment, look_at
from agg_server.dashboard.site import Site, Visit
from agg_server.dashboard.views import glance
from agg_server.store import Journal, People

DAY = 86400.0


async def page(site: Site, visit: Visit) -> web.StreamResponse:
    """The whole page."""
    moment = await look(site)
    facts, history = await _facts(site, moment), await _history(site, moment)
    parts = {"now": glance.now(moment, facts.finished), "facts": facts, "history": history}
    return await site.show(visit, "glance.html", **parts)


async def fragments(site: Site, moment: Moment, *, history: bool) -> dict[str, str]:
    """id → HTML of the parts that change: those of the past only if they are asked for."""
    facts = await _facts(site, moment)
    texts = {
        "now": await site.text("glance_now.html", now=glance.now(moment, facts.finished)),
        "facts": await site.text("glance_facts.html", facts=facts),
    }
    if history:
        texts["history"] = await site.text("glance_history.html", history=await _history(site, moment))
    return texts


async def look(site: Site) -> Moment:
    """How the rounds stand."""
    return await site.driver.on_ledger(lambda: look_at(site.driver.ledger, site.driver.clock()))


async def _facts(site: Site, moment: Moment) -> glance.Facts:
    stands = await site.driver.standing()
    census = await site.read(lambda connection: People().census(connection, moment.time - DAY))
    return glance.facts(stands, census, site.config.federation.finish)


async def _history(site: Site, moment: Moment) -> glance.History:
    kept = await site.read(lambda connection: Journal().recent_reports(connection, glance.SHOWN_ROUNDS))
    reports = [moment.live.get(report.round, report) for report in kept]
    return await site.driver.on_pool(partial(glance.history, reports))
