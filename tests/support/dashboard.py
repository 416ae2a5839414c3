"""An operator's browser without a browser, and federations for it to look at."""

import asyncio
import http.client
import json
import re
import ssl
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from html.parser import HTMLParser
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

from peers import DEADLINE, Peer
from served import enrolled
from server_process import ServerProcess, command

from agg_server.dashboard.login import COOKIE
from agg_server.web.operator import PREFIX

PAGES = (
    "",
    "/rounds",
    "/rounds/{round}",
    "/devices",
    "/devices/{device}/block",
    "/invitations",
    "/invitations/{invitation}/revoke",
    "/adapters",
    "/adapters/{version}",
    "/adapters/{version}/rollback",
    "/settings",
    "/knows",
)
"""Every page that is to be looked at, below /dashboard. What stands in braces is what :func:`addresses` fills in."""
EMPTY_PAGES = ("", "/rounds", "/devices", "/invitations", "/adapters", "/settings", "/knows")
"""Those that there are before anybody has joined."""
FORMS = (
    "/logout",
    "/devices/{device}/block",
    "/devices/{device}/unblock",
    "/invitations",
    "/invitations/{invitation}/revoke",
    "/adapters/{version}/rollback",
    "/adapters/stay",
)
"""Every form's address."""
PEERS = 4
POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
}
"""Of every answer."""


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    text: str


class Operator:
    """Asks one server; ``cookie`` is what a browser would send."""

    def __init__(self, server: ServerProcess, cookie: str = "") -> None:
        self.server = server
        self.cookie = cookie

    def ask(self, path: str, form: Mapping[str, str] | None = None, **headers: str) -> Answer:
        """GET, or POST of ``form``. ``path``: below /dashboard. What sets a cookie is obeyed."""
        line = connection(self.server)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookie:
            sent["Cookie"] = f"{COOKIE}={self.cookie}"
        if form is not None:
            sent.setdefault("Content-Type", "application/x-www-form-urlencoded")
        line.request("GET" if form is None else "POST", PREFIX + path, urlencode(form) if form else None, sent)
        response = line.getresponse()
        answer = Answer(response.status, response.headers, response.read().decode())
        line.close()
        if (found := re.match(rf"{COOKIE}=\"?([^;\"]*)", answer.headers.get("Set-Cookie", ""))) is not None:
            self.cookie = found[1]
        return answer

    def log_in(self, code: str | None = None) -> Answer:
        """With this code, or a new one."""
        return self.ask("/login", {"code": code or new_code(self.server)})

    def token(self) -> str:
        """What this session's forms carry."""
        return re.findall(r'name="csrf" value="([0-9a-f]{64})"', self.ask("/knows").text)[0]


def connection(server: ServerProcess) -> http.client.HTTPSConnection:
    """A line to it, whose certificate is not looked at."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection("127.0.0.1", server.port, timeout=DEADLINE, context=context)


def logged_in(server: ServerProcess) -> Operator:
    operator = Operator(server)
    assert operator.log_in().status == 303
    return operator


def new_link(server: ServerProcess) -> str:
    made = command("login", server.folder)
    assert made.returncode == 0, made.stderr
    return made.stdout.strip()


def new_code(server: ServerProcess) -> str:
    return urlsplit(new_link(server)).fragment


def live_page(operator: Operator) -> tuple[http.client.HTTPSConnection, http.client.HTTPResponse]:
    """The first page's events, and the line that they come on."""
    line = connection(operator.server)
    line.request("GET", f"{PREFIX}/live", headers={"Cookie": f"{COOKIE}={operator.cookie}"})
    return line, line.getresponse()


def part(stream: Any) -> dict[str, str]:
    """The next part that is sent."""
    while True:
        line = stream.readline()
        assert line, "it has ended"
        if line.startswith(b"data: "):
            told: dict[str, str] = json.loads(line.removeprefix(b"data: "))
            return told


def addresses(server: ServerProcess, paths: Iterable[str]) -> list[str]:
    """The paths, of this federation's first round, first device, newest invitation and version 0."""
    names = {"round": "1", "version": "0"}
    for name, listing in (("device", "devices"), ("invitation", "invitations")):
        rows = json.loads(command(listing, server.folder, "--json").stdout)
        names |= {name: rows[0][name]} if rows else {}
    return [path.format_map(names) for path in paths]


def plain(page: str) -> str:
    """A page's words; a table's row is a line."""
    text = re.sub(r"\s+", " ", page)
    text = re.sub(r"</(?:tr|li|p|h\d|dd)>", "\n", text)
    return re.sub(r" *\n *", "\n", re.sub(r"(?:<[^>]*>|[ \t])+", " ", text))


def until(ask: Callable[[], object]) -> None:
    """Return once the answer is yes."""
    end = time.monotonic() + DEADLINE
    while not ask():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def live(server: ServerProcess) -> None:
    """A federation's life: a round that is published; one in which a device falls silent; one that the operator
    abandons by going back to version 1; and one in which two of four have uploaded. One more device is blocked."""

    async def run() -> None:
        async with AsyncExitStack() as stack:
            peers = await enrolled(stack, server, PEERS)
            await asyncio.gather(*(peer.whole_round() for peer in peers))
            await silent(peers)
            await peers[0].muster(after=2)
            assert command("rollback", server.folder, 1).returncode == 0
            await asyncio.to_thread(until, lambda: server.rounds()[2]["outcome"] == "abandoned")
            seats = [await peer.muster(after=3) for peer in peers]
            for peer, seat in zip(peers, seats, strict=True):
                await peer.take_seat(seat)
            for peer, seat in list(zip(peers, seats, strict=True))[:2]:
                await peer.contribute(seat)
            [unwanted] = await enrolled(stack, server, 1, first=PEERS)
            assert command("block", server.folder, unwanted.identity.hex()).returncode == 0

    asyncio.run(run())


async def silent(peers: list[Peer]) -> None:
    """A round whose last device is not heard of after its upload."""
    seats = [await peer.muster(after=1) for peer in peers]
    for peer, seat in zip(peers, seats, strict=True):
        await peer.take_seat(seat)
        await peer.contribute(seat)
    await asyncio.gather(*(peer.finish(seat) for peer, seat in list(zip(peers, seats, strict=True))[:-1]))


class Markup(HTMLParser):
    """What of a page a strict policy would stop, and its forms."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.inline: list[str] = []
        self.elsewhere: list[str] = []
        self.forms: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag == "style" or (tag == "script" and not given.get("src")):
            self.inline.append(tag)
        self.inline += [f"{tag} {name}" for name in given if name == "style" or name.startswith("on")]
        for name in ("href", "src", "action", "xlink:href"):
            value = given.get(name) or ""
            if "://" in value or value.startswith(("//", "javascript:")):
                self.elsewhere.append(value)
        if tag == "form":
            self.forms.append(given | {"tokens": ""})
        if tag == "input" and given.get("name") == "csrf" and self.forms:
            self.forms[-1]["tokens"] = given.get("value")
