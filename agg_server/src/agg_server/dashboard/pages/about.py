"""Pages of words alone."""

from aiohttp import web

from agg_server.dashboard.site import Site, Visit


async def knows(site: Site, visit: Visit) -> web.StreamResponse:
    """/dashboard/knows: what this server may know, and why it can never show a single update."""
    return await site.show(visit, "knows.html", rules=site.config.round, strategy=site.config.federation.strategy)
