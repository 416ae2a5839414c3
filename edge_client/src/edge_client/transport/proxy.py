"""The proxy that the environment names, if the server is not on this very machine."""

import ipaddress
from urllib.request import getproxies, proxy_bypass

from aiohttp import BasicAuth
from yarl import URL

from fedit_shared.errors import UserError


def proxy_for(address: str) -> tuple[URL | None, BasicAuth | None]:
    """Proxy and credentials for ``address``, from HTTPS_PROXY and NO_PROXY or the system's settings.

    aiohttp's own ``trust_env`` would also read ``.netrc`` and put its passwords into the header that carries our
    signature. Raises UserError for a proxy that cannot be used.
    """
    host = URL(address).host or ""
    named = getproxies().get("https")
    if not named or is_loopback(host) or proxy_bypass(host):
        return None, None
    try:
        url = URL(named if "://" in named else f"http://{named}")
    except ValueError as error:
        raise UserError(f"HTTPS_PROXY is no address: {error}.", advice="It looks like http://HOST:PORT.") from error
    if url.scheme != "http" or not url.host:
        raise UserError(
            f"A proxy of the kind {url.scheme}:// cannot be used.",
            advice="Set HTTPS_PROXY to http://HOST:PORT: what goes through it is encrypted from here to the server.",
        )
    auth = BasicAuth(url.user, url.password or "", "utf-8") if url.user else None
    return url.with_user(None), auth


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this very machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
