"""What the dashboard sends piece by piece: to so many at once, and to nobody who has left or stalls."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest
from aiohttp import web
from dashboard import connection, live_page, logged_in, part
from peers import DEADLINE, until
from server_process import ServerProcess

from agg_server.dashboard import live, sending
from agg_server.dashboard.live import MOST, Live
from agg_server.dashboard.login import COOKIE
from agg_server.dashboard.pages import adapters
from agg_server.dashboard.site import Visit
from agg_server.errors import BusyError, UnavailableError
from agg_server.web.operator import PREFIX

MIB = 1 << 20
Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def serving(
    handle: Callable[[web.Request], Awaitable[web.StreamResponse]], ask: Callable[..., Awaitable[None]]
) -> None:
    """Run ``ask`` with a function that asks a server of ``handle``, and returns the line once it has the headers."""

    async def run() -> None:
        app = web.Application()
        app.add_routes([web.get("/", handle)])
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0]

        async def get() -> tuple[int, Line]:
            line = await asyncio.open_connection(host, port)
            line[1].write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            return int((await line[0].readuntil(b"\r\n\r\n")).split()[1]), line

        try:
            async with asyncio.timeout(2 * DEADLINE):
                await ask(get)
        finally:
            await runner.cleanup()

    asyncio.run(run())


def test_a_page_that_was_closed_frees_its_place_although_there_is_nothing_to_send(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(live, "MOST", 1)
    monkeypatch.setattr(live, "LOOK_SECONDS", 0.02)
    monkeypatch.setattr(live, "HEARTBEAT_LOOKS", 10**9)

    async def away(work: object) -> None:
        raise UnavailableError("nothing can be looked at")

    async def session(request: web.Request) -> bytes:
        return b""

    pages = Live()

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await pages.stream(site, Visit(request, b"", {}))
        except BusyError:
            return web.Response(status=429)

    site: Any = SimpleNamespace(driver=SimpleNamespace(on_ledger=away), require_session=session)

    async def ask(get: Callable[[], Awaitable[tuple[int, Line]]]) -> None:
        site.closing = asyncio.Event()
        status, (_, writer) = await get()
        assert (status, (await get())[0]) == (200, 429)
        writer.close()

        async def free() -> bool:
            return (await get())[0] == 200

        await until(free, bool)

    serving(handle, ask)


def test_sixteen_pages_are_kept_up_to_date_and_the_next_is_told_to_come_later(lived_in: ServerProcess):
    operator = logged_in(lived_in)
    pages = [live_page(operator) for _ in range(MOST)]
    try:
        assert MOST == 16, "docs/threat-model.md and docs/operating.md say so"
        assert [stream.status for _, stream in pages] == [200] * MOST
        line, refused = live_page(operator)
        assert (refused.status, refused.headers["Retry-After"]) == (429, "10")
        line.close()
        part(pages[-1][1])
    finally:
        for line, _ in pages:
            line.close()


@pytest.mark.parametrize("path", ["/live", "/adapters/0/download"])
def test_there_is_no_head_of_what_is_sent_piece_by_piece(lived_in: ServerProcess, path: str):
    line = connection(lived_in)
    line.request("HEAD", PREFIX + path, headers={"Cookie": f"{COOKIE}={logged_in(lived_in).cookie}"})
    assert line.getresponse().status == 404
    line.close()


class Download:
    """``download`` of a version of 64 MiB, whose file is made by ``fill``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, folder: Path, fill: Callable[[IO[bytes]], None]) -> None:
        async def asked_for(site: object, visit: object) -> Any:
            return None, SimpleNamespace(version=1), []

        async def card(*given: object) -> str:
            return ""

        monkeypatch.setattr(adapters, "_asked_for", asked_for)
        monkeypatch.setattr(adapters, "_card", card)
        monkeypatch.setattr(adapters, "_zip", lambda site, version, card, file: fill(file))
        driver = SimpleNamespace(on_pool=asyncio.to_thread)
        self.site: Any = SimpleNamespace(driver=driver, layout=SimpleNamespace(folder=folder))
        self.ended: list[object] = []

    async def handle(self, request: web.Request) -> web.StreamResponse:
        try:
            response = await adapters.download(self.site, Visit(request, b"", {}))
        except Exception as error:
            self.ended.append(error)
            raise
        self.ended.append(response.status)
        return response

    def serve(self, ask: Callable[..., Awaitable[None]]) -> None:
        async def begin(get: Callable[..., Awaitable[None]]) -> None:
            self.site.closing = asyncio.Event()
            await ask(get)

        serving(self.handle, begin)

    async def is_over(self) -> bool:
        return bool(self.ended)


def zeros(file: IO[bytes]) -> None:
    file.write(bytes(64 * MIB))


@pytest.mark.parametrize("end", ["cancelled", "stalled", "stopped"])
def test_a_download_ends_when_it_is_cancelled_or_stalls_or_the_server_stops(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture, end: str
):
    monkeypatch.setattr(sending, "SEND_SECONDS", 0.2 if end == "stalled" else 10 * DEADLINE)
    download = Download(monkeypatch, tmp_path, zeros)

    async def ask(get: Callable[[], Awaitable[tuple[int, Line]]]) -> None:
        status, (reader, writer) = await get()
        assert (status, download.ended) == (200, [])
        if end == "cancelled":
            writer.transport.abort()
        if end == "stopped":
            download.site.closing.set()
        await until(download.is_over, bool)
        assert download.ended == [200]
        if end != "cancelled":
            with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
                await reader.readexactly(64 * MIB)

    with caplog.at_level(logging.WARNING):
        download.serve(ask)
    assert caplog.records == []


def test_a_download_that_is_read_to_its_end_is_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    async def ask(get: Callable[[], Awaitable[tuple[int, Line]]]) -> None:
        _, (reader, _) = await get()
        assert not any(await reader.readexactly(64 * MIB))

    Download(monkeypatch, tmp_path, zeros).serve(ask)


def test_of_two_downloads_one_is_made_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    begun: list[asyncio.Event] = []

    def fill(file: IO[bytes]) -> None:
        go_on = asyncio.Event()
        begun.append(go_on)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result(DEADLINE)
        file.write(b"x")

    download = Download(monkeypatch, tmp_path, fill)

    async def ask(get: Callable[[], Awaitable[tuple[int, Line]]]) -> None:
        nonlocal loop
        loop = asyncio.get_running_loop()
        both = [asyncio.create_task(get()) for _ in range(2)]

        async def one_waits() -> bool:
            return len(begun) == 2 or (len(begun) == 1 and bool(adapters._building._waiters))

        await until(one_waits, bool)
        assert len(begun) == 1
        for number in range(2):

            async def has_begun(number: int = number) -> bool:
                return len(begun) > number

            await until(has_begun, bool)
            begun[number].set()
        assert [status for status, _ in await asyncio.gather(*both)] == [200, 200]

    loop: asyncio.AbstractEventLoop
    download.serve(ask)
