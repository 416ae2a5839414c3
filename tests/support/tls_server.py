"""A TLS server on loopback whose answers a test writes."""

import datetime
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import msgspec
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from fedit_shared.messages import MEDIA_TYPE, PROTOCOL_HEADER, encode

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True)
class Tls:
    """A key and a self-signed certificate for it, renewed by ``serial``."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    serial: int = 1
    expired: bool = False

    @property
    def pin(self) -> bytes:
        return sha256(self.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()

    def context(self, folder: Path) -> ssl.SSLContext:
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fedit test")])
        now = datetime.datetime.now(datetime.UTC)
        until = now + datetime.timedelta(days=-1 if self.expired else 1)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(self.serial)
            .not_valid_before(now - datetime.timedelta(days=2))
            .not_valid_after(until)
            .sign(self.key, SHA256())
        )
        pem = folder / f"{self.serial}-{self.pin.hex()[:8]}.pem"
        pem.write_bytes(
            self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.public_bytes(Encoding.PEM)
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem)
        return context


@asynccontextmanager
async def serving(handler: Handler, folder: Path, tls: Tls | None = None, port: int = 0) -> AsyncIterator[int]:
    """Serve ``handler`` over TLS (plain HTTP without ``tls``) on loopback; the port."""
    app = web.Application(client_max_size=2**24)

    async def route(request: web.Request) -> web.StreamResponse:
        return await handler(request)

    app.router.add_route("*", "/{path:.*}", route)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls.context(folder) if tls else None)
    await site.start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def answer(message: msgspec.Struct, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """``message`` as the protocol sends it."""
    return web.Response(
        status=status,
        body=encode(message),
        content_type=MEDIA_TYPE,
        headers={PROTOCOL_HEADER: "1", **(headers or {})},
    )
