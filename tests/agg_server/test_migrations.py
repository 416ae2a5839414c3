"""Every schema that a release had is brought up to date with its data, and served."""

import asyncio
import shutil
import sqlite3
from contextlib import AsyncExitStack, closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from served import assert_exact, enrolled
from server_process import ServerProcess, command, free_port

import agg_server.store
from agg_server.store import Database
from agg_server.store.tables import metadata
from agg_server.toml_file import with_values

SCHEMAS = Path(__file__).with_name("schemas")
RELEASED = sorted(path.name for path in SCHEMAS.iterdir() if (path / "server.sql").exists())
PEERS = 3


def unpacked(revision: str, folder: Path) -> ServerProcess:
    """The folder as that release left it, on a free port."""
    shutil.copytree(SCHEMAS / revision, folder)
    with closing(sqlite3.connect(folder / "server.sqlite3")) as connection:
        connection.executescript((folder / "server.sql").read_text(encoding="utf-8"))
    port, settings = free_port(), folder / "federation.toml"
    places = {"address": f"https://127.0.0.1:{port}", "listen": f"127.0.0.1:{port}"}
    settings.write_text(with_values(settings.read_text(encoding="utf-8"), places, section="server"), encoding="utf-8")
    return ServerProcess.adopt(folder, port)


def revisions() -> set[str]:
    script = ScriptDirectory(str(Path(agg_server.store.__file__).with_name("migrations")))
    return {revision.revision for revision in script.walk_revisions()}


def test_each_revision_has_a_folder_that_it_wrote():
    assert set(RELEASED) == revisions(), "python tests/agg_server/schemas/make.py"


@pytest.mark.parametrize("revision", RELEASED)
def test_a_folder_of_each_release_is_brought_up_to_date_and_its_rounds_go_on(revision: str, tmp_path: Path):
    server = unpacked(revision, tmp_path / "federation")
    server.configure("round", contribute_window="25min")  # the open round's musters are of devices that are gone
    server.start()

    async def run() -> None:
        async with AsyncExitStack() as stack:
            peers = await enrolled(stack, server, PEERS)
            done = await asyncio.gather(*(peer.whole_round(after=2) for peer in peers))
            told = assert_exact(server, 3, [seat for seat, _ in done])
            assert told["adapter_before"] == server.rounds()[0]["adapter_after"]

    try:
        asyncio.run(run())
    finally:
        server.stop()
    first, second, third = server.rounds()[:3]  # the next one may be open when it is told to stop
    assert (first["outcome"], len(first["cohorts"][0]["survivors"])) == ("published", PEERS)
    assert (second["outcome"], second["mustered"], third["version"]) == ("abandoned", 2, 2)
    whole = command("verify", server.folder)
    assert (whole.returncode, "2 signed results" in whole.stdout) == (0, True), whole.stdout
    joined = command("devices", server.folder)
    assert joined.stdout.count("active") == PEERS, "nobody had to join again"


@pytest.mark.parametrize("revision", RELEASED)
def test_what_migrations_lead_to_is_what_the_code_expects(revision: str, tmp_path: Path):
    database = Database(f"sqlite:///{unpacked(revision, tmp_path / 'federation').folder / 'server.sqlite3'}")
    database.migrate()
    with database.begin() as connection:
        differences = compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata)
    database.close()
    assert differences == []
