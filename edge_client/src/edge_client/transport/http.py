"""Signed requests to one server, tried until they are answered."""

from collections.abc import AsyncIterator, Awaitable, Callable
from copy import copy
from dataclasses import dataclass
from secrets import token_bytes
from types import TracebackType
from typing import ClassVar, Self, TypeVar

import aiohttp

from fedit_shared.errors import FeditError, ForgedError, ProtocolError, UnauthorizedError, refusal
from fedit_shared.identity import SigningKey, sign_request
from fedit_shared.identity.requests import LIFETIME
from fedit_shared.messages import (
    MEDIA_TYPE,
    PROTOCOL_HEADER,
    PROTOCOL_VERSION,
    ROUTES,
    ClientMessage,
    Refused,
    ServerMessage,
    decode,
    encode,
)

from .patience import News, Patience, TryAgainError, delays, retry_after
from .pinning import PinMismatchError, tls_context
from .proxy import proxy_for

T = TypeVar("T")
Reader = Callable[[aiohttp.ClientResponse], Awaitable[T]]

MESSAGE_LIMIT = 8 * 2**20
"""Bytes of the largest message that a server sends: a Prepare of 255 packets has some 4 MiB."""
CONNECT_SECONDS = 20.0
ANSWER_SECONDS = 60.0
SLOWEST_BYTES_PER_SECOND = 8192
"""A line slower than this counts as broken."""
CONNECTIONS = 64
"""Every round that still needs answers holds one open."""
_PIECE_BYTES = 2**16
RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504, 507, 508, 509})
"""Statuses that time may heal."""


class WrongServerError(ForgedError):
    """Another machine than the federation's server is at the link's address: on a foreign network, for a while."""

    exit_code: ClassVar[int] = 3


class UnreachableError(FeditError):
    """The server did not answer within the time that a command waits for it."""

    exit_code: ClassVar[int] = 3
    code: ClassVar[str] = "unreachable"
    usual: ClassVar[str] = "Nothing is lost: try again later."


class ClockError(UnauthorizedError):
    """This machine's clock and the server's differ by more than signatures allow."""

    exit_code: ClassVar[int] = 3
    usual: ClassVar[str] = "Let the operating system set the clock by network time, then start again."


@dataclass(frozen=True)
class Server:
    """Where a federation is reached, and how its server is known. ``address``: ``https://host:port``."""

    address: str
    pin: bytes | None
    federation: bytes


class Transport:
    """One server's connections. Use as an async context manager.

    What time may heal (no network, no answer, 5xx, 429) is tried again for ever, and told to ``tell`` in plain words;
    cancelling ends it. ``sent_bytes`` counts bodies sent, repetitions included. ``clock``: Unix seconds. ``base``
    scales the pauses.
    """

    def __init__(
        self,
        server: Server,
        key: SigningKey,
        tell: News,
        *,
        clock: Callable[[], float],
        base: float = 1.0,
    ) -> None:
        self.server = server
        self.sent_bytes = 0
        self._key = key
        self._clock = clock
        self.base = base
        self._patience = Patience(tell, base)
        self._met = False
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._proxy, self._proxy_auth = proxy_for(self.server.address)
        connector = aiohttp.TCPConnector(ssl=tls_context(self.server.pin), limit=CONNECTIONS, keepalive_timeout=30)
        self._session = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={
                PROTOCOL_HEADER: str(PROTOCOL_VERSION),
                "Accept-Encoding": "identity",
                "Accept": MEDIA_TYPE,
                "User-Agent": "fedit-client",  # aiohttp's own would tell its version and Python's
            },
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()

    def branch(self) -> Self:
        """The same connections, with a count of ``sent_bytes`` of its own from 0."""
        branch = copy(self)
        branch.sent_bytes = 0
        return branch

    async def send(self, message: ClientMessage, *, wait: int = 0) -> ServerMessage:
        """The server's answer to ``message``. ``wait``: seconds that the message allows the server to hold it.

        Raises the ProtocolError that the server refused it with, WrongServerError or ClockError.
        """
        return await self.exchange("POST", ROUTES[type(message)].path, encode(message), wait=wait)

    async def exchange(self, method: str, path: str, body: bytes = b"", *, wait: int = 0) -> ServerMessage:
        """The message that answers a request, as :meth:`send`."""
        for number, delay in enumerate(delays()):
            try:
                return await self.once(method, path, body, limits=limits(body, wait), read=read_message)
            except TryAgainError as error:
                if number or not isinstance(error.__cause__, aiohttp.ServerDisconnectedError):
                    await self.pause(error, delay)
                # else an idle connection had been closed: the first try on a new one needs no pause
        raise AssertionError("delays() has no end")

    async def pause(self, error: TryAgainError, delay: float) -> None:
        """Tell what is wrong and wait before the next try."""
        await self._patience.wait(error, delay)

    async def once(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        *,
        limits: aiohttp.ClientTimeout,
        read: Reader[T],
        headers: dict[str, str] | None = None,
    ) -> T:
        """One try. Raises TryAgainError for what time may heal, else as :meth:`send`."""
        try:
            return await self._once(method, path, body, limits, read, headers or {})
        except ClockError:
            raise
        except UnauthorizedError:
            # aiohttp sends a GET again by itself where the connection broke. If the first copy did arrive, the second
            # one is a replay to the server, so the request is signed anew before it counts.
            return await self._once(method, path, body, limits, read, headers or {})

    async def _once(
        self,
        method: str,
        path: str,
        body: bytes,
        limits: aiohttp.ClientTimeout,
        read: Reader[T],
        headers: dict[str, str],
    ) -> T:
        assert self._session is not None, "use it as `async with Transport(…)`"
        try:
            async with self._session.request(
                method,
                self.server.address + path,
                data=self._pieces(body) if body else None,
                headers=self._signed(method, path, body) | headers,
                timeout=limits,
                allow_redirects=False,
                proxy=self._proxy,
                proxy_auth=self._proxy_auth,
            ) as response:
                await self._require_success(response)
                result = await read(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise self._judge(error) from error
        self._met = True
        self._patience.succeeded()
        return result

    async def _pieces(self, body: bytes) -> AsyncIterator[bytes]:
        """The body, once: aiohttp, which would send bytes again by itself, cannot begin this anew."""
        for start in range(0, len(body), _PIECE_BYTES):
            piece = body[start : start + _PIECE_BYTES]
            self.sent_bytes += len(piece)
            yield piece

    def _signed(self, method: str, path: str, body: bytes) -> dict[str, str]:
        token = sign_request(
            self._key, self.server.federation, method, path, body, time=int(self._clock()), nonce=token_bytes(16)
        )
        described = {"Content-Type": MEDIA_TYPE, "Content-Length": str(len(body))} if body else {}
        return {"Authorization": token} | described

    async def _require_success(self, response: aiohttp.ClientResponse) -> None:
        if PROTOCOL_HEADER not in response.headers:
            raise TryAgainError(
                f"{self.server.address} answers, but not as a federation's server (HTTP {response.status})",
                self._retry_after(response),
            )
        if response.status in (200, 206):
            return
        refused = await read_message(response)
        if not isinstance(refused, Refused):
            raise ProtocolError(f"The server answered HTTP {response.status} with a {type(refused).__name__}.")
        if response.status in RETRIED:
            slow = response.status == 408  # what was sent did not arrive whole
            raise TryAgainError(f"the server says: {refused.message}", self._retry_after(response), unheard=slow)
        raise self._refusal(refused)

    def _refusal(self, refused: Refused) -> Exception:
        if refused.server_time is not None and abs(ahead := self._clock() - refused.server_time) > LIFETIME:
            off = f"clock is {_span(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} the server's"
            if self._met:  # they agreed before, and will again: one of the two machines has just woken up, say
                return TryAgainError(f"this machine's {off}")
            return ClockError(
                f"This machine's {off}.", advice="Let the operating system set it by network time, then start again."
            )
        advice = f"The server advises: {refused.advice}" if refused.advice else ""  # not in this program's own name
        return refusal(refused.code)(f"The server refused: {refused.message}", advice=advice)

    def _retry_after(self, response: aiohttp.ClientResponse) -> float:
        return retry_after(response.headers.get("Retry-After"), self._clock())

    def _judge(self, error: Exception) -> Exception:
        match error:
            case aiohttp.ClientConnectorCertificateError(certificate_error=PinMismatchError()):
                problem = f"the machine at {self.server.address} is not the server that invited you (its key differs)"
            case aiohttp.ClientConnectorCertificateError(certificate_error=reason):
                problem = f"the certificate of {self.server.address} is not to be trusted ({reason})"
            case _:
                return TryAgainError(_problem(error), unheard=True)
        if self._met:  # a captive portal, say: nothing was sent to it, and it will go away
            return TryAgainError(problem)
        return WrongServerError(
            f"{problem[0].upper()}{problem[1:]}. Nothing was sent to it.",
            advice="Ask the operator for a new link. On a foreign network, a login page may be in between.",
        )


def limits(body: bytes, wait: int = 0) -> aiohttp.ClientTimeout:
    """Of one try with this body, which the slowest line has time to carry. ``wait``: as :meth:`Transport.send`."""
    seconds = wait + ANSWER_SECONDS + len(body) / SLOWEST_BYTES_PER_SECOND
    return aiohttp.ClientTimeout(total=seconds, sock_connect=CONNECT_SECONDS)


async def read_message(response: aiohttp.ClientResponse) -> ServerMessage:
    """The message in the response's body. Raises ProtocolError for one that is none, or too large."""
    data = bytearray()
    async for piece in response.content.iter_any():
        data += piece
        if len(data) > MESSAGE_LIMIT:
            raise ProtocolError("The server sent a message larger than any can be.")
    message: ServerMessage = decode(bytes(data), ServerMessage)
    return message


def _problem(error: Exception) -> str:
    match error:
        case aiohttp.ClientHttpProxyError(status=407):
            return "the proxy asks for a password (set HTTPS_PROXY to http://USER:PASSWORD@HOST:PORT)"
        case aiohttp.ClientHttpProxyError(status=status):
            return f"the proxy cannot reach the server (HTTP {status})"
        case aiohttp.ClientProxyConnectionError():
            return "the proxy named by HTTPS_PROXY does not answer"
        case aiohttp.ClientConnectorDNSError():
            return "the server's name cannot be found; is this machine online?"
        case aiohttp.ClientConnectorSSLError():
            return "the server does not answer in TLS"
        case aiohttp.ClientConnectorError() | TimeoutError():
            return "the server does not answer"
        case _:
            return "the connection broke"


def _span(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
