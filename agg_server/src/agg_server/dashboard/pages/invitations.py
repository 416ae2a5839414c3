"""/dashboard/invitations: join links are made, shown to the session that made them, and revoked."""

import os
import re
from functools import partial
from hashlib import sha256

import segno
from aiohttp import web
from markupsafe import Markup
from sqlalchemy import Connection

from agg_server.dashboard import login
from agg_server.dashboard.site import Question, Site, Visit, see_other
from agg_server.dashboard.views import invitations
from agg_server.dashboard.views.invitations import MOST_USES, TERMS
from agg_server.dashboard.views.words import status
from agg_server.durations import Seconds
from agg_server.enrolment import invite
from agg_server.store import People
from agg_server.web.operator import PREFIX
from fedit_shared.errors import NotFoundError, UserError

_NAME = re.compile(r"[0-9a-f]{64}")
_ONCE = re.compile(r"[0-9a-f]{32}")
_USES = re.compile(r"[1-9][0-9]{0,4}")


async def page(site: Site, visit: Visit) -> web.StreamResponse:
    """The list, and the form for another."""
    made = await site.read(People().invitations)
    view = await site.driver.on_pool(partial(invitations.invitations_page, made, site.driver.clock()))
    once = os.urandom(16).hex()
    return await site.show(visit, "invitations.html", view=view, terms=TERMS, most=MOST_USES, once=once)


async def make(site: Site, visit: Visit) -> web.StreamResponse:
    """A new link; the same one for a form that is sent again."""
    uses, term, once = (visit.form.get(name, "") for name in ("uses", "term", "once"))
    if not _USES.fullmatch(uses) or int(uses) > MOST_USES or term not in TERMS or not _ONCE.fullmatch(once):
        raise UserError(
            f"A link is good for 1 to {MOST_USES} devices, for one of the times in the form.",
            advice="Go back, and choose again.",
        )
    now = site.driver.clock()
    expires = now + Seconds.parse(term) if term else None
    tokens = [login.join_token(visit.secret, once)]
    new = partial(invite, site.layout, site.config, tokens, uses=int(uses), expires=expires, now=now)
    [(_, invitation)] = await site.driver.on_pool(new)

    def keep(connection: Connection) -> None:
        if People().invitation(connection, invitation.token_hash) is None:
            People().invite(connection, [invitation])

    await site.write(keep)
    return see_other(f"/invitations/made/{once}")


async def made(site: Site, visit: Visit) -> web.StreamResponse:
    """The link that this session has made, while it lets anybody in: of what is kept it cannot be made again."""
    once = visit.request.match_info["once"]
    token = login.join_token(visit.secret, once)
    found = await site.read(lambda connection: People().invitation(connection, sha256(token).digest()))
    if found is None:
        raise NotFoundError("This session has made no such link.", advice=f"{PREFIX}/invitations makes another.")
    stands = found.standing(site.driver.clock())
    if stands != "open":
        return await site.show(visit, "invited.html", stands=status(stands), shown=found)
    uses, expires = found.uses, found.expires
    again = partial(invite, site.layout, site.config, [token], uses=uses, expires=expires, now=found.created)
    [(link, _)] = await site.driver.on_pool(again)
    drawing = await site.driver.on_pool(partial(_drawing, str(link)))
    return await site.show(visit, "invited.html", stands=status(stands), shown=found, link=str(link), drawing=drawing)


async def ask_to_revoke(site: Site, visit: Visit) -> web.StreamResponse:
    """Whether it is meant."""
    name = await _known(site, visit)
    return await site.ask(
        visit,
        Question(
            title="Revoke an invitation",
            question=f"Revoke the invitation {name[:16]}…?",
            told="Nobody new joins by its link any more. Who has joined by it stays: a device is blocked by itself.",
            action=f"/invitations/{name}/revoke",
            button="Revoke",
            back="/invitations",
        ),
    )


async def revoke(site: Site, visit: Visit) -> web.StreamResponse:
    """Nobody new comes in by this link."""
    name, now = await _known(site, visit), site.driver.clock()
    await site.write(lambda connection: People().revoke(connection, bytes.fromhex(name), now))
    return see_other("/invitations")


async def _known(site: Site, visit: Visit) -> str:
    """The name in the address, of an invitation that was made. Raises NotFoundError."""
    name = visit.request.match_info["invitation"]
    made = await site.read(People().invitations) if _NAME.fullmatch(name) else []
    if name not in {each.token_hash.hex() for each in made}:
        raise NotFoundError("There is no such invitation.", advice=f"{PREFIX}/invitations lists them.")
    return name


def _drawing(link: str) -> Markup:
    """The link as a QR code: SVG of segno's making, in which nothing of the link is text."""
    code = segno.make(link, error="l", micro=False)
    return Markup(code.svg_inline(svgclass=None, lineclass=None, light="#fff", dark="#000", omitsize=True))
