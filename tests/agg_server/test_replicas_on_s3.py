"""Replicas that share a PostgreSQL and S3-compatible storage, and no folder but the one with their settings."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from bucket import SECRET, Bucket, bucket
from peers import summed
from postgres import Postgres
from replicas import Replicas, everybody, finished, seated, started
from safetensors.numpy import load_file
from server_process import ServerProcess, command

from benchmarks.demo.plain import plain_slots
from fedit_shared.messages import chunk_path


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bucket]:
    with bucket(tmp_path_factory.mktemp("s3")) as made:
        yield made


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres, s3: Bucket) -> Iterator[Replicas]:
    root = tmp_path_factory.mktemp("replicas")
    with started(root, postgres, 2, target=3, scale=300, blobs="s3://bucket/fedit/one") as replicas:
        yield replicas


def drill_beside_it_and_loss(two: Replicas, s3: Bucket, root: Path) -> None:
    """The backup is put back beside the replicas, whose bucket and database stay as they are, then into others."""
    backup, bucket_before = root / "backup", held_in(s3, "fedit/one")
    assert command("backup", two.first.folder, backup).returncode == 0
    refused = command("restore", backup, root / "drill")
    assert "s3://bucket/fedit/one is not empty" in refused.stderr
    assert "--blobs" in refused.stderr
    refused = command("restore", backup, root / "drill", "--blobs", "blobs")
    assert "--database" in refused.stderr
    here = ("--database", "sqlite:///drill.sqlite3", "--blobs", "blobs")
    there = ("--database", two.another_database(), "--blobs", "s3://bucket/fedit/two")
    for folder, places in ((root / "drill", here), (root / "restored", there)):
        done = command("restore", backup, folder, *places)
        assert done.returncode == 0, done.stderr
        assert "all whole" in command("verify", folder).stdout
        assert ServerProcess.adopt(folder, 0).rounds()[0]["outcome"] == "published"
    assert held_in(s3, "fedit/one") == bucket_before
    assert {name for name in held_in(s3, "fedit/two") if name.startswith("adapters/")} == {
        name for name in bucket_before if name.startswith("adapters/")
    }


def held_in(s3: Bucket, prefix: str) -> set[str]:
    root = s3.folder / prefix
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name != "probe"}


def test_a_round_whose_leader_is_killed_and_whose_storage_is_away_for_a_while_ends_with_the_exact_sum(
    two: Replicas, s3: Bucket, tmp_path: Path
):
    async def run() -> None:
        async with AsyncExitStack() as stack:
            there = await seated(stack, two, 3)
            peer, seat = there[0]
            assert len(peer.chunks(seat)) > 2
            await peer.put_chunk(seat, 1)
            s3.stop()
            status, raw, headers = await peer.request("PUT", chunk_path(seat.roster.cohort, 0), peer.chunks(seat)[0])
            assert (status, "Retry-After" in headers) == (503, True), raw
            s3.start()
            assert await peer.held(seat) == [1]
            await everybody(there, "contribute")
            await asyncio.to_thread(two.kill_leader)
            results = await finished(there)
            told = two.first.rounds()[0]
            place = told["cohorts"][0]["sum"]
            opened = load_file(s3.folder / place.removeprefix("s3://bucket/"))["slots"]
            plain = [plain_slots(seat.session, seat.update, seat.randomness) for _, seat in there if seat.session]
            assert np.array_equal(opened, summed(plain))
            status, whole = await peer.adapter(results[0].adapter)
            assert (status, sha256(whole).digest()) == (200, results[0].adapter)
            assert await peer.adapter(results[0].adapter, {"Range": "bytes=100-"}) == (206, whole[100:])
            assert command("export", two.first.folder, tmp_path / "out").returncode == 0
            assert (tmp_path / "out" / "adapter_model.safetensors").read_bytes() == whole
            # what is not needed any more goes, and the next round goes on from what was published
            offer = await peer.offer(after=1)
            assert offer.adapter == results[0].adapter

    asyncio.run(run())
    drill_beside_it_and_loss(two, s3, tmp_path)
    told = "".join(log.read_text() for log in two.first.log.parent.glob("*.log"))
    assert "traceback" not in told.lower()
    assert SECRET not in told
    assert not (two.first.folder / "blobs").exists()
