"""A served federation for each test that asks for one, and one PostgreSQL for all that do."""

from collections.abc import Callable, Iterator
from pathlib import Path

import postgres as postgresql
import pytest
from server_process import ServerProcess


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Makes and starts a server; it is stopped after the test."""
    servers: list[ServerProcess] = []

    def start(**options: object) -> ServerProcess:
        server = ServerProcess(tmp_path / f"server{len(servers)}", **options)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="session")
def postgres() -> Iterator[postgresql.Postgres]:
    """A real PostgreSQL, in which each test makes a database of its own."""
    if postgresql.binaries() is None:
        pytest.skip("PostgreSQL is not installed here (Debian: apt-get install postgresql)")
    with postgresql.postgres() as server:
        yield server
