"""A renewed certificate is shown to new connections of a server that runs on; open ones, and rounds, go on."""

import asyncio
import logging
import os
import signal
import ssl
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from certificates import Authority, new_key, pem_of, read_key
from served import assert_exact, enrolled
from server_process import ServerProcess, command

from agg_server.web import renewal
from agg_server.web.renewal import Renewal
from fedit_shared.errors import UserError

Serve = Callable[..., ServerProcess]


class Caller:
    """One TLS connection, kept alive. ``trusts``: the authority that must vouch for the server; None: anybody."""

    def __init__(self, port: int, trusts: Path | None = None) -> None:
        self._port = port
        self._context = ssl.create_default_context(cafile=trusts)
        if trusts is None:
            self._context.check_hostname = False
            self._context.verify_mode = ssl.CERT_NONE

    async def __aenter__(self) -> "Caller":
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port, ssl=self._context)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._writer.close()

    @property
    def shown(self) -> str:
        """The certificate that the server showed, PEM."""
        der = self._writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return ssl.DER_cert_to_PEM_cert(der)

    async def is_answered(self) -> bool:
        self._writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await self._reader.readuntil(b"\r\n\r\n")
        await self._reader.readexactly(len(b"ok\n"))
        return b" 200 " in head.split(b"\r\n")[0]


def lay(server: ServerProcess, certificate: bytes, key: bytes | None = None) -> str:
    """Put a renewed certificate, and its key, where the server has its own, as certbot does; the new one's PEM."""
    tls = server.folder / "tls"
    for name, content in (("certificate.pem", certificate), ("key.pem", key)):
        if content is not None:
            (tls / "new").write_bytes(content)
            os.replace(tls / "new", tls / name)
    os.kill(server.pid, signal.SIGHUP)
    return certificate.decode()


async def shown(server: ServerProcess, wanted: str) -> None:
    """Wait until new connections get this certificate."""
    async with asyncio.timeout(120):
        while True:
            async with Caller(server.port) as caller:
                if caller.shown == wanted:
                    return


async def said(log: Callable[[], str], words: str) -> None:
    """Wait until the log has these words."""
    for _ in range(12000):
        if words in log():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"the log never says {words!r}")


def test_a_certificate_renewed_with_the_same_key_is_shown_to_new_connections_in_mid_round(serve: Serve, tmp_path: Path):
    server = serve(target=3)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            peers = await enrolled(stack, server, 3)
            seats = [await peer.muster() for peer in peers]
            there = list(zip(peers, seats, strict=True))
            for peer, seat in there:
                await peer.take_seat(seat)
            before = await stack.enter_async_context(Caller(server.port))
            same = read_key(server.folder / "tls" / "key.pem")
            await shown(server, lay(server, Authority(tmp_path).sign("127.0.0.1", same)))
            assert await before.is_answered()
            for peer, seat in there:
                await peer.contribute(seat)
            await asyncio.gather(*(peer.finish(seat) for peer, seat in there))
            assert_exact(server, 1, seats)

    asyncio.run(run())


def test_another_key_is_not_taken_up_while_links_carry_the_first_ones_hash(serve: Serve, tmp_path: Path):
    server = serve()

    async def run() -> None:
        first = (server.folder / "tls" / "certificate.pem").read_text()
        authority, key = Authority(tmp_path), new_key()
        lay(server, authority.sign("127.0.0.1", key), pem_of(key))
        await said(server.log.read_text, "Renew it with the same key.")
        async with Caller(server.port) as caller:
            assert caller.shown == first
        assert "Traceback" not in server.log.read_text()

    asyncio.run(run())


def test_a_start_with_another_key_than_links_carry_is_refused_until_the_operator_lets_the_old_one_go(tmp_path: Path):
    server, authority = ServerProcess(tmp_path), Authority(tmp_path)
    tls, folder = server.folder / "tls", server.folder
    server.invite()
    old = {name: (tls / name).read_bytes() for name in ("certificate.pem", "key.pem")}
    key = new_key()
    (tls / "certificate.pem").write_bytes(authority.sign("127.0.0.1", key))
    (tls / "key.pem").write_bytes(pem_of(key))
    for name in ("serve", "invite", "verify"):
        told = command(name, folder)
        assert told.returncode in (1, 2), name
        assert "another key than the one that join links carry" in told.stdout + told.stderr
        assert "--reuse-key" in told.stdout + told.stderr
        assert "Traceback" not in told.stderr
    for name, content in old.items():
        (tls / name).write_bytes(content)
    assert command("verify", folder).returncode == 0
    assert command("backup", folder, tmp_path / "backup").returncode == 0
    assert command("restore", tmp_path / "backup", tmp_path / "restored").returncode == 0
    assert (tmp_path / "restored" / "tls" / "pinned").read_bytes() == (tls / "pinned").read_bytes()
    (tls / "certificate.pem").write_bytes(authority.sign("127.0.0.1", key))
    (tls / "key.pem").write_bytes(pem_of(key))
    (tls / "pinned").unlink()
    server.start()
    assert server.stop() == 0
    server.configure("server", pin=False)
    (tls / "pinned").write_text("0" * 64)
    server.start()
    assert server.stop() == 0
    assert "whoever joined by a link with the old key stays away" in server.log.read_text()


def test_another_key_is_taken_up_where_an_authority_vouches_for_it_instead_of_a_pin(tmp_path: Path):
    server, authority = ServerProcess(tmp_path), Authority(tmp_path)
    tls, keys = server.folder / "tls", [new_key(), new_key()]
    (tls / "certificate.pem").write_bytes(authority.sign("127.0.0.1", keys[0]))
    (tls / "key.pem").write_bytes(pem_of(keys[0]))
    server.configure("server", pin=False)

    async def run() -> None:
        async with Caller(server.port, authority.certificate) as before:
            renewed = lay(server, authority.sign("127.0.0.1", keys[1]), pem_of(keys[1]))
            await shown(server, renewed)
            assert await before.is_answered()
            async with Caller(server.port, authority.certificate) as after:
                assert after.shown == renewed
                assert await after.is_answered()

    server.start()
    try:
        asyncio.run(run())
    finally:
        server.stop()


def test_files_that_change_are_taken_up_without_a_signal_once_they_belong_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(renewal, "LOOK_SECONDS", 0.01)
    caplog.set_level(logging.INFO)
    authority, keys = Authority(tmp_path), [new_key(), new_key()]
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificates = [authority.sign("127.0.0.1", one) for one in keys]

    async def run() -> None:
        certificate.write_bytes(certificates[0])
        key.write_bytes(pem_of(keys[0]))
        watched = Renewal(certificate, key, pinned=False)
        watching = asyncio.create_task(watched.watch())
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=watched.context)
        port = server.sockets[0].getsockname()[1]
        certificate.write_bytes(certificates[1])  # its key comes later
        await said(lambda: caplog.text, "are not a TLS certificate and its key")
        async with Caller(port) as caller:
            assert caller.shown == certificates[0].decode()
        key.write_bytes(pem_of(keys[1]))
        await said(lambda: caplog.text, "was renewed")
        async with Caller(port) as caller:
            assert caller.shown == certificates[1].decode()
        key.unlink()
        await said(lambda: caplog.text, f"{key} is missing")
        async with Caller(port) as caller:
            assert caller.shown == certificates[1].decode()
        watching.cancel()
        server.close()

    asyncio.run(run())
    with pytest.raises(UserError, match="missing"):
        Renewal(certificate, key, pinned=False)
