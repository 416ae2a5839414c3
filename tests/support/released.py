"""Folders of federations as releases have written them, one for each schema of the database."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from server_process import ServerProcess

from agg_server.toml_file import with_values
from benchmarks.ports import free_port

SCHEMAS = Path(__file__).parents[1] / "agg_server" / "schemas"
RELEASED = sorted(path.name for path in SCHEMAS.iterdir() if (path / "server.sql").exists())


def unpacked(revision: str, folder: Path) -> ServerProcess:
    """The folder as that release left it, on a free port."""
    shutil.copytree(SCHEMAS / revision, folder)
    with closing(sqlite3.connect(folder / "server.sqlite3")) as connection:
        connection.executescript((folder / "server.sql").read_text(encoding="utf-8"))
    port, settings = free_port(), folder / "federation.toml"
    places = {"address": f"https://127.0.0.1:{port}", "listen": f"127.0.0.1:{port}"}
    settings.write_text(with_values(settings.read_text(encoding="utf-8"), places, section="server"), encoding="utf-8")
    return ServerProcess.adopt(folder, port)
