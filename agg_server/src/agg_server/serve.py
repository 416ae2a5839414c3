"""One server process: everything put together, from the folder to the open port, and taken down again."""

import asyncio
import errno
import logging
import os
import signal
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

from aiohttp import web

from fedit_shared.errors import UserError
from fedit_shared.identity import federation_id
from fedit_shared.secagg import warm

from . import tls
from .config import GO_ON, Config, host_and_port
from .dashboard import Dashboard
from .dashboard.login import make_link
from .driver import Driver
from .driver.desk import Desk
from .driver.opening import Plans
from .driver.service import Service
from .driver.work import Tools
from .layout import Layout
from .ledger import Ledger
from .standing import Standing
from .storage.rooms import Rooms
from .store import Database, SharedNonces
from .task import make_task
from .watching.metrics import Metrics, accounting
from .watching.self_test import self_test
from .web.answers import Answers
from .web.app import make_app, make_metrics_app
from .web.auth import Gate
from .web.door import Door, make_room
from .web.drain import Drain
from .web.frugal import be_frugal, keep_what_is_here
from .web.limits import Memory, Pace
from .web.port import Port
from .web.reading import Reader
from .web.renewal import Renewal
from .web.watch import Watch, watch_lag

KEEPALIVE_SECONDS = 75.0
DRAIN_SECONDS = 20.0
CLOSE_SECONDS = 1.0
T = TypeVar("T")
_log = logging.getLogger(__name__)


async def serve(layout: Layout, config: Config, announce: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, then finish what is under way. ``announce`` gets lines for the operator."""
    be_frugal()
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    certificate = layout.path(config.server.certificate)
    renewal = Renewal(certificate, layout.path(config.server.key), pinned=config.server.pin)
    _meet_pins(layout, certificate, pinned=config.server.pin)
    database = Database(layout.database_url(config))
    loop.add_signal_handler(signal.SIGHUP, renewal.look)
    driver, metrics = _assemble(layout, config, database)
    service = Service(driver, database)
    nonces = SharedNonces(database) if database.shared else None
    gate = Gate(federation_id(driver.tools.key.public), lambda: driver.desk.active, time.time, nonces)
    memory, pace = Memory(), Pace(config.server.device_requests, time.monotonic, "device")
    reader = Reader(gate, driver.on_pool, pace, memory, driver.attendance.renew if database.shared else None)
    dashboard = Dashboard(driver, database, layout, reader) if config.server.dashboard else None
    app = make_app(service, reader, metrics, config.federation.name, dashboard)
    room = make_room(config.server.connections)
    if room < config.server.connections:
        _log.warning("the system's limit of open files leaves room for %d connections: raise it (ulimit -n)", room)
    door = Door(room, Pace(config.server.unsigned_requests, time.monotonic), memory)
    drain, answers = Drain(), Answers()
    app.middlewares.extend((door.middleware, answers.weigh))
    app.middlewares[:0] = (answers.send, drain.middleware)
    runner = web.AppRunner(
        app,
        access_log=_log,
        access_log_class=accounting(metrics),
        handle_signals=False,
        keepalive_timeout=KEEPALIVE_SECONDS,
        shutdown_timeout=CLOSE_SECONDS,
        auto_decompress=False,
    )
    watch = Watch(driver, database, layout.disk(config), certificate, lambda: door.connections)
    metrics_runner = web.AppRunner(make_metrics_app(metrics, watch.look), access_log=None, handle_signals=False)
    watching = [asyncio.create_task(watch_lag(metrics.lagged)), asyncio.create_task(renewal.watch())]
    listening: list[Port | asyncio.Server] = []
    try:
        await runner.setup()
        await metrics_runner.setup()
        await driver.on_pool(warm)
        await driver.on_pool(self_test)
        await driver.start()
        keep_what_is_here()
        assert runner.server is not None
        assert metrics_runner.server is not None
        listening.append(await _listen(config.server.listen, partial(Port.open, door, runner.server), renewal.context))
        if config.server.metrics:
            asked = partial(asyncio.get_running_loop().create_server, metrics_runner.server)
            listening.append(await _listen(config.server.metrics, asked))
        announce(_greeting(layout, config, driver, await driver.standing()))
        # What goes into a journal or a file is kept, and read by others.
        if dashboard is not None and sys.stdout.isatty():
            link = await driver.on_ledger(partial(make_link, database, config.server.address, time.time()))
            print(f"The dashboard, once, within ten minutes: {link}")
        await stopping.wait()
        announce("Stopping: finishing what is under way.")
    finally:
        for task in watching:
            task.cancel()
        for server in listening:
            server.close()
        if dashboard is not None:
            dashboard.close()
        driver.waiting.close()  # long polls end at once, so that the runner has nothing to wait for
        await drain.wait(DRAIN_SECONDS)
        await runner.cleanup()
        await metrics_runner.cleanup()
        await driver.stop()
        database.close()


def _meet_pins(layout: Layout, certificate: Path, *, pinned: bool) -> None:
    if pinned:
        tls.keep_pin(certificate, layout.pinned)
        return
    try:
        tls.require_pinned(certificate, layout.pinned)
    except UserError as error:  # links carry none any more
        _log.warning("whoever joined by a link with the old key stays away: %s", error)


def _assemble(layout: Layout, config: Config, database: Database) -> tuple[Driver, Metrics]:
    key = layout.signing_key()
    blobs = layout.blobs(config)
    tools = Tools(config, key, blobs, Rooms(blobs), os.urandom)
    ledger = Ledger(database, key)
    metrics = Metrics()
    driver = Driver(
        database=database,
        ledger=ledger,
        desk=Desk(ledger, key, config),
        tools=tools,
        plans=Plans.of(make_task(config, layout.adapter)),
        metrics=metrics,
        clock=time.time,
        threads=max(4, (os.cpu_count() or 2) + 2),
    )
    return driver, metrics


async def _listen(listen: str, opened: Callable[..., Awaitable[T]], *more: ssl.SSLContext) -> T:
    host, port = host_and_port(listen)
    try:
        return await opened(host, port, *more)
    except OSError as error:
        problem = {
            errno.EADDRINUSE: "another program uses it",
            errno.EADDRNOTAVAIL: "this machine has no such address",
            errno.EACCES: "this user may not use it",
        }.get(error.errno or 0, str(error))
        raise UserError(f"Cannot listen on {listen}: {problem}.", advice="Set [server] listen.") from error


def _greeting(layout: Layout, config: Config, driver: Driver, stands: Standing) -> str:
    lines = [f"Federation {config.federation.name!r} at {config.server.address} (listening on {config.server.listen})."]
    lines.append(f"Adapter version {stands.current.version}; {len(driver.desk.active)} devices have joined.")
    if stands.finished:
        lines.append(f"{config.federation.finish} {GO_ON}")
    lines.append(f"Invite participants with: fedit-server invite {layout.folder}")
    if config.server.dashboard:
        lines.append(f"Open the dashboard with: fedit-server login {layout.folder}")
    return "\n".join(lines)
