"""Kernels kept on disk are used again only where nothing that they are made of has changed, and never make trouble."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fedit_shared

ROOT = Path(__file__).parents[2]
PACKAGE = Path(fedit_shared.__file__).parent

ADD = """
import numpy as np
from fedit_shared.secagg.kernels import _P0, add_rows
total = np.full((1, 2, 4096), _P0 - 1, np.uint32)
add_rows(total, np.full((1, 2, 4096), 3, np.uint32))
print(_P0, total[0, 0, 0], sum(add_rows.stats.cache_hits.values()))
"""

ROUND = """
import numpy as np, sys, tempfile
from fedit_shared import rounding
from fedit_shared.quantize import read_mean
from fedit_shared.secagg import Aggregator, VectorSum, kernels, warm

def compiled():
    return {
        (module.__name__, name): len(value.signatures)
        for module in (rounding, kernels)
        for name, value in vars(module).items()
        if hasattr(value, "signatures")
    }

warm()
warmed = compiled()
from cohorts import Cohort, deal_all, prepare_for
from hashlib import sha256
for bits in (12, 16, 24):
    cohort = Cohort(5, dimension=30_000, slot_bits=bits, max_weight=4)
    session = cohort.session()
    uploads = cohort.uploads(session)
    aggregator = Aggregator(session)
    deal_all(aggregator, uploads)
    members = [cohort.member(session, device) for device in cohort.devices]
    prepares = [prepare_for(aggregator, uploads, device.identity) for device in cohort.devices]
    for device, member, prepare in zip(cohort.devices, members, prepares):
        aggregator.add_report(device.identity, *member.report(prepare))
    u = aggregator.choose_survivors()
    aggregator.offer(u)
    for device, member, prepare in zip(cohort.devices, members, prepares):
        aggregator.add_vote(device.identity, sha256(u).digest(), member.vote(prepare, u))
    for device, member, prepare in zip(cohort.devices, members, prepares):
        answer = member.answer(prepare, u, aggregator.certificate())
        aggregator.add_answer(device.identity, sha256(u).digest(), *answer)
    total = VectorSum(session)
    for upload in uploads.values():
        with tempfile.NamedTemporaryFile() as file:
            file.write(upload.vector.tobytes())
            file.flush()
            total.add(np.memmap(file.name, "<u4", "r", shape=upload.vector.shape))
    read_mean(session.quantizer, total.slots(next(aggregator.open_key()).key, 5), 5)
grown = [name for name, count in compiled().items() if count != warmed[name]]
print(sum(warmed.values()) > 10, grown)
"""


def run(code: str, source: Path, **environment: str) -> str:
    """What a new Python prints that runs ``code`` with the package in ``source``."""
    paths = os.pathsep.join([str(source), str(ROOT / "tests" / "support")])
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1", **environment}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the package without any cache, as installed by another version."""
    shutil.copytree(PACKAGE, tmp_path / "fedit_shared", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def test_a_kernel_is_compiled_once_and_then_loaded(copy: Path):
    assert run(ADD, copy) == "2147377153 2 0"
    assert run(ADD, copy) == "2147377153 2 1"


def test_a_kernel_of_a_version_with_another_helper_file_is_never_loaded(copy: Path):
    run(ADD, copy)
    helper = copy / "fedit_shared" / "parameters.py"
    helper.write_text(helper.read_text().replace("2147377153", "2147377151"))
    assert run(ADD, copy) == "2147377151 2 0"


def test_a_kernel_of_another_version_number_is_never_loaded(copy: Path):
    run(ADD, copy)
    module = copy / "fedit_shared" / "__init__.py"
    module.write_text(re.sub(r'__version__ = ".*"', '__version__ = "9"', module.read_text()))
    assert run(ADD, copy) == "2147377153 2 0"


def test_kernels_see_no_file_of_the_package_that_their_key_leaves_out():
    for name in ("rounding.py", "secagg/kernels.py"):
        text = (PACKAGE / name).read_text()
        assert set(re.findall(r"from (?:fedit_shared)?\.(\w+) import", text)) <= {"compiled", "parameters"}


def test_a_torn_file_in_the_cache_costs_a_compilation_and_no_more(copy: Path):
    for pattern in ("*.nbi", "*.nbc"):
        run(ADD, copy)
        for file in copy.rglob(pattern):
            file.write_bytes(file.read_bytes()[:7])
        assert run(ADD, copy) == "2147377153 2 0"
        assert run(ADD, copy) == "2147377153 2 1"


def test_where_no_folder_can_be_written_kernels_are_compiled_and_not_kept(copy: Path):
    for folder in (copy / "fedit_shared", copy / "fedit_shared" / "secagg"):
        (folder / "__pycache__").write_text("a file where the folder would be")
    nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null/cache", "LOCALAPPDATA": str(copy / "NUL" / "x")}
    for _ in range(2):
        assert run(ADD, copy, **nowhere) == "2147377153 2 0"


def test_a_round_after_warm_compiles_nothing():
    assert run(ROUND, PACKAGE.parent) == "True []"
