"""What a connection costs the server while it is quiet."""

import asyncio
import ssl
from pathlib import Path

import pytest
from server_process import ServerProcess

from benchmarks.resident import status_bytes

CONNECTIONS = 200
REQUEST = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads a process's memory from Linux's /proc")
def test_a_quiet_connection_costs_less_than_a_hundred_kilobytes(tmp_path: Path):
    server = ServerProcess(tmp_path)
    server.configure("server", unsigned_requests=10 * CONNECTIONS)
    server.start()
    context = ssl._create_unverified_context()

    async def spoken() -> asyncio.StreamWriter:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
        writer.write(REQUEST)
        assert (await reader.readline()).split()[1] == b"200"
        return writer

    async def run() -> float:
        first = await spoken()  # what is loaded for the first of all
        before = status_bytes("RssAnon", server.pid)
        writers = [await spoken() for _ in range(CONNECTIONS)]
        grown = status_bytes("RssAnon", server.pid) - before
        for writer in (first, *writers):
            writer.close()
        return grown / CONNECTIONS

    try:
        each = asyncio.run(run())
    finally:
        server.stop()
    assert each < 100_000
