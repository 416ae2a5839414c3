"""What a federation keeps over the years: damage to it is named, and what is old can be let go."""

import asyncio
import json
import os
import resource
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack, closing
from pathlib import Path

import msgspec
import pytest
from served import assert_exact, enrolled
from server_process import Said, ServerProcess, command, process

from agg_server.upkeep.ballast import BALLAST_BYTES
from fedit_shared.errors import FeditError
from fedit_shared.messages import Result

PEERS = 3
ROUNDS = 4


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> ServerProcess:
    """Four versions published by devices, momentum beside each; nobody serves it."""
    server = ServerProcess(tmp_path_factory.mktemp("kept"), target=PEERS)
    server.configure("server_step", optimizer="fedavgm")
    server.start()

    async def run() -> None:
        async with AsyncExitStack() as stack:
            peers = await enrolled(stack, server, PEERS)
            for last in range(ROUNDS):
                await asyncio.gather(*(peer.whole_round(after=last) for peer in peers))
            await peers[0].offer(after=ROUNDS)

    try:
        asyncio.run(run())
    finally:
        status = server.stop()
    assert status == 0
    return server


@pytest.fixture
def server(kept: ServerProcess, tmp_path: Path) -> Iterator[ServerProcess]:
    """A copy of it."""
    shutil.copytree(kept.folder, tmp_path / "federation")
    copy = ServerProcess.adopt(tmp_path / "federation", kept.port)
    yield copy
    copy.stop()


def said(answer: Said) -> str:
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def damage(server: ServerProcess) -> list[str]:
    found = command("verify", server.folder)
    assert found.returncode == 1, found.stdout
    assert "Traceback" not in found.stderr
    return found.stdout.splitlines()


def change(server: ServerProcess, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(server.folder / "server.sqlite3")) as connection, connection:
        connection.execute(statement, values)


def adapter_file(server: ServerProcess, version: int) -> Path:
    rounds = server.rounds()
    name = rounds[version]["adapter_before"] if version < len(rounds) else rounds[version - 1]["adapter_after"]
    return server.folder / "blobs" / "adapters" / f"{name}.safetensors"


def flip(file: Path, place: int = -1) -> None:
    content = bytearray(file.read_bytes())
    content[place] ^= 1
    file.write_bytes(content)


def test_what_is_whole_is_said_to_be_whole_also_while_it_is_served(server: ServerProcess):
    server.start()
    whole = said(command("verify", server.folder))
    assert whole == f"Keys, database, {ROUNDS + 1} rounds, {ROUNDS} signed results, 13 blobs, 0 uploads: all whole.\n"


def test_every_damaged_or_missing_blob_is_named(server: ServerProcess):
    flip(adapter_file(server, 1))
    adapter_file(server, 2).unlink()
    [state] = (server.folder / "blobs" / "adapters").glob(f"{adapter_file(server, 3).stem}.fedavgm*")
    flip(state)
    opened = Path(server.rounds()[0]["cohorts"][0]["sum"])
    opened.unlink()
    first, second, third, fourth = damage(server)
    assert "Adapter version 1 is damaged: adapters/" in first
    assert "Adapter version 2 is missing" in second
    assert "The state of fedavgm (fedavg) beside adapter version 3 is damaged" in third
    assert "(round 1) is missing: cohorts/" in fourth
    assert all("from a backup" in line for line in (first, second, third, fourth))


def test_a_signed_result_an_event_and_a_key_that_were_changed_are_named(server: ServerProcess):
    with closing(sqlite3.connect(server.folder / "server.sqlite3")) as connection:
        [[row]] = connection.execute("SELECT result FROM results WHERE round = 2")
    result = msgspec.msgpack.decode(row, type=Result)
    other = msgspec.structs.replace(result, total_weight=result.total_weight + 1)
    change(server, "UPDATE results SET result = ? WHERE round = 2", msgspec.msgpack.encode(other))
    change(server, "DELETE FROM events WHERE round = 3 AND kind = 'CohortsFormed'")
    flip(server.folder / "tls" / "key.pem", 60)
    tls, second, third = damage(server)
    assert "key.pem are not a TLS certificate and its key" in tls
    assert "The signed result of cohort" in second
    assert "(round 2) is damaged" in second
    assert "of round 3 is not what was recorded" in third


def test_a_damaged_database_is_named_in_one_line_before_anything_is_served(server: ServerProcess):
    file = server.folder / "server.sqlite3"
    with closing(sqlite3.connect(file)) as connection:
        [[page]] = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'results'")  # no start needs it
    content = bytearray(file.read_bytes())
    content[(page - 1) * 4096 : (page - 1) * 4096 + 512] = bytes(512)
    file.write_bytes(content)
    started = process("serve", server.folder)
    assert started.returncode == 1
    assert started.stderr.count("\n") == 1, started.stderr
    assert "database" in started.stderr
    assert "is damaged" in started.stderr
    assert "fedit-server restore" in started.stderr
    assert any("database" in line and "damaged" in line for line in damage(server))


def test_an_upload_that_was_damaged_in_a_live_round_is_named(server: ServerProcess):
    server.start()

    async def run() -> None:
        async with AsyncExitStack() as stack:
            peers = await enrolled(stack, server, PEERS)
            seats = [await peer.muster() for peer in peers]
            for peer, seat in zip(peers, seats, strict=True):
                await peer.take_seat(seat)
            await peers[0].contribute(seats[0])
            [upload] = (server.folder / "blobs").glob(f"cohorts/*/uploads/{peers[0].identity.hex()}")
            assert "1 uploads: all whole" in said(await asyncio.to_thread(command, "verify", server.folder))
            flip(upload)
            [line] = await asyncio.to_thread(damage, server)
            assert f"An upload is damaged or missing (device {peers[0].identity.hex()[:16]}" in line

    asyncio.run(run())


def blobs(server: ServerProcess) -> set[str]:
    root = server.folder / "blobs"
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name != "probe"}


def test_a_dry_run_says_what_would_go_and_changes_nothing(server: ServerProcess):
    before = blobs(server)
    told = said(command("prune", server.folder, "--keep-versions", 2, "--dry-run"))
    assert "these adapter versions would go: 1, 2." in told
    assert "Events of 2 rounds and 2 sums would go." in told
    assert blobs(server) == before
    assert "13 blobs" in said(command("verify", server.folder))


def test_pruning_keeps_the_first_version_the_newest_and_what_is_needed_and_rounds_go_on(server: ServerProcess):
    reports = server.rounds()
    gone = {adapter_file(server, version).stem for version in (1, 2)}
    said(command("prune", server.folder, "--keep-versions", 2))
    left = blobs(server)
    assert not any(name.removeprefix("adapters/").startswith(tuple(gone)) for name in left)
    assert sum(name.startswith("adapters/") and name.endswith("safetensors") for name in left) == 3
    assert server.rounds()[:ROUNDS] == reports[:ROUNDS], "reports stay"
    assert "all whole" in said(command("verify", server.folder)), "what was pruned is not missed"
    assert "versions are gone: none" in said(command("prune", server.folder, "--keep-versions", 2))
    refused = command("rollback", server.folder, 1)
    assert refused.returncode == 2
    assert "Adapter version 1 was pruned" in refused.stderr
    assert "was pruned" in command("export", server.folder, server.folder.parent / "out", "--version", 2).stderr
    said(command("rollback", server.folder, 0))
    server.start()

    async def run() -> None:
        async with AsyncExitStack() as stack:
            peers = await enrolled(stack, server, PEERS)
            done = await asyncio.gather(*(peer.whole_round(after=ROUNDS + 1) for peer in peers))
            seats = [seat for seat, _ in done]
            assert_exact(server, seats[0].offer.round, seats)
            with pytest.raises(FeditError, match="no such adapter"):
                raise_for(await peers[0].adapter(bytes.fromhex(min(gone))))

    asyncio.run(run())
    said(command("backup", server.folder, server.folder.parent / "backup"))
    said(command("restore", server.folder.parent / "backup", server.folder.parent / "back"))
    assert "all whole" in said(command("verify", server.folder.parent / "back"))


ON_A_FULL_DISK = """
mount -t tmpfs -o size=64m tmpfs "$1" && cp -a --sparse=never "$2" "$1/federation" || exit 77
! cat /dev/zero > "$1/filler" || exit 78
"$3" -m agg_server prune "$1/federation" --keep-versions 1 && "$3" -m agg_server verify "$1/federation" || exit 1
rm "$1/filler"
"$3" -m agg_server prune "$1/federation" --keep-versions 1 && stat -c %b "$1/federation/ballast"
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare (Debian: util-linux) is not installed")
def test_pruning_makes_room_on_a_full_disk(server: ServerProcess, tmp_path: Path):
    (tmp_path / "disk").mkdir()
    rights = "-m" if os.geteuid() == 0 else "-rm"
    script = ["sh", "-c", ON_A_FULL_DISK, "sh", tmp_path / "disk", server.folder, sys.executable]
    done = subprocess.run(["unshare", rights, *script], capture_output=True, text=True, timeout=240, check=False)
    if done.returncode == 77 or (done.returncode and "unshare" in done.stderr):
        pytest.skip("no disk of its own can be mounted here")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "versions are gone: 1, 2, 3." in done.stdout
    assert "all whole" in done.stdout
    assert int(done.stdout.split()[-1]) * 512 >= BALLAST_BYTES, "and is ready for the next time"


def test_a_command_that_finds_the_disk_full_says_what_to_do(server: ServerProcess):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    try:
        told = command("invite", server.folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert told.returncode == 1
    assert "prune DIR" in told.stderr
    assert "again later" not in told.stderr


def test_a_file_that_a_later_version_has_as_well_is_kept(server: ServerProcess):
    file = adapter_file(server, 4)
    change(server, "UPDATE adapters SET adapter = ? WHERE version = 2", bytes.fromhex(file.stem))
    assert "versions are gone: 1, 2, 3." in said(command("prune", server.folder, "--keep-versions", 1))
    assert file.exists()
    assert list(file.parent.glob(f"{file.stem}.fedavgm*")), "nor does its state go"


def test_pruning_that_was_killed_before_the_events_went_goes_on_the_next_time(server: ServerProcess):
    before = server.folder.with_name("before.sqlite3")
    shutil.copy(server.folder / "server.sqlite3", before)
    said(command("prune", server.folder, "--keep-versions", 2))
    for suffix in ("", "-wal", "-shm"):
        (server.folder / f"server.sqlite3{suffix}").unlink(missing_ok=True)
    shutil.copy(before, server.folder / "server.sqlite3")
    for name, value in (("pruned versions", 2), ("pruned rounds", 2)):
        change(server, "INSERT INTO orders (name, value) VALUES (?, ?)", name, value)
    assert "all whole" in said(command("verify", server.folder))
    assert "Events of 2 rounds" in said(command("prune", server.folder, "--keep-versions", 2))
    assert "all whole" in said(command("verify", server.folder))


def raise_for(answer: tuple[int, bytes]) -> None:
    status, body = answer
    if status == 404:
        raise FeditError(body.decode(errors="replace"))


def test_what_a_rollback_ordered_is_kept_and_once_begun_from_still_is(server: ServerProcess):
    said(command("rollback", server.folder, 2))
    assert "gone: 1, 3." in said(command("prune", server.folder, "--keep-versions", 1))
    assert adapter_file(server, 2).exists()
    status = json.loads(said(command("status", server.folder, "--json")))
    assert (status["next_from"], status["version"]) == (2, ROUNDS)
    assert "all whole" in said(command("verify", server.folder))
