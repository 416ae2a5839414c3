"""What may be used is what the control groups leave of the machine's memory, in both of the kernel's interfaces."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from edge_client.room import Room, find_room
from edge_client.training.outlook import FREE_SHARE
from edge_client.training.process import _environment

MIB = 2**20


def group(folder: Path, **files: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"memory.{name}").write_text(f"{content}\n")


def room(tmp_path: Path, own: str) -> Room:
    (tmp_path / "own").write_text(own)
    return find_room(tmp_path / "groups", tmp_path / "own")


def test_a_group_of_version_2_bounds_and_its_idle_cache_counts_as_free(tmp_path: Path) -> None:
    stat = f"anon {30 * MIB}\ninactive_file {20 * MIB}\nactive_file {5 * MIB}"
    group(tmp_path / "groups/a.slice/b", max=100 * MIB, high="max", current=70 * MIB, stat=stat)
    assert room(tmp_path, "0::/a.slice/b\n") == (100 * MIB, 50 * MIB)


def test_the_tightest_of_the_groups_around_counts_and_so_does_what_throttles(tmp_path: Path) -> None:
    group(tmp_path / "groups/a.slice/b", max=100 * MIB, current=10 * MIB)
    group(tmp_path / "groups/a.slice", max="max", high=80 * MIB, current=60 * MIB)
    assert room(tmp_path, "0::/a.slice/b\n") == (80 * MIB, 20 * MIB)


def test_a_group_of_version_1_bounds_too(tmp_path: Path) -> None:
    inside = tmp_path / "groups/memory/docker/x"
    group(inside, limit_in_bytes=100 * MIB, usage_in_bytes=70 * MIB, stat=f"cache 1\ntotal_inactive_file {MIB}")
    group(tmp_path / "groups/memory", limit_in_bytes=9223372036854771712, usage_in_bytes=0)
    own = "5:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n0::/\n"
    assert room(tmp_path, own) == (100 * MIB, 31 * MIB)


@pytest.mark.parametrize("path", ["/docker/of-the-host", "/../../elsewhere"])
def test_in_a_container_that_sees_the_hosts_path_what_is_mounted_counts(tmp_path: Path, path: str) -> None:
    group(tmp_path / "groups", max=100 * MIB, current=70 * MIB)
    assert room(tmp_path, f"0::{path}\n") == (100 * MIB, 30 * MIB)


def test_a_group_beyond_its_limit_leaves_nothing(tmp_path: Path) -> None:
    group(tmp_path / "groups", high=100 * MIB, current=170 * MIB)
    assert room(tmp_path, "0::/\n") == (100 * MIB, 0)


@pytest.mark.parametrize("own", ["", "0::/\n", "nonsense\n", "0::/a\n4:memory:/b"])
def test_without_a_bound_it_is_the_machines_memory(tmp_path: Path, own: str) -> None:
    group(tmp_path / "groups/a", max="max", current=5)
    group(tmp_path / "groups/memory/b", limit_in_bytes="?", stat="torn")
    total, free = room(tmp_path, own)
    assert total == psutil.virtual_memory().total
    assert 0 < free < total


def test_the_default_budget_and_the_hardware_go_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from edge_client.hardware import find_hardware
    from edge_client.training.memory import Budget

    bounded = Room(3000 * MIB, 2000 * MIB)
    monkeypatch.setattr("edge_client.hardware.find_room", lambda: bounded)
    monkeypatch.setattr("edge_client.training.memory.find_room", lambda: bounded)
    found = find_hardware()
    assert (found.memory_bytes, found.free_bytes) == bounded
    budget = Budget(torch.device("cpu"), None)
    assert budget.limit >= int(FREE_SHARE * bounded.free)


PROMISED = """
from edge_client import room
free = 2000 << 20
import psutil
before = psutil.Process().memory_info().rss
room.find_room = lambda: room.Room(3000 << 20, free - psutil.Process().memory_info().rss + before)
import torch
import transformers, peft, bitsandbytes
from edge_client.training.memory import Budget
print(Budget(torch.device("cpu"), None).limit)
"""


def test_a_child_gets_the_budget_that_a_plan_promised_before_its_libraries_were_loaded() -> None:
    """Of a machine on which nothing else takes any memory."""
    done = subprocess.run([sys.executable, "-c", PROMISED], capture_output=True, text=True, env=_environment(1))
    assert int(done.stdout) == pytest.approx(FREE_SHARE * 2000 * MIB, rel=0.05)
