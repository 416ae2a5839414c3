"""The server is known by its public key; nothing is sent to any other."""

import asyncio
import time
from pathlib import Path

import pytest
from aiohttp import BasicAuth, web
from lines import Line
from tls_server import Handler, Tls, answer, serving
from yarl import URL

from edge_client.transport import Recovered, Server, Transport, Trouble, WrongServerError
from edge_client.transport.proxy import proxy_for
from fedit_shared.errors import UserError
from fedit_shared.identity import SigningKey
from fedit_shared.messages import Accepted, Leave

KEY = SigningKey(bytes(range(32)))
FEDERATION = bytes(32)


def counting(seen: list[str]) -> Handler:
    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append(request.path)
        return answer(Accepted())

    return handler


def transport(
    port: int, pin: bytes | None, told: asyncio.Queue[Trouble | Recovered] | None = None, host: str = "127.0.0.1"
) -> Transport:
    server = Server(f"https://{host}:{port}", pin, FEDERATION)
    return Transport(server, KEY, (told or asyncio.Queue()).put_nowait, clock=time.time, base=0.01)


def test_the_pinned_key_is_accepted_whatever_its_certificate_says(tmp_path: Path) -> None:
    async def go() -> None:
        tls, seen = Tls(expired=True), []
        async with serving(counting(seen), tmp_path, tls) as port, transport(port, tls.pin) as link:
            assert await link.send(Leave()) == Accepted()
        renewed = Tls(tls.key, serial=2)
        async with serving(counting(seen), tmp_path, renewed) as port, transport(port, tls.pin) as link:
            assert await link.send(Leave()) == Accepted()

    asyncio.run(go())


def test_another_key_ends_the_connection_before_a_request_is_sent(tmp_path: Path) -> None:
    async def go() -> None:
        seen: list[str] = []
        async with serving(counting(seen), tmp_path, Tls()) as port, transport(port, Tls().pin) as link:
            with pytest.raises(WrongServerError, match="key differs"):
                await link.send(Leave())
        assert seen == []

    asyncio.run(go())


def test_a_self_signed_certificate_is_refused_without_a_pin(tmp_path: Path) -> None:
    async def go() -> None:
        seen: list[str] = []
        async with serving(counting(seen), tmp_path, Tls()) as port, transport(port, None) as link:
            with pytest.raises(WrongServerError, match="not to be trusted"):
                await link.send(Leave())
        assert seen == []

    asyncio.run(go())


def test_a_stranger_in_the_servers_place_is_waited_out_once_the_server_was_met(tmp_path: Path) -> None:
    async def go() -> None:
        tls, seen, strangers, told = Tls(), [], [], asyncio.Queue()
        async with serving(counting(seen), tmp_path, tls) as port:
            link = await transport(port, tls.pin, told).__aenter__()
            await link.send(Leave())
        async with serving(counting(strangers), tmp_path, Tls(), port):
            waiting = asyncio.create_task(link.send(Leave()))
            news = await told.get()
            while not isinstance(news, Trouble) or "key differs" not in news.problem:
                news = await told.get()
        async with serving(counting(seen), tmp_path, tls, port):
            assert await waiting == Accepted()
        await link.__aexit__(None, None, None)
        assert strangers == []
        assert seen == ["/v1/leave"] * 2

    asyncio.run(go())


def test_https_proxy_is_honoured_with_a_pin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        tls, seen = Tls(), []
        async with serving(counting(seen), tmp_path, tls) as port:
            proxy = Line(port, connects=True)
            async with proxy.open() as proxy_port:
                monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{proxy_port}")
                monkeypatch.setenv("NO_PROXY", "")
                async with transport(4433, tls.pin, host="federation.example") as link:
                    assert await link.send(Leave()) == Accepted()
                async with transport(4433, Tls().pin, host="federation.example") as link:
                    with pytest.raises(WrongServerError):
                        await link.send(Leave())
        assert proxy.asked == ["CONNECT federation.example:4433 HTTP/1.1"] * 2
        assert seen == ["/v1/leave"]

    asyncio.run(go())


def test_a_server_on_this_machine_is_reached_without_the_proxy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
        tls = Tls()
        async with serving(counting([]), tmp_path, tls) as port, transport(port, tls.pin) as link:
            assert await link.send(Leave()) == Accepted()

    asyncio.run(go())


def test_a_proxys_password_goes_into_its_header_and_stays_out_of_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://user:hush@proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "")
    assert proxy_for("https://federation.example") == (
        URL("http://proxy.example:3128"),
        BasicAuth("user", "hush", "utf-8"),
    )


def test_a_proxy_of_a_kind_that_cannot_be_used_is_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1080")
        with pytest.raises(UserError, match="socks5://"):
            await transport(443, None, host="federation.example").__aenter__()

    asyncio.run(go())
