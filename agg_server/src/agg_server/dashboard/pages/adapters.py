"""/dashboard/adapters: every version with its card, its PEFT folder as a zip file, and the way back to it."""

import asyncio
import tempfile
from functools import partial
from typing import IO, NamedTuple

from aiohttp import web
from multidict import CIMultiDict
from sqlalchemy import Connection

from agg_server.adapters.card import lineage, write_card
from agg_server.adapters.export import contents, zipped
from agg_server.config import GO_ON
from agg_server.dashboard.rendering import PRIVATE
from agg_server.dashboard.sending import Sending
from agg_server.dashboard.site import Question, Site, Visit, see_other
from agg_server.dashboard.views.adapters import VersionLine, version_lines, what_becomes
from agg_server.rounds.report import RoundReport
from agg_server.store import AdapterVersion, Journal, Retention, Versions
from agg_server.task import make_task
from agg_server.upkeep import rollback
from agg_server.upkeep.pruning import require_kept
from agg_server.web.operator import PREFIX
from fedit_shared.errors import NotFoundError

from .glance import look

_CHUNK = 1 << 18
_building = asyncio.Semaphore(1)
"""A version is in memory while its zip file is made."""


class _Known(NamedTuple):
    versions: list[AdapterVersion]
    pruned: int
    ordered: int | None


async def page(site: Site, visit: Visit) -> web.StreamResponse:
    """All versions."""
    lines, known = await _lines(site)
    finished = (await site.driver.standing()).finished
    return await site.show(visit, "adapters.html", lines=lines, ordered=known.ordered, finished=finished)


async def one(site: Site, visit: Visit) -> web.StreamResponse:
    """One version, with its card."""
    line, version, versions = await _asked_for(site, visit)
    card = await _card(site, version, versions)
    return await site.show(visit, "adapter.html", line=line, card=card)


async def download(site: Site, visit: Visit) -> web.StreamResponse:
    """Its PEFT folder."""
    _, version, versions = await _asked_for(site, visit)
    card = await _card(site, version, versions)
    with await site.driver.on_pool(partial(_empty_file, site)) as file:
        async with _building:
            await site.driver.on_pool(partial(_zip, site, version, card, file))
        size = file.seek(0, 2)
        file.seek(0)
        name = f"adapter-version-{version.version}.zip"
        headers = PRIVATE | {"Content-Type": "application/zip", "Content-Disposition": f'attachment; filename="{name}"'}
        response = web.StreamResponse(headers=CIMultiDict(headers))
        response.content_length = size
        await response.prepare(visit.request)
        sending = Sending(visit.request, response, site.closing)
        while part := await site.driver.on_pool(partial(file.read, _CHUNK)):
            if not await sending.send(part):
                break
    return response


async def ask_to_go_back(site: Site, visit: Visit) -> web.StreamResponse:
    """Whether it is meant."""
    line, _, _ = await _asked_for(site, visit)
    now = await look(site)
    stands = await site.read(lambda connection: rollback.require_elsewhere(connection, line.version))
    told = what_becomes(line.version, stands.working, now.current and now.current.report)
    if (await site.driver.standing()).finished:
        told += f" But none will be opened. {site.config.federation.finish} {GO_ON}"
    return await site.ask(
        visit,
        Question(
            title=f"Go back to version {line.version}",
            question=f"Go on from adapter version {line.version} ({line.adapter[:16]}…)?",
            told=told,
            action=f"/adapters/{line.version}/rollback",
            button=f"Go back to version {line.version}",
            back="/adapters",
        ),
    )


async def go_back(site: Site, visit: Visit) -> web.StreamResponse:
    """The next round begins from this version."""
    _, version, _ = await _asked_for(site, visit)

    await site.write(lambda connection: rollback.go_back(connection, site.driver.tools.blobs, version.version))
    return see_other("/adapters")


async def stay(site: Site, visit: Visit) -> web.StreamResponse:
    """Nothing is gone back to after all."""
    await site.write(rollback.stay)
    return see_other("/adapters")


async def _lines(site: Site) -> tuple[list[VersionLine], _Known]:
    def read(connection: Connection) -> _Known:
        versions = Versions()
        return _Known(versions.all(connection), Retention().pruned(connection).versions, versions.rollback(connection))

    known = await site.read(read)
    following = (await site.driver.standing()).current.version
    return version_lines(known.versions, following, known.pruned), known


async def _asked_for(site: Site, visit: Visit) -> tuple[VersionLine, AdapterVersion, list[AdapterVersion]]:
    """The version in the address, and all of them. Raises NotFoundError."""
    lines, known = await _lines(site)
    number = visit.request.match_info["version"]
    for line, version in zip(lines, reversed(known.versions), strict=True):
        if str(line.version) == number:
            return line, version, known.versions
    raise NotFoundError("There is no such adapter version.", advice=f"{PREFIX}/adapters lists them.")


async def _card(site: Site, version: AdapterVersion, versions: list[AdapterVersion]) -> str:
    """The model card, as `fedit-server export` writes it."""
    now = await look(site)

    def write(connection: Connection) -> str:
        kept: list[RoundReport] = Journal().reports(connection)
        reports = [now.live.get(report.round, report) for report in kept]
        task = make_task(site.config, site.layout.adapter)
        return write_card(lineage(versions, reports, version), task, site.config)

    return await site.read(write)


def _empty_file(site: Site) -> IO[bytes]:
    """Without a name: it is gone when it is closed."""
    return tempfile.TemporaryFile(dir=site.layout.folder)


def _zip(site: Site, version: AdapterVersion, card: str, file: IO[bytes]) -> None:
    with site.database.reading() as connection:
        pruned = Retention().pruned(connection)
    blobs = site.driver.tools.blobs
    require_kept(blobs, version, pruned)
    task = make_task(site.config, site.layout.adapter)
    zipped(contents(blobs, task.adapter_config, version.adapter, card), file)
