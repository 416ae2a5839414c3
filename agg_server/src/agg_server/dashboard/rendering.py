"""How answers of the dashboard are made: templates, the two static files, and the headers that every answer has.

Everything is escaped unless a template of this package says otherwise, and a name that a page was not given is an
error. There is no script and no style in a page, and none would run: the headers allow those of /dashboard/static only.
"""

import datetime
from collections.abc import Mapping
from hashlib import sha256
from importlib.resources import files
from typing import NamedTuple

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined
from multidict import CIMultiDict

from agg_server.durations import in_words
from agg_server.watching.logs import SHOWN
from agg_server.web.operator import PREFIX

SAFE = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
PRIVATE = SAFE | {"Cache-Control": "no-store"}
_FOR_EVER = SAFE | {"Cache-Control": "public, max-age=31536000, immutable"}
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


class _Static(NamedTuple):
    content: bytes
    type: str
    version: str


class Rendering:
    """Templates and static files, read once."""

    def __init__(self, always: Mapping[str, object]) -> None:
        """``always``: what every template knows."""
        self._statics = dict(_statics())
        self._templates = Environment(
            loader=PackageLoader("agg_server.dashboard"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(
            duration=in_words, moment=moment, iso=iso, number=number, percent=percent, size=size, device=device
        )
        self._templates.globals.update(always, static=self._address, prefix=PREFIX)
        for name in self._templates.list_templates():
            self._templates.get_template(name)  # compiled now, and not while somebody waits

    def text(self, template: str, values: Mapping[str, object]) -> str:
        """The template, filled in."""
        return self._templates.get_template(template).render(values)

    def page(self, template: str, values: Mapping[str, object], status: int = 200) -> web.Response:
        """As :meth:`text`, as an answer."""
        text = self.text(template, values)
        return web.Response(text=text, status=status, content_type="text/html", headers=CIMultiDict(PRIVATE))

    def static(self, name: str) -> web.Response | None:
        """A static file; None if there is none of this name."""
        found = self._statics.get(name)
        if found is None:
            return None
        return web.Response(body=found.content, content_type=found.type, charset="utf-8", headers=_FOR_EVER)

    def _address(self, name: str) -> str:
        return f"{PREFIX}/static/{name}?{self._statics[name].version}"


def _statics() -> list[tuple[str, _Static]]:
    found = []
    for file in files("agg_server.dashboard").joinpath("static").iterdir():
        content = file.read_bytes()
        kind = _TYPES["." + file.name.rpartition(".")[2]]
        found.append((file.name, _Static(content, kind, sha256(content).hexdigest()[:12])))
    return found


def moment(time: float | None) -> str:
    """``2026-11-27 14:05:09Z``; the page's script shows the browser's own time instead."""
    return "never" if time is None else _utc(time).strftime("%Y-%m-%d %H:%M:%SZ")


def iso(time: float) -> str:
    """The moment, for the attribute ``datetime``."""
    return _utc(time).isoformat(timespec="seconds")


def _utc(time: float) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(time, datetime.UTC)


def number(value: float | None) -> str:
    """To four digits; a dash for what is not known."""
    return "–" if value is None else f"{value:.4g}"


def percent(value: float | None) -> str:
    """A fraction as ``1.25 %``."""
    return "–" if value is None else f"{100 * value:.2f} %"


def size(count: float) -> str:
    """Bytes, to three digits: ``47.7 MB``."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:,.3g} TB"


def device(key: str) -> str:
    """A device's public key, as short as logs show it."""
    return key[:SHOWN]
