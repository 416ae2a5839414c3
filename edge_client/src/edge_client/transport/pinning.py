"""TLS to a server that is known by its public key, not by a certificate authority.

The key is compared inside the handshake, so a connection to any other server never comes into being and no byte of a
request is written. Renewed certificates of the same key pass; name and dates of a certificate do not count.
"""

import ssl
from hashlib import sha256

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


class PinMismatchError(ssl.SSLCertVerificationError):
    """The server at this address has another key than the pinned one."""


def tls_context(pin: bytes | None) -> ssl.SSLContext:
    """For a server with the SubjectPublicKeyInfo of this SHA-256; None: with a publicly trusted certificate."""
    if pin is None:
        return ssl.create_default_context()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.sslobject_class = _pinned(pin)
    return context


def key_hash(certificate: bytes) -> bytes | None:
    """SHA-256 of the SubjectPublicKeyInfo of a DER certificate; None if it cannot be read."""
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return None
    return sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def _pinned(pin: bytes) -> type[ssl.SSLObject]:
    class PinnedObject(ssl.SSLObject):
        def do_handshake(self) -> None:
            super().do_handshake()
            certificate = self.getpeercert(binary_form=True)
            if certificate is None or key_hash(certificate) != pin:
                raise PinMismatchError("the server's public key is not the pinned one")

    return PinnedObject
