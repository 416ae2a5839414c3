"""A served federation for each test that asks for one, and one PostgreSQL for all that do."""

from collections.abc import Callable, Iterator
from pathlib import Path

import dashboard
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


def _looked_at(root: Path, **settings: object) -> ServerProcess:
    server = ServerProcess(root, target=dashboard.PEERS)
    server.configure("server", unsigned_requests=10**6, **settings)
    server.start()
    return server


@pytest.fixture(scope="session")
def lived_in(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A federation in which much has happened. Tests look at it, and leave it as it is."""
    server = _looked_at(tmp_path_factory.mktemp("lived"))
    try:
        dashboard.live(server)
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A federation that nobody has joined yet."""
    server = _looked_at(tmp_path_factory.mktemp("untouched"))
    yield server
    server.stop()
