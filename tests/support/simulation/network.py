"""The network between devices and server: requests that are late, lost, doubled, replayed or changed on their way.

The seam is below the encoding of messages: a device's real transport asks a session for ``request``, bytes go over,
the server's real web application handles them, and what comes back goes into the real transport's reading. Only
aiohttp's own sockets, TLS and HTTP framing are left out.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from types import TracebackType
from typing import Any, NamedTuple

import aiohttp
from multidict import CIMultiDict

from fedit_shared.messages import MEDIA_TYPE, PROTOCOL_HEADER, PROTOCOL_VERSION

from .process import Crashed, Machine, Process, current

REFUSED_SECONDS = 0.01
_ALWAYS = {PROTOCOL_HEADER: str(PROTOCOL_VERSION), "Accept": MEDIA_TYPE}


@dataclass
class Request:
    """What a device sent."""

    device: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Reply(NamedTuple):
    """What a server answered."""

    status: int
    headers: CIMultiDict[str]
    body: bytes


@dataclass
class Fault:
    """What happens to one request of a device, or to its reply."""

    kind: str
    """``delay``, ``lose`` or ``corrupt``."""
    reply: bool
    seconds: float = 0.0
    seed: int = 0


Handle = Callable[[Request], Coroutine[Any, Any, Reply]]


@dataclass
class Network:
    """``watch_request`` and ``watch_reply`` see every byte that leaves a machine, before anything happens to it;
    ``twist`` is the malicious server's chance to answer otherwise."""

    server: Machine
    random: Random
    watch_request: Callable[[Request], None]
    watch_reply: Callable[[Request, Reply], None]
    twist: Callable[[Request, Reply], Reply] = lambda request, reply: reply
    handle: Handle | None = None
    cut_until: dict[str, float] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    history: list[Request] = field(default_factory=list)

    def cut(self, device: str) -> bool:
        return self.cut_until.get(device, 0.0) > self.server.loop.time()

    async def carry(self, request: Request) -> Reply:
        """One request and its reply. Raises ConnectionError where the line breaks; may never return."""
        loop = self.server.loop
        fault = self._fault(request.device)
        await asyncio.sleep(self._latency())
        await self._pass(request.device, fault, reply=False)
        if fault and fault.kind == "corrupt" and not fault.reply:
            request = Request(**vars(request) | {"body": _changed(request.body, fault.seed)})
        if not self.server.running:
            await asyncio.sleep(REFUSED_SECONDS)
            raise ConnectionRefusedError("nobody listens")
        future: asyncio.Future[Reply] = loop.create_future()
        self.deliver(request, future)
        reply = await future
        await asyncio.sleep(self._latency())
        await self._pass(request.device, fault, reply=True)
        if fault and fault.kind == "corrupt" and fault.reply:
            reply = reply._replace(body=_changed(reply.body, fault.seed))
        return reply

    def deliver(self, request: Request, future: "asyncio.Future[Reply] | None" = None) -> None:
        """Hand a request to the server's process, if it runs; ``future`` gets the reply."""
        process, handle = self.server.process, self.handle
        if process is None or handle is None:
            return
        if len(self.history) < 2000:
            self.history.append(request)
        if future is not None:
            process.unanswered.append(future)

        async def answer() -> None:
            process.effect(f"takes {request.method} {_short(request.path)} of {request.device}")
            reply = self.twist(request, await handle(request))
            process.effect(f"answers {reply.status} to {request.device}")
            self.watch_reply(request, reply)
            if future is not None and not future.done():
                future.set_result(reply)

        task = process.context.run(self.server.loop.create_task, answer())
        task.add_done_callback(self._note_failure, context=self.server.context)

    def _note_failure(self, task: "asyncio.Task[None]") -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, Crashed):
            self.server.failure = error

    def _fault(self, device: str) -> Fault | None:
        waiting = self.faults.get(device)
        return waiting.pop(0) if waiting else None

    async def _pass(self, device: str, fault: Fault | None, *, reply: bool) -> None:
        if fault is not None and fault.reply == reply:
            if fault.kind == "delay":
                await asyncio.sleep(fault.seconds)
            elif fault.kind == "lose":
                await self._lost(fault.seed % 2 == 0)
        if self.cut(device):
            await self._lost(self.random.random() < 0.5)

    async def _lost(self, told: bool) -> None:
        if told:
            raise ConnectionResetError("the line is cut")
        await self.server.loop.create_future()  # silence: only a timeout ends it

    def _latency(self) -> float:
        return self.random.expovariate(0.5) if self.random.random() < 0.02 else self.random.uniform(0.005, 0.05)


class SimSession:
    """What the client's transport takes for its aiohttp session."""

    def __init__(self, network: Network, device: str) -> None:
        self._network = network
        self._device = device

    def request(
        self,
        method: str,
        url: str,
        *,
        data: AsyncIterator[bytes] | None,
        headers: dict[str, str],
        timeout: aiohttp.ClientTimeout,
        **_: Any,
    ) -> "_Exchange":
        path = "/" + url.split("/", 3)[3]
        return _Exchange(self._network, Request(self._device, method, path, _ALWAYS | headers, b""), data, timeout)

    async def close(self) -> None:
        """There is nothing to close."""


class _Exchange:
    def __init__(
        self, network: Network, request: Request, body: AsyncIterator[bytes] | None, timeout: aiohttp.ClientTimeout
    ) -> None:
        self._network = network
        self._request = request
        self._body = body
        self._seconds = timeout.total or timeout.sock_read

    async def __aenter__(self) -> "_Response":
        process, request = _here(), self._request
        if self._body is not None:
            request.body = b"".join([piece async for piece in self._body])
        process.effect(f"sends {request.method} {_short(request.path)}")
        self._network.watch_request(request)
        try:
            async with asyncio.timeout(self._seconds):
                reply = await self._network.carry(request)
        except ConnectionRefusedError as error:
            raise aiohttp.ClientOSError(error.errno, str(error)) from error
        except ConnectionError as error:
            raise aiohttp.ServerDisconnectedError(str(error)) from error
        process.effect(f"receives {reply.status} of {_short(request.path)}")
        return _Response(reply)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """The connection goes back to its pool."""


class _Response:
    def __init__(self, reply: Reply) -> None:
        self.status = reply.status
        self.headers = reply.headers
        self.content = _Content(reply.body)


class _Content:
    def __init__(self, body: bytes) -> None:
        self._body = body

    async def iter_any(self) -> AsyncIterator[bytes]:
        yield self._body

    async def iter_chunked(self, size: int) -> AsyncIterator[bytes]:
        for at in range(0, len(self._body), size):
            yield self._body[at : at + size]


def _here() -> Process:
    process = current()
    assert process is not None, "only devices send"
    return process


def _changed(body: bytes, seed: int) -> bytes:
    if not body:
        return body
    at = seed % len(body)
    return body[:at] + bytes([body[at] ^ 1 << seed % 8]) + body[at + 1 :]


def _short(path: str) -> str:
    return "/".join(part[:8] for part in path.removeprefix("/v1/").split("/"))
