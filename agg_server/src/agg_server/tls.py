"""The server's TLS: a certificate of its own making or one given, and the pin that join links carry."""

import datetime
import ipaddress
import ssl
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fedit_shared.errors import UserError

from .layout import write_private

_YEARS = 10


def self_signed(address: str, now: datetime.datetime) -> tuple[bytes, bytes]:
    """A new certificate and its key (ECDSA P-256), both PEM, good for the host of ``address`` and for loopback."""
    key = ec.generate_private_key(ec.SECP256R1())
    host = urlsplit(address).hostname or "localhost"
    names = list(dict.fromkeys([host, "localhost", "127.0.0.1", "::1"]))
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=365 * _YEARS))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM), private


def pin(certificate: Path) -> bytes:
    """SHA-256 of the certificate's SubjectPublicKeyInfo: stays when the certificate is renewed with the same key."""
    spki = (
        _read(certificate)
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return sha256(spki).digest()


def keep_pin(certificate: Path, kept: Path) -> None:
    """Join links carry this certificate's pin from now on: note that in the file ``kept``, unless one is there. Raises
    UserError as :func:`require_pinned`."""
    with suppress(FileExistsError):
        write_private(kept, pin(certificate).hex().encode() + b"\n")
    require_pinned(certificate, kept)


def require_pinned(certificate: Path, kept: Path) -> None:
    """Raise UserError if the certificate has another key than the one that :func:`keep_pin` has noted."""
    try:
        noted = kept.read_text(encoding="ascii", errors="replace").strip()
    except FileNotFoundError:
        return
    if pin(certificate).hex() != noted:
        raise UserError(
            f"{certificate} has another key than the one that join links carry (its hash is in {kept}). No device "
            "that has joined would connect: to all of them this is not the server that invited them.",
            advice="Put the old key back, and renew the certificate with it (certbot: --reuse-key). Where the key is "
            f"lost, or somebody else has it: delete {kept.name}, serve, and send everybody a new link.",
        )


def expiry(certificate: Path) -> datetime.datetime:
    """Until when the certificate is good, UTC. Raises UserError for a file that is none."""
    return _read(certificate).not_valid_after_utc


def is_trusted(certificate: Path, key: Path, host: str) -> bool:
    """Whether a client would accept it for ``host`` without a pin: a handshake in memory, with just the checks that a
    client makes, by the authorities that this machine trusts. One signed by a private authority fails, as does one
    without its intermediate certificates."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = server_context(certificate, key).wrap_bio(to_server, to_client, server_side=True)
    client = ssl.create_default_context().wrap_bio(to_client, to_server, server_hostname=host)
    for side in (client, server):
        with suppress(ssl.SSLWantReadError):
            side.do_handshake()
    try:
        client.do_handshake()
    except ssl.SSLError:
        return False
    return True


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.3 with this certificate. Raises UserError if the files are missing or do not belong together."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(certificate, key)
    except FileNotFoundError as error:
        missing = key if certificate.exists() else certificate
        raise UserError(f"The TLS file {missing} is missing.", advice="Set [server] certificate and key.") from error
    except (OSError, ssl.SSLError) as error:
        raise UserError(
            f"{certificate} and {key} are not a TLS certificate and its key.", advice="Both must be PEM files."
        ) from error
    return context


def _read(certificate: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{certificate} cannot be read as a PEM certificate.") from error


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
