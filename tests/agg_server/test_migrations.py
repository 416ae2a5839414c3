"""Every schema that a release had is brought up to date with its data, and served."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from released import RELEASED, unpacked
from served import assert_exact, enrolled
from server_process import command

import agg_server.store
from agg_server.store import Database
from agg_server.store.tables import metadata

PEERS = 3


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
