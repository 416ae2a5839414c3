"""The simulator itself: its disk forgets what was not synced and nothing else, and it shortens what fails."""

from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from simulation.disk import SimDisk
from simulation.runner import minimize

SEEDS = range(60)


def write(disk: SimDisk, path: Path, content: bytes) -> None:
    known = path.exists()
    path.write_bytes(content)
    if not known:
        disk.made(str(path))


def test_a_synced_file_in_a_synced_folder_survives_every_power_cut(tmp_path: Path):
    for seed in SEEDS:
        disk, path = SimDisk(tmp_path), tmp_path / f"file{seed}"
        write(disk, path, b"kept")
        disk.synced(str(path))
        disk.synced(str(tmp_path))
        disk.lose_power(Random(seed))
        assert path.read_bytes() == b"kept"


def test_what_was_not_synced_is_lost_torn_or_kept_as_the_seed_says(tmp_path: Path):
    left = set()
    for seed in SEEDS:
        disk, path = SimDisk(tmp_path), tmp_path / f"file{seed}"
        write(disk, path, b"new")
        disk.lose_power(Random(seed))
        left.add(path.read_bytes() if path.exists() else None)
    assert {None, b"", b"new"} < left


def test_a_rename_without_a_synced_folder_leaves_the_old_file_or_the_new_one(tmp_path: Path):
    left = set()
    for seed in SEEDS:
        disk, path, other = SimDisk(tmp_path), tmp_path / f"file{seed}", tmp_path / f"file{seed}.tmp"
        write(disk, path, b"old")
        write(disk, other, b"new")
        for name in (path, other, tmp_path):
            disk.synced(str(name))
        other.replace(path)
        disk.moved(str(other), str(path))
        disk.lose_power(Random(seed))
        left.add(path.read_bytes())
    assert left == {b"old", b"new"}


def test_a_full_disk_takes_no_more(tmp_path: Path):
    disk = SimDisk(tmp_path)
    disk.writes_left = 1
    disk.write_begins()
    with pytest.raises(OSError, match="No space left"):
        disk.write_begins()


def test_what_fails_is_cut_down_to_what_is_needed_for_it():
    def fails(items: Sequence[int]) -> bool:
        return {3, 17, 18} <= set(items)

    assert list(minimize(list(range(40)), fails)) == [3, 17, 18]
    assert list(minimize([5], lambda items: True)) == []
