"""The server's machine: the real driver, service and web application on a simulated disk, clock and network."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple
from unittest.mock import patch

import msgspec
import numpy as np
from aiohttp import HttpVersion11, StreamReader, web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import RawRequestMessage
from multidict import CIMultiDict, CIMultiDictProxy
from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError
from yarl import URL

from agg_server.config import Config
from agg_server.driver import Driver
from agg_server.driver.desk import Desk
from agg_server.driver.opening import Plans
from agg_server.driver.service import Service
from agg_server.driver.work import Tools
from agg_server.enrolment import make_link
from agg_server.initialise import Wishes, initialise
from agg_server.layout import Layout
from agg_server.ledger import Ledger
from agg_server.storage.blobs import Blobs
from agg_server.storage.rooms import Rooms
from agg_server.store import Database, People
from agg_server.task import make_task
from agg_server.watching.metrics import Metrics
from agg_server.web.app import make_app
from agg_server.web.auth import Gate
from agg_server.web.limits import Memory, Pace
from agg_server.web.reading import Reader
from benchmarks.demo.server import set_values
from fedit_shared import adapter
from fedit_shared.errors import FeditError
from fedit_shared.identity import JoinLink, SigningKey, federation_id
from fedit_shared.identity.links import TOKEN_SIZE
from fedit_shared.messages import TaskSpec, TensorSpec

from .network import Handle, Network, Reply, Request
from .process import Machine, current

SHAPES = {"A": (2, 5), "B": (7, 2)}
_DATABASE = "server.sqlite3"


class Template(NamedTuple):
    """A federation's folder as ``fedit-server init`` makes it, to be copied; and a link that lets everybody in."""

    layout: Layout
    config: Config
    task: TaskSpec
    key: SigningKey
    link: JoinLink


def make_template(folder: Path, strategy: str) -> Template:
    """Made once for many schedules."""
    tensors = tuple(TensorSpec(name=f"base_model.model.q.lora_{f}.weight", shape=shape) for f, shape in SHAPES.items())
    vector = np.random.default_rng(1).normal(0, 0.02, adapter.size(tensors)).astype(np.float32)
    start = folder / "adapter"
    start.mkdir(parents=True)
    (start / adapter.CONFIG_NAME).write_text('{"peft_type": "LORA", "r": 2, "base_model_name_or_path": "tiny"}')
    (start / adapter.FILE_NAME).write_bytes(adapter.write_adapter(tensors, vector))
    layout = Layout(folder / "federation")
    wishes = Wishes(
        adapter=start,
        model="tiny",
        name="simulated",
        address="https://server:8443",
        listen="server:8443",
        cohort_min=3,
        cohort_target=0,
        rounds=0,
        certificate=None,
        key=None,
    )
    with patch("os.urandom", Random(0).randbytes):  # the federation's key: it is in every sid
        initialise(layout.folder, wishes)
    set_values(layout.config_file, {"strategy": strategy}, section="federation")
    config, key = layout.load(), layout.signing_key()
    link, invitation = make_link(
        config.server.address, federation_id(key.public), None, bytes(TOKEN_SIZE), now=0.0, uses=10**6, expires=None
    )
    database = Database(layout.database_url(config))
    with database.begin() as connection:
        People().invite(connection, [invitation])
    database.close()
    with sqlite3.connect(layout.folder / _DATABASE) as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    raw.close()
    return Template(layout, config, make_task(config, layout.adapter), key, link)


class SimDatabase(Database):
    """The real database; a crash can come before and after each commit, and a full disk refuses it."""

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        process = current()
        if process is None:
            with super().begin() as connection:
                yield connection
            return
        with super().begin() as connection:
            raw: Any = connection.connection.dbapi_connection
            before = raw.total_changes
            yield connection
            wrote = raw.total_changes != before
            if wrote:
                process.effect("database: commit")
                if process.machine.disk.full:
                    raise OperationalError("COMMIT", {}, sqlite3.OperationalError("database or disk is full"))
            elif not process.alive:
                process.effect("database: read")
        if wrote:
            process.effect("database: committed")


@dataclass
class SimServer:
    """What the server's machine runs."""

    template: Template
    config: Config
    network: Network | None = None
    started: Callable[[], None] = lambda: None
    """Called after each start, by the simulator."""
    driver: Driver | None = None
    database: Database | None = None

    @property
    def task(self) -> TaskSpec:
        """What devices agree to."""
        return msgspec.structs.replace(self.template.task, max_weight=self.config.round.max_weight)

    def settle(self, root: Path) -> None:
        """A fresh copy of the federation's folder at ``root``."""
        root.mkdir()
        source = self.template.layout.folder
        shutil.copyfile(source / _DATABASE, root / _DATABASE)
        shutil.copytree(source / self.config.server.blobs, root / self.config.server.blobs)

    async def program(self, machine: Machine) -> float | None:
        """Serve for ever."""
        assert self.network is not None, "wired"
        if self.database is not None:
            self.database.close()
        self.database = database = SimDatabase(f"sqlite:///{machine.root / _DATABASE}")
        driver, metrics = self._assemble(machine, database)
        gate = Gate(federation_id(driver.tools.key.public), lambda: driver.desk.active, driver.clock)
        name = self.config.federation.name
        app = make_app(
            Service(driver, database),
            Reader(gate, driver.on_pool, Pace(10**6, lambda: 0.0), Memory(2**60)),
            metrics,
            name,
        )
        app.freeze()
        try:
            await driver.start()
            machine.context.copy().run(self.started)
            self.driver, self.network.handle = driver, _handler(app, machine)
            await machine.loop.create_future()
        except FeditError as error:
            machine.note(f"cannot start: {error}")
            return 10.0
        finally:
            self.network.handle = None
            driver.waiting.close()
            await driver.stop()
            database.close()
        return None

    def _assemble(self, machine: Machine, database: Database) -> tuple[Driver, Metrics]:
        import time

        key, config = self.template.key, self.config
        blobs = Blobs(machine.root / config.server.blobs)
        tools = Tools(config, key, blobs, Rooms(blobs), machine.random.randbytes)
        ledger, metrics = Ledger(database, key), Metrics()
        driver = Driver(
            database=database,
            ledger=ledger,
            desk=Desk(ledger, key, config),
            tools=tools,
            plans=Plans.of(self.task),
            metrics=metrics,
            clock=lambda: time.time(),
            threads=4,
        )
        return driver, metrics


def configured(template: Template, *, rounds: int, **rules: object) -> Config:
    """The template's settings with these of [round]."""
    config = template.config
    return msgspec.structs.replace(
        config,
        federation=msgspec.structs.replace(config.federation, rounds=rounds),
        round=msgspec.structs.replace(config.round, **rules),
    )


def _handler(app: web.Application, machine: Machine) -> Handle:
    protocol = _Protocol(machine)

    async def handle(request: Request) -> Reply:
        headers = CIMultiDictProxy(CIMultiDict(request.headers | {"Content-Length": str(len(request.body))}))
        url = URL(request.path, encoded=True)
        message = RawRequestMessage(
            request.method, request.path, HttpVersion11, headers, (), False, None, False, False, url
        )
        payload = StreamReader(protocol, 2**24, loop=machine.loop)
        payload.feed_data(request.body)
        payload.feed_eof()
        writer = _Writer()
        arrived = web.Request(message, payload, protocol, writer, None, machine.loop, client_max_size=2**24)  # type: ignore[arg-type]
        response = await app._handle(arrived)
        if isinstance(response, web.FileResponse):
            await response.prepare(arrived)
            return Reply(response.status, response.headers, bytes(writer.body))
        assert isinstance(response, web.Response), "every other answer is whole"
        body = response.body
        assert body is None or isinstance(body, bytes), "messages are bytes"
        return Reply(response.status, response.headers, body or b"")

    return handle


class _Protocol(BaseProtocol):
    """A connection without a socket."""

    peername = ssl_context = sockname = None

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine.loop)
        self.transport = object()  # type: ignore[assignment]


class _Writer:
    """Collects the body of a file that is served."""

    output_size = 0

    def __init__(self) -> None:
        self.body = bytearray()

    async def write_headers(self, status: str, headers: CIMultiDict[str]) -> None:
        """They are read from the response."""

    def send_headers(self) -> None:
        """They are read from the response."""

    async def write(self, data: bytes) -> None:
        self.body += data

    async def drain(self) -> None:
        """Nothing is waited for."""

    async def write_eof(self, data: bytes = b"") -> None:
        self.body += data
