"""The demo does what it shows: real processes, two kills, exact sums, a better adapter (a tiny one)."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.numpy import load_file
from tiny_model import save_model

from benchmarks.demo.proof import sum_is_exact
from benchmarks.demo.settings import NAMES, Settings


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """One demo, and the folder that it wrote."""
    folder = tmp_path_factory.mktemp("demo")
    model = save_model(folder / "tiny-llama")
    command = [sys.executable, "-m", "benchmarks.demo", "--model", str(model), "--out", str(folder / "out")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550, check=False)
    return done, folder / "out"


def test_the_demo_ends_well_and_its_report_tells_who_was_lost_and_who_counted(played) -> None:
    done, out = played
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads((out / "report.json").read_text())
    assert report["clients"] == 5
    assert report["eval_loss_after"] < report["eval_loss_before"]
    first, second = report["rounds"]
    assert first["dropped"] == [{"client": "Grace", "phase": "contribute"}]
    assert sorted(first["survivors"]) == sorted(set(NAMES) - {"Grace"})
    assert second["dropped"] == [{"client": "Sofia", "phase": "answer"}]
    assert sorted(second["survivors"]) == sorted(NAMES)
    for round_ in report["rounds"]:
        assert sorted(round_["roster"]) == sorted(NAMES)
        assert round_["sum_exact"] is True
        assert all(sent > 0 for sent in round_["bytes_up_per_client"].values())
    assert (Path(report["adapter"]) / "adapter_model.safetensors").exists()


def test_a_single_wrong_slot_is_noticed_by_the_demos_proof(played) -> None:
    _, out = played
    settings = Settings(folder=out)
    rounds = json.loads(_rounds(settings))
    cohort = rounds[0]["cohorts"][0]
    names = _names(settings, cohort)
    assert sum_is_exact(settings, cohort, names)
    kept = next((settings.home(names[cohort["survivors"][0]]) / "plain").glob(f"{cohort['cohort']}.safetensors"))
    whole = kept.read_bytes()
    spoilt = bytearray(whole)
    spoilt[-8] ^= 1
    assert len(load_file(kept)["slots"])
    kept.write_bytes(spoilt)
    try:
        assert not sum_is_exact(settings, cohort, names)
    finally:
        kept.write_bytes(whole)


def _rounds(settings: Settings) -> str:
    command = [sys.executable, "-m", "agg_server", "rounds", str(settings.server), "--json"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _names(settings: Settings, cohort: dict[str, list[str]]) -> dict[str, str]:
    """Device → participant, from the identities in the participants' states."""
    from edge_client.state import FederationState

    found = {}
    for name in NAMES:
        with FederationState(settings.home(name) / "state") as state:
            found[state.identity.public.hex()] = name
    assert set(cohort["roster"]) == set(found)
    return found
