"""What a server does not accept: strangers, replays, forgeries, floods. Each is refused with a reason and advice."""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from pathlib import Path

import aiohttp
import msgspec
import pytest
from peers import Peer
from refusals import alone as by_one_peer
from server_process import ServerProcess, command

from fedit_shared.errors import ConflictError, NotFoundError, ProtocolError, UnauthorizedError
from fedit_shared.identity import JoinLink, SigningKey, sign_request
from fedit_shared.installing import INSTALL_CLIENT
from fedit_shared.messages import (
    CHUNK_SIZE,
    PROTOCOL_HEADER,
    ROUTES,
    CheckIn,
    Enrol,
    Offer,
    Poll,
    Refused,
    ServerMessage,
    adapter_path,
    chunk_path,
    decode,
    encode,
)

CHECK_IN = CheckIn(client_version="test", accelerator="cpu", memory_gib=1)


alone = partial(by_one_peer, enrol=True)
"""Run something with one peer, which has joined."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    served = ServerProcess(tmp_path_factory.mktemp("requests"))
    served.configure("server", metrics=f"127.0.0.1:{served.port + 1}")
    served.start()
    yield served
    assert served.stop() == 0


@pytest.fixture(scope="module")
def link(server: ServerProcess) -> JoinLink:
    return server.invite("--uses", 100)[0]


def refused(raw: bytes) -> Refused:
    message = decode(raw, ServerMessage)
    assert isinstance(message, Refused)
    return message


def test_a_device_that_has_not_joined_is_refused_with_advice_before_its_body_is_read(link: JoinLink):
    async def act(peer: Peer) -> None:
        status, raw, _ = await peer.request("POST", ROUTES[CheckIn].path, encode(CHECK_IN))
        assert (status, refused(raw).code) == (401, "unauthorized")
        assert "fedit-client join" in refused(raw).advice

    alone(link, "stranger", act, enrol=False)


def test_a_request_without_a_token_is_refused(link: JoinLink):
    async def act(peer: Peer) -> None:
        for header in ("", "Fedit", "Fedit !!!", "Basic eDp5", "Fedit " + "A" * 200):
            status, raw, _ = await peer.request("POST", ROUTES[CheckIn].path, b"", headers={"Authorization": header})
            assert status == 401, header
            assert refused(raw).advice

    alone(link, "tokenless", act)


def test_a_token_of_another_path_method_or_body_is_refused(link: JoinLink):
    async def act(peer: Peer) -> None:
        def token(method: str, path: str, body: bytes) -> str:
            now, nonce = int(time.time()), os.urandom(16)
            return sign_request(peer.key, link.federation, method, path, body, time=now, nonce=nonce)

        path, body = ROUTES[CheckIn].path, encode(CHECK_IN)
        for header in (token("POST", ROUTES[Poll].path, body), token("PUT", path, body), token("POST", path, b"x")):
            status, raw, _ = await peer.request("POST", path, body, headers={"Authorization": header})
            assert (status, refused(raw).code) == (401, "unauthorized")

    alone(link, "mixed up", act)


def test_a_replayed_request_is_refused(link: JoinLink):
    async def act(peer: Peer) -> None:
        path, body = ROUTES[CheckIn].path, encode(CHECK_IN)
        now, nonce = int(time.time()), os.urandom(16)
        header = sign_request(peer.key, link.federation, "POST", path, body, time=now, nonce=nonce)
        assert (await peer.request("POST", path, body, headers={"Authorization": header}))[0] == 200
        status, raw, _ = await peer.request("POST", path, body, headers={"Authorization": header})
        assert status == 401
        assert "sent before" in refused(raw).message

    alone(link, "replay", act)


def test_a_clock_that_is_off_is_told_the_servers_time(link: JoinLink):
    async def act(peer: Peer) -> None:
        peer.skew = -3600
        status, raw, _ = await peer.request("POST", ROUTES[CheckIn].path, encode(CHECK_IN))
        told = refused(raw)
        assert status == 401
        assert "clock" in told.advice
        assert abs((told.server_time or 0) - time.time()) < 60

    alone(link, "late", act)


@pytest.mark.parametrize(
    ("spoken", "advice"),
    [("0", "client"), ("2", "server"), ("none", "client"), ("²", "client"), ("9" * 5000, "client")],
)
def test_another_protocol_version_is_refused_with_what_to_upgrade(link: JoinLink, spoken: str, advice: str):
    async def act(peer: Peer) -> None:
        headers = {PROTOCOL_HEADER: spoken}
        status, raw, answered = await peer.request("POST", ROUTES[CheckIn].path, encode(CHECK_IN), headers=headers)
        assert (status, refused(raw).code) == (426, "incompatible")
        assert f"Upgrade the {advice}" in refused(raw).advice or f"upgrade the {advice}" in refused(raw).advice
        assert answered[PROTOCOL_HEADER] == "1"

    alone(link, "version", act)


def test_bodies_beyond_their_limit_are_refused_with_and_without_a_length(link: JoinLink):
    async def act(peer: Peer) -> None:
        status, raw, _ = await peer.request("POST", ROUTES[CheckIn].path, bytes(ROUTES[CheckIn].limit + 1))
        assert (status, refused(raw).code) == (413, "too-large")
        status, raw, _ = await peer.request("PUT", chunk_path(bytes(16), 0), bytes(CHUNK_SIZE + 1))
        assert (status, refused(raw).code) == (413, "too-large")

        async def endless():
            for _ in range(64):
                yield bytes(65536)

        now, nonce = int(time.time()), os.urandom(16)
        path = ROUTES[CheckIn].path
        header = sign_request(peer.key, link.federation, "POST", path, b"", time=now, nonce=nonce)
        headers = {"Authorization": header, PROTOCOL_HEADER: "1"}
        try:
            async with peer.http.post(link.address + path, data=endless(), headers=headers) as response:
                assert response.status == 413
        except aiohttp.ClientError:
            pass  # the server need not wait for the rest

    alone(link, "large", act)


def test_what_is_no_message_is_refused_and_named(link: JoinLink):
    async def act(peer: Peer) -> None:
        for body in (b"", b"\xff", encode(CHECK_IN) + b"x", msgspec.msgpack.encode({"type": "poll"})):
            status, raw, _ = await peer.request("POST", ROUTES[CheckIn].path, body)
            assert (status, refused(raw).code) == (400, "malformed")

    alone(link, "garbled", act)


def test_unknown_paths_cohorts_and_adapters_are_not_found(link: JoinLink):
    async def act(peer: Peer) -> None:
        for method, path in (
            ("GET", "/none"),
            ("GET", ROUTES[CheckIn].path),
            ("POST", "/v1/none"),
            ("GET", chunk_path(bytes(16))),
            ("PUT", chunk_path(bytes(16), 0)),
            ("GET", adapter_path(bytes(32))),
            ("GET", "/v1/adapters/../../federation.toml"),
            ("GET", "/v1/adapters/%2e%2e%2ffederation.toml"),
        ):
            status, raw, headers = await peer.request(method, path)
            assert status in (400, 401, 404), path
            assert refused(raw).code in ("not-found", "malformed", "unauthorized")
            assert headers[PROTOCOL_HEADER] == "1"
        with pytest.raises(ConflictError, match="no round 99"):
            await peer.send(Poll(round=99, after="mustered"))
        with pytest.raises(NotFoundError):
            await peer.send(Poll(round=1, cohort=bytes(16), after="answered"))
        for index in ("-1", "x", "99999999999"):
            status, _, _ = await peer.request("PUT", f"/v1/cohorts/{'0' * 32}/chunks/{index}")
            assert status in (400, 404)

    alone(link, "lost", act)


def test_enrolment_is_bound_to_token_device_federation_and_time(server: ServerProcess, link: JoinLink):
    async def act(peer: Peer) -> None:
        with pytest.raises(UnauthorizedError, match="not known"):
            await Peer.enrol(stray(peer, token=bytes(16)))
        with pytest.raises(ProtocolError, match="signature"):
            await peer.send(msgspec.structs.replace(peer.enrolment(), signature=bytes(64)))
        other = SigningKey(sha256(b"other").digest())
        with pytest.raises(ProtocolError, match="signature"):
            await peer.send(msgspec.structs.replace(peer.enrolment(), identity=other.public))
        peer.skew = 1000
        with pytest.raises(UnauthorizedError, match="clock"):
            await peer.enrol()
        peer.skew = 0
        enrolled = await peer.enrol()
        assert enrolled.federation_name == "tiny federation"
        assert await peer.enrol() == enrolled

    def stray(peer: Peer, token: bytes) -> Peer:
        other = Peer(JoinLink(link.address, link.federation, token, link.pin), "stray")
        other.http = peer.http
        return other

    alone(link, "enrolment", act, enrol=False)


def test_an_invitation_is_used_up_and_expires(server: ServerProcess):
    [once] = server.invite()
    alone(once, "first", lambda peer: asyncio.sleep(0))
    with pytest.raises(UnauthorizedError, match="used up"):
        alone(once, "second", lambda peer: asyncio.sleep(0))
    [short] = server.invite("--expires", "0.01s")
    time.sleep(0.02)  # its time is over now, by the same clock
    with pytest.raises(UnauthorizedError, match="expired"):
        alone(short, "third", lambda peer: asyncio.sleep(0))


def test_a_blocked_device_is_served_no_more(server: ServerProcess, link: JoinLink):
    async def act(peer: Peer) -> None:
        assert isinstance(await peer.check_in(), Offer)
        assert (await asyncio.to_thread(command, "block", server.folder, peer.identity.hex()[:16])).returncode == 0
        end = time.monotonic() + 60
        while True:
            try:
                await peer.check_in()
            except UnauthorizedError:
                return
            assert time.monotonic() < end
            await asyncio.sleep(0.2)

    alone(link, "blocked", act)


def test_the_join_page_tells_a_browser_what_to_do_and_runs_nothing(link: JoinLink):
    async def act(peer: Peer) -> None:
        async with peer.http.get(link.address + "/join") as response:
            assert response.status == 200
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
            page = await response.text()
        assert "fedit-client join" in page
        assert INSTALL_CLIENT in page
        assert "for a command in a terminal, not for the browser" in page
        assert "Ask whoever invited you for another" in page
        assert "address of this page" not in page, "its address may have come by somebody in between"
        assert "<script" not in page
        for path in ("/healthz", "/readyz"):
            async with peer.http.get(link.address + path) as response:
                assert response.status == 200
        async with peer.http.get(link.address + "/metrics") as response:
            assert response.status == 404

    alone(link, "browser", act, enrol=False)


def test_metrics_are_on_their_own_address_and_name_no_device(server: ServerProcess, link: JoinLink):
    async def act(peer: Peer) -> None:
        async with peer.http.get(f"http://127.0.0.1:{server.port + 1}/metrics") as response:
            text = await response.text()
        assert 'fedit_requests_total{route="/v1/enrol"' in text
        assert peer.identity.hex()[:8] not in text

    alone(link, "metrics", act)


def test_the_server_shows_the_key_that_the_link_pins(link: JoinLink):
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    host, port = link.address.removeprefix("https://").split(":")
    certificate = x509.load_pem_x509_certificate(ssl.get_server_certificate((host, int(port))).encode())
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert sha256(spki).digest() == link.pin


def test_nothing_older_than_tls_1_3_is_spoken(link: JoinLink):
    host, port = link.address.removeprefix("https://").split(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with (
        socket.create_connection((host, int(port)), 10) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
        context.wrap_socket(plain),
    ):
        pass


@pytest.mark.parametrize("garbage", [b"\x16\x03garbage\r\n\r\n", b"GET / HTTP/1.1\r\nno header\r\n\r\n"])
def test_bytes_that_are_no_http_fill_no_log(server: ServerProcess, link: JoinLink, garbage: bytes):
    before = server.log.read_text()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", server.port)) as plain, context.wrap_socket(plain) as secured:
        secured.sendall(garbage)
        while secured.recv(4096):
            pass
    told = server.log.read_text().removeprefix(before).splitlines()
    assert len(told) <= 1
    assert all("level=info" in line and "Traceback" not in line for line in told), told


def test_a_line_that_breaks_in_a_request_is_no_error_of_the_servers(tmp_path: Path):
    server = ServerProcess(tmp_path, scale=300)
    server.configure("server", metrics=f"127.0.0.1:{server.port + 1}")
    server.start()
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    async def act(peer: Peer) -> None:
        async def break_off(method: str, path: str, *, body: bytes, sent: int, answered: bytes = b"") -> None:
            now, nonce = int(time.time()), os.urandom(16)
            token = sign_request(peer.key, peer.link.federation, method, path, body, time=now, nonce=nonce)
            head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
            writer.write(f"{head}{PROTOCOL_HEADER}: 1\r\nAuthorization: {token}\r\n\r\n".encode() + body[:sent])
            await writer.drain()
            if answered:
                assert answered in await reader.readline()
            writer.transport.abort()

        offer = await peer.offer()
        await break_off("POST", ROUTES[Enrol].path, body=bytes(300), sent=3)
        await break_off("PUT", chunk_path(bytes(16), 0), body=bytes(CHUNK_SIZE), sent=CHUNK_SIZE // 2)
        await break_off("GET", adapter_path(offer.adapter), body=b"", sent=0, answered=b" 200 ")
        await peer.send(peer.train(offer).muster)  # from now on a check-in waits
        waiting = encode(msgspec.structs.replace(CHECK_IN, wait=30))
        await break_off("POST", ROUTES[CheckIn].path, body=waiting, sent=len(waiting))
        async with peer.http.get(f"http://127.0.0.1:{server.port + 1}/metrics") as response:
            assert 'status="500"' not in await response.text()

    try:
        alone(server.invite()[0], "broken line", act)
    finally:
        assert server.stop() == 0
    log = server.log.read_text()
    assert not any(f"level={level}" in log for level in ("warning", "error")), log
    assert "traceback" not in log


def test_the_log_has_no_secret(server: ServerProcess, link: JoinLink):
    import base64

    log = server.log.read_text()
    key = (server.folder / "keys" / "federation.key").read_text().strip()
    assert key not in log
    assert base64.urlsafe_b64encode(link.token).decode().rstrip("=") not in log
    assert link.token.hex() not in log
    assert "Traceback" not in log


def test_files_with_secrets_are_their_owners_alone(server: ServerProcess):
    for path in Path(server.folder).rglob("*"):
        if path.is_file():
            assert path.stat().st_mode & 0o077 == 0, path
