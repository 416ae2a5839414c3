"""Masking and unmasking stream: measured in processes of their own, on a vector of 17.9 million parameters."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.secagg.scenario import FULL, SLOT_BITS
from fedit_shared.parameters import upload_size

D = FULL.dimensions[-1]
MIB = 1 << 20

pytestmark = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="peak memory is read from /proc")


def peak(role: str) -> int:
    command = [sys.executable, "-m", "benchmarks.secagg", "--peak", "ours", role, str(D)]
    root = Path(__file__).parents[2]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return int(result.stdout)


def test_a_client_takes_less_than_64_mib_beside_its_update_and_the_upload_file():
    assert peak("client") < 64 * MIB


def test_a_server_takes_less_than_three_vectors_to_add_and_unmask():
    vector = upload_size(D, SLOT_BITS)
    assert vector < peak("server") < 3 * vector
