"""/dashboard/devices: who has joined; a device is blocked, and let in again."""

import re

from aiohttp import web

from agg_server.dashboard.site import Question, Site, Visit, see_other
from agg_server.dashboard.views import devices
from agg_server.store import People
from agg_server.web.operator import PREFIX
from fedit_shared.errors import NotFoundError

_KEY = re.compile(r"[0-9a-f]{64}")


async def page(site: Site, visit: Visit) -> web.StreamResponse:
    """The list; ``?begins=``: of the devices whose key, or whose invitation's name, begins so."""
    begins = visit.request.query.get("begins", "").strip().lower()[:64]
    everybody = await site.read(People().devices)
    view = await site.driver.on_pool(lambda: devices.devices_page(everybody, begins))
    return await site.show(visit, "devices.html", view=view, begins=begins)


async def ask_to_block(site: Site, visit: Visit) -> web.StreamResponse:
    """Whether it is meant."""
    key = await _known(site, visit)
    return await site.ask(
        visit,
        Question(
            title="Block a device",
            question=f"Block the device {key[:16]}…?",
            told=(
                "It is served no more, by other replicas within seconds, and cannot join again with any link. While "
                "devices train and muster the round goes on without it; a cohort that it is in waits for it until its "
                "time is over, as for a device that is gone. What it sent before stays in the sums that it is in."
            ),
            action=f"/devices/{key}/block",
            button="Block",
            back="/devices",
        ),
    )


async def block(site: Site, visit: Visit) -> web.StreamResponse:
    """The device is served no more."""
    await _set(site, await _known(site, visit), blocked=True)
    return see_other("/devices")


async def unblock(site: Site, visit: Visit) -> web.StreamResponse:
    """A blocked device is served again."""
    await _set(site, await _known(site, visit), blocked=False)
    return see_other("/devices")


async def _known(site: Site, visit: Visit) -> str:
    """The key in the address, of a device that has joined. Raises NotFoundError."""
    key = visit.request.match_info["device"]
    device = None
    if _KEY.fullmatch(key):
        device = await site.read(lambda connection: People().device(connection, bytes.fromhex(key)))
    if device is None:
        raise NotFoundError("No such device has joined.", advice=f"{PREFIX}/devices lists them.")
    return key


async def _set(site: Site, key: str, *, blocked: bool) -> None:
    await site.write(lambda connection: People().set_blocked(connection, bytes.fromhex(key), blocked=blocked))
    await site.driver.attendance.dismiss()  # here at once; other replicas look within seconds
