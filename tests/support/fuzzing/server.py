"""Decoders that only a server has: its settings, its database's rows, results, and HTTP itself."""

import asyncio
import logging
import re
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from agg_server.adapters import results
from agg_server.config import load_config
from agg_server.durations import Seconds
from agg_server.enrolment import make_link
from agg_server.rounds import events
from agg_server.rounds.report import RoundReport
from agg_server.store import journal
from agg_server.watching.metrics import Metrics
from agg_server.web.app import make_app
from agg_server.web.auth import Gate
from agg_server.web.limits import Memory, Pace
from agg_server.web.reading import Reader
from fedit_shared.errors import NotFoundError, UserError
from fedit_shared.identity import JoinLink, SigningKey, sign_request
from fedit_shared.messages import PROTOCOL_HEADER, ROUTES, Accepted, Poll, Refused, ServerMessage, decode, encode
from fedit_shared.messages import Result as CohortResult

from .forms import JSON, MSGPACK, TEXT, TOML
from .samples import samples
from .target import Read, Target, scratch, taken

_SETTINGS = """
[federation]
name = "A federation"
rounds = 3
strategy = "fedavg"

[server]
address = "https://fed.example:8443"
listen = "[::]:8443"
metrics = "127.0.0.1:9100"

[model]
id = "owner/name"

[training]
learning_rate = 3e-4
minutes = 20.5
quantization = ["int8", "nf4"]

[round]
cohort_min = 3
fraction = 0.5
train_window = "1.5h"
slot_bits = 16
clip = "auto"

[server_step]
optimizer = "fedavgm"
"""


def _settings() -> tuple[Read, Sequence[bytes]]:
    file = scratch() / "federation.toml"

    def read(data: bytes) -> None:
        file.write_bytes(data)
        config = load_config(file)
        with taken():
            assert load_config(file) == config
            link, _ = make_link(config.server.address, bytes(32), None, bytes(16), now=0, uses=1, expires=None)
            assert JoinLink.parse(str(link)) == link

    return read, [_SETTINGS.encode(), _SETTINGS.replace('clip = "auto"', "clip = 0.01").encode()]


def _duration() -> tuple[Read, Sequence[bytes]]:
    def read(data: bytes) -> None:
        try:
            seconds = Seconds.parse(data.decode(errors="surrogateescape"))
        except ValueError as refused:  # as msgspec wants it, which says where it stood
            raise UserError(str(refused)) from refused
        assert 0 < seconds <= 366 * 86400

    return read, [b"20s", b"1.5 h", b"366d"]


def _row(kind: Any, *kinds: type) -> tuple[Read, Sequence[bytes]]:
    def read(data: bytes) -> None:
        row = journal._read(data, kind)
        again = msgspec.msgpack.encode(row)
        assert msgspec.msgpack.encode(journal._read(again, kind)) == again

    return read, [msgspec.msgpack.encode(sample) for sample in samples(*kinds)]


def _events() -> list[type]:
    return [
        kind
        for kind in vars(events).values()
        if isinstance(kind, type) and issubclass(kind, events.Event) and not kind.__subclasses__()
    ]


def _results() -> tuple[Read, Sequence[bytes]]:
    file = scratch() / "results.json"

    def read(data: bytes) -> None:
        file.write_bytes(data)
        assert results.shown(results.read_results(file))

    return read, [msgspec.json.encode(sample) for sample in samples(results.Results)]


class _Line(asyncio.Transport):
    """A connection to nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.said = bytearray()
        self._closing = False

    def write(self, data: Any) -> None:
        self.said += data

    def writelines(self, parts: Any) -> None:
        self.said += b"".join(parts)

    def close(self) -> None:
        self._closing = True

    abort = close

    def is_closing(self) -> bool:
        return self._closing

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 1) if name == "peername" else default


class _Nowhere:
    """What stands behind the routes: it takes what it is given, and keeps nothing."""

    def __getattr__(self, name: str) -> Any:
        async def take(*message: Any) -> Any:
            if name == "adapter_file":
                raise NotFoundError("There is none.")
            return [] if name == "failing" else Accepted()

        return take


def _http() -> tuple[Read, Sequence[bytes]]:
    """Bytes on a connection: routes, paths, headers, bodies."""
    key, now = SigningKey(bytes(range(32))), 1_900_000_000.0
    loop = asyncio.new_event_loop()

    silent = logging.Logger("nobody")
    silent.disabled = True

    async def here(work: Any) -> Any:
        return work()

    def gate() -> Gate:
        return Gate(bytes(32), lambda: {bytes(key.public)}, lambda: now)

    service: Any = _Nowhere()
    reader = Reader(gate(), here, Pace(10**6, loop.time), Memory())
    app = make_app(service, reader, Metrics(), "a federation")
    runner = web.AppRunner(app, access_log=None, handle_signals=False, logger=silent)
    loop.run_until_complete(runner.setup())

    async def serve(data: bytes) -> bytes:
        reader._gate = gate()  # which remembers no earlier input's tokens
        assert runner.server is not None
        line, handler = _Line(), runner.server()
        handler.connection_made(line)
        handler.data_received(data)
        for _ in range(20):
            await asyncio.sleep(0)
        handler.connection_lost(None)
        return bytes(line.said)

    def read(data: bytes) -> None:
        said = loop.run_until_complete(serve(data))
        while said:
            head, _, rest = said.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            assert length is not None
            body, said = rest[: int(length[1])], rest[int(length[1]) :]
            status = int(head.split()[1])
            assert 200 <= status < 500, head
            if status >= 400 and b"application/msgpack" in head:
                refused = decode(body, ServerMessage)
                assert isinstance(refused, Refused)
                assert refused.message

    def signed(method: str, path: str, body: bytes = b"") -> bytes:
        token = sign_request(key, bytes(32), method, path, body, time=int(now), nonce=bytes(16))
        lines = f"{method} {path} HTTP/1.1\r\nHost: x\r\n{PROTOCOL_HEADER}: 1\r\nAuthorization: {token}\r\n"
        return (lines + f"Content-Length: {len(body)}\r\n\r\n").encode() + body

    poll = encode(Poll(round=1, after="mustered"))
    return read, [
        signed("POST", ROUTES[Poll].path, poll),
        signed("PUT", f"/v1/cohorts/{'0a' * 16}/chunks/3", b"chunk"),
        signed("GET", f"/v1/cohorts/{'0a' * 16}/chunks"),
        signed("GET", f"/v1/adapters/{'0a' * 32}"),
        b"GET /join HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /v1/enrol HTTP/1.1\r\nHost: x\r\nFedit-Protocol: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5\r\nabcde\r\n0\r\n\r\n",
    ]


TARGETS = [
    Target("settings", _settings, TOML),
    Target("duration", _duration, TEXT, longest=100, cases=40),
    Target("row-event", partial(_row, events.AnyEvent, *_events()), MSGPACK),
    Target("row-report", partial(_row, RoundReport, RoundReport), MSGPACK),
    Target("row-result", partial(_row, CohortResult, CohortResult), MSGPACK),
    Target("results-file", _results, JSON),
    Target("http", _http, TEXT, cases=60),
]
