"""A served federation for each test that asks for one."""

from collections.abc import Callable, Iterator
from pathlib import Path

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
