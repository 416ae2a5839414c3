"""Pages of words: what the server may know, and its settings."""

from aiohttp import web

from agg_server.config import FILE
from agg_server.dashboard.site import Site, Visit
from agg_server.dashboard.views.settings import sections
from fedit_shared.parameters import CohortParameters


async def knows(site: Site, visit: Visit) -> web.StreamResponse:
    """/dashboard/knows: what this server may know, and why it can never show a single update."""
    rules = site.config.round
    floors = [CohortParameters(size).floor for size in (rules.cohort_min, rules.cohort_max)]
    strategy = site.config.federation.strategy
    return await site.show(visit, "knows.html", rules=rules, floors=floors, strategy=strategy)


async def settings(site: Site, visit: Visit) -> web.StreamResponse:
    """/dashboard/settings: what this process runs with, and what each setting means."""
    return await site.show(visit, "settings.html", sections=sections(site.config), file=FILE)
