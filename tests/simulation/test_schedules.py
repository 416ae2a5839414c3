"""Random faults, in virtual time, against the real client and server: no rule of theirs breaks, and every round ends.

The rules are in ``tests/support/simulation/watch_device.py`` and ``watch_server.py``; ``make simulate`` runs more.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import agg_server
import edge_client
import fedit_shared

ROOT = Path(__file__).parents[2]
IN_FULL = bool(os.environ.get("FEDIT_TESTS_IN_FULL"))
SCHEDULES = 300
"""More than it took to notice any of the ways in which mutants.py breaks the code (169)."""
OTHER_SCHEDULES = 40 if IN_FULL else 20


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """An interpreter that finds what this one does: of several checkouts, just this one's packages."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "support"), str(ROOT), *sys.path])},
        capture_output=True,
        text=True,
        check=False,
    )


def simulate(*options: object) -> subprocess.CompletedProcess[str]:
    """The simulator changes its interpreter for good, so it gets one of its own."""
    return run("-m", "simulation", *map(str, options))


def test_what_is_simulated_is_what_is_tested_here():
    told = run("-c", "import agg_server, edge_client, fedit_shared as it; print(agg_server, edge_client, it)")
    assert told.stdout.strip() == f"{agg_server} {edge_client} {fedit_shared}", told.stderr


def test_no_schedule_of_faults_breaks_a_rule_and_every_round_ends():
    done = simulate("--schedules", SCHEDULES, "--seed", 1)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-5000:]


@pytest.mark.parametrize("strategy", ["rolora", "shared-a"])
def test_no_schedule_of_faults_breaks_a_rule_under_other_strategies(strategy: str):
    """Turns alternate with published versions alone, and private tensors begin again where they began."""
    done = simulate("--schedules", OTHER_SCHEDULES, "--seed", 1001, "--strategy", strategy)
    assert done.returncode == 0, done.stdout[-20000:] + done.stderr[-5000:]


def test_what_once_broke_a_rule_does_so_no_more_and_runs_the_same_way_each_time():
    kept = Path(__file__).with_name("found.json")
    first, second = simulate("--kept", kept), simulate("--kept", kept)
    assert first.returncode == 0, first.stdout + first.stderr[-5000:]
    assert first.stdout == second.stdout
    assert "ends well" in first.stdout
