"""A renewed TLS certificate counts from the next connection on, without a restart; open connections go on."""

import asyncio
import logging
import ssl
from pathlib import Path

from fedit_shared.errors import UserError

from .. import tls

LOOK_SECONDS = 10.0
_log = logging.getLogger(__name__)


class Renewal:
    """The files of a certificate and its key. ``context``: to listen with; a handshake begun after :meth:`look` has
    found a new pair is made with that one. Raises UserError as :func:`~agg_server.tls.server_context`.

    ``pinned``: join links carry the hash of the key, and every device that has joined knows it; then no other key is
    taken up, since all of them would have to turn away.
    """

    def __init__(self, certificate: Path, key: Path, *, pinned: bool) -> None:
        self._certificate, self._key = certificate, key
        self._seen = self._state()
        self._latest = self.context = tls.server_context(certificate, key)
        self.context.sni_callback = self._choose  # asked in every handshake, whatever name the client gives, or none
        self._pin = tls.pin(certificate) if pinned else None

    async def watch(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            self.look()

    def look(self) -> None:
        """Take the files up if they have changed. Where they cannot be served the log says why, and the certificate
        that was served so far goes on; files that are replaced one after the other are looked at again then."""
        state = self._state()
        if state == self._seen:
            return
        self._seen = state
        try:
            renewed = tls.server_context(self._certificate, self._key)
            if self._pin is not None and tls.pin(self._certificate) != self._pin:
                raise UserError(
                    "The new TLS certificate has another key than the one that join links carry.",
                    advice="Renew it with the same key.",
                )
        except UserError as error:
            _log.error("the certificate served so far goes on: %s", error)
            return
        self._latest = renewed
        _log.info("the TLS certificate was renewed: new connections get it")

    def _choose(self, handshake: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        handshake.context = self._latest

    def _state(self) -> list[tuple[int, int, int] | None]:
        return [_stamp(self._certificate), _stamp(self._key)]


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()  # of what a link points to: certbot renews by another link
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
