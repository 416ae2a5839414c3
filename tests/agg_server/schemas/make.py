"""Keeps a federation's folder as this release writes it, for later releases to bring up to date and serve.

python tests/agg_server/schemas/make.py

To be run once for each new revision of the schema, when a release has it: PYTHONPATH as pytest sets it. What it writes
beside itself, a folder named by the revision with the database as SQL text, is never made again.
"""

import asyncio
import shutil
import sqlite3
import sys
import tempfile
from contextlib import AsyncExitStack, closing
from pathlib import Path

from served import enrolled
from server_process import ServerProcess

HERE = Path(__file__).parent
SQL = "server.sql"
PEERS = 3


async def live(server: ServerProcess) -> None:
    """One round that is published, and one in which two have mustered."""
    async with AsyncExitStack() as stack:
        peers = await enrolled(stack, server, PEERS)
        await asyncio.gather(*(peer.whole_round() for peer in peers))
        for peer in peers[:2]:
            await peer.muster(after=1)


def main() -> None:
    """Write the folder of the newest revision."""
    with tempfile.TemporaryDirectory() as root:
        server = ServerProcess(Path(root), target=PEERS)
        server.start()
        asyncio.run(live(server))
        server.kill()
        file = server.folder / "server.sqlite3"
        with closing(sqlite3.connect(file)) as connection:
            [[revision]] = connection.execute("SELECT version_num FROM alembic_version")
            text = "\n".join(connection.iterdump())
        target = HERE / revision
        if target.exists():
            sys.exit(f"{target} is kept already: what a release wrote does not change.")
        shutil.copytree(server.folder, target, ignore=shutil.ignore_patterns("*.sqlite3*", "serve.lock", "probe"))
        (target / SQL).write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
