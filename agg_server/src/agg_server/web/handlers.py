"""One handler for each kind of request: decode, hand to the service, encode. No logic."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from fedit_shared.errors import NotFoundError, ProtocolError
from fedit_shared.messages import (
    CHUNK_SIZE,
    MEDIA_TYPE,
    ROUTES,
    Answer,
    CheckIn,
    ClientMessage,
    Deal,
    Leave,
    Muster,
    Poll,
    Report,
    ServerMessage,
    Vote,
    decode,
    encode,
)
from fedit_shared.messages.client import Enrol

from ..driver.service import Service
from .reading import Reader

_CHUNK = 1 << 17
DOWNLOAD_BYTES = 2 * _CHUNK
"""What a file takes in memory while it is sent: a piece in TLS's buffer, another below it."""
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def routes(service: Service, reader: Reader) -> list[web.RouteDef]:
    """All routes of the protocol."""
    handlers: Mapping[type[msgspec.Struct], Callable[[bytes, Any], Awaitable[ServerMessage]]] = {
        CheckIn: service.check_in,
        Muster: service.muster,
        Poll: service.poll,
        Deal: service.deal,
        Report: service.report,
        Vote: service.vote,
        Answer: service.answer,
        Leave: service.leave,
    }
    return [
        web.post(ROUTES[Enrol].path, _enrol(service, reader)),
        *(web.post(ROUTES[kind].path, _message(kind, act, reader)) for kind, act in handlers.items()),
        web.put("/v1/cohorts/{cohort}/chunks/{index}", _put_chunk(service, reader)),
        web.get("/v1/cohorts/{cohort}/chunks", _chunks_held(service, reader)),
        web.get("/v1/adapters/{adapter}", _adapter(service, reader), allow_head=False),
    ]


def reply(message: ServerMessage, status: int = 200) -> web.Response:
    """``message`` as an HTTP answer."""
    return web.Response(body=encode(message), status=status, content_type=MEDIA_TYPE)


def _enrol(service: Service, reader: Reader) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        body = await reader.body(request, ROUTES[Enrol].limit)
        return reply(await service.enrol(_read(body, Enrol)))

    return handle


def _message(
    kind: type[msgspec.Struct], act: Callable[[bytes, Any], Awaitable[ServerMessage]], reader: Reader
) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        identity, body = await reader.signed(request, ROUTES[kind].limit)
        return reply(await act(identity, _read(body, kind)))

    return handle


def _put_chunk(service: Service, reader: Reader) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        identity, body = await reader.signed(request, CHUNK_SIZE)
        first = request.match_info["index"]
        if not (first.isascii() and first.isdigit() and len(first) < 8):
            raise ProtocolError("A piece's number has to be a number.")
        return reply(await service.put_chunk(identity, _hex(request, "cohort", 16), int(first), body))

    return handle


def _chunks_held(service: Service, reader: Reader) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        identity, _ = await reader.signed(request, 0)
        return reply(await service.chunks_held(identity, _hex(request, "cohort", 16)))

    return handle


def _adapter(service: Service, reader: Reader) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        await reader.signed(request, 0)
        path: Path = await service.adapter_file(_hex(request, "adapter", 32))
        return _Download(path, chunk_size=_CHUNK)

    return handle


class _Download(web.FileResponse):
    """It is sent by the first that prepares it: aiohttp, which prepares each answer, would send it again."""

    _begun = False

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        if self._begun:
            return None
        self._begun = True
        return await super().prepare(request)


def _read(body: bytes, kind: type[msgspec.Struct]) -> Any:
    """The message, which has to say itself what it is: read as ``kind`` alone, it would not have to."""
    message = decode(body, ClientMessage)
    if not isinstance(message, kind):
        raise ProtocolError(f"A message could not be read: it is no {kind.__name__}.")
    return message


def _hex(request: web.Request, name: str, size: int) -> bytes:
    text = request.match_info[name]
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != size or raw.hex() != text:
        raise NotFoundError(f"This is not the name of a {name}.")
    return raw
