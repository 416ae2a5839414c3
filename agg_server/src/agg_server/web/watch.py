"""How the process and its machine are, looked up for each page of metrics."""

import asyncio
import datetime
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from fedit_shared.errors import FeditError

from .. import tls
from ..driver import Driver
from ..store import Census, Database, People
from ..watching.metrics import Vitals

DAY = 86400.0
LAG_SECONDS = 0.25
LOOK_SECONDS = 2.0
"""A page of metrics does not wait longer for the database."""


class Watch:
    """Looks things up, never on the event loop's own time."""

    def __init__(
        self, driver: Driver, database: Database, blobs: Path, certificate: Path, connections: Callable[[], int]
    ) -> None:
        self._driver = driver
        self._database = database
        self._blobs = blobs
        self._certificate = certificate
        self._connections = connections

    async def look(self) -> Vitals:
        """The numbers now."""
        disk_free, certificate_days, census = None, None, None
        with suppress(FeditError, OSError):
            disk_free = (await self._driver.on_pool(partial(shutil.disk_usage, self._blobs))).free
        with suppress(FeditError, OSError):
            ends = await self._driver.on_pool(partial(tls.expiry, self._certificate))
            certificate_days = (ends - datetime.datetime.now(datetime.UTC)).total_seconds() / DAY
        with suppress(FeditError, OSError):
            async with asyncio.timeout(LOOK_SECONDS):
                census = await self._driver.on_pool(self._census)
        return Vitals(self._driver.queued, self._connections(), disk_free, census, certificate_days)

    def _census(self) -> Census:
        with self._database.reading() as connection:
            return People().census(connection, time.time() - DAY)


async def watch_lag(tell: Callable[[float], object]) -> None:
    """Tell again and again, until cancelled, how late the event loop wakes a sleeper (seconds)."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + LAG_SECONDS
        await asyncio.sleep(LAG_SECONDS)
        tell(loop.time() - due)
