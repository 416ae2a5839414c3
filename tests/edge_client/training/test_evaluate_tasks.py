"""Tasks of lm-evaluation-harness, where it is installed: done by the model that is loaded, with and without an
adapter."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tiny_model import Workshop, tuned_adapter

from edge_client.cli import main

COUNT = 12
TASK = """\
task: parity
dataset_path: json
dataset_kwargs:
  data_files:
    test: {file}
test_split: test
output_type: multiple_choice
doc_to_text: "Is {{{{n}}}} odd or even? Answer:"
doc_to_choice: ["odd", "even"]
doc_to_target: "{{{{label}}}}"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
"""
ALONE = """
import json, sys, torch
from pathlib import Path
from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
from edge_client.training.loading import load_base
base = load_base(Path(sys.argv[1]), ("int8",), torch.device("cpu"), print)
model = HFLM(pretrained=base.model, tokenizer=base.tokenizer, batch_size=1, device="cpu")
tasks = TaskManager(include_path=sys.argv[2])
found = simple_evaluate(model=model, tasks=["parity"], task_manager=tasks, bootstrap_iters=0)
print("\\n" + json.dumps(found["results"]["parity"]["acc,none"]))
"""
installed = pytest.mark.skipif(find_spec("lm_eval") is None, reason="lm-eval is not installed")


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a task whose documents lie beside it."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "tasks"
    folder.mkdir()
    file = folder / "parity.jsonl"
    file.write_text("".join(json.dumps({"n": n, "label": (n + 1) % 2}) + "\n" for n in range(COUNT)))
    (folder / "parity.yaml").write_text(TASK.format(file=file))
    return folder


@pytest.fixture
def adapter(workshop: Workshop, tmp_path: Path) -> Path:
    return tuned_adapter(workshop, tmp_path / "tuned", scale=0.5)


@installed
def test_a_task_finds_what_the_harness_finds_and_is_done_once(
    workshop: Workshop, adapter: Path, tasks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["evaluate", workshop.model, adapter, "--tasks", "parity", "--include-path", tasks, "--device", "cpu"]
    words += ["--json", "--out", out]
    found, told = [], []
    for _ in range(2):
        with pytest.raises(SystemExit) as end:
            main([str(word) for word in words])
        assert end.value.code == 0
        said = capsys.readouterr()
        found.append(json.loads(said.out))
        told.append(said.err)
    assert f"parity, tuned: {2 * COUNT} of {2 * COUNT}" in told[0]
    assert "Loading" not in told[1]  # all was kept
    assert found[0] == found[1]
    scores = found[0]["tasks"]["parity"]["acc"]
    alone = subprocess.run(
        [sys.executable, "-c", ALONE, str(workshop.model), str(tasks)], capture_output=True, text=True, check=True
    )
    assert scores["arms"]["base"]["value"] == pytest.approx(json.loads(alone.stdout.splitlines()[-1]), abs=1e-5)
    assert scores["documents"] == COUNT
    kept = [json.loads(line) for line in (out / "tasks.jsonl").read_text().splitlines()]
    assert [line["arm"] for line in kept] == ["base", "tuned"]
    base, tuned = (line["figures"][0]["values"] for line in kept)
    assert len(base) == COUNT
    difference = scores["differences"]["tuned - base"]
    assert difference["value"] == pytest.approx(float(np.mean(tuned) - np.mean(base)), abs=1e-5)
    assert difference["low"] <= difference["value"] <= difference["high"]


@installed
def test_a_task_that_nobody_knows_is_refused_in_a_line(
    workshop: Workshop, tasks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["evaluate", str(workshop.model), "--tasks", "nonsense", "--include-path", str(tasks), "--plain"])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert "cannot do nonsense" in error
    assert "Traceback" not in error


@pytest.mark.skipif(find_spec("lm_eval") is not None, reason="lm-eval is installed")
def test_without_the_harness_it_is_told_what_to_install(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["evaluate", str(workshop.model), "--tasks", "hellaswag"])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert "pip install lm-eval" in error
    assert "Loading" not in error


def test_nothing_to_evaluate_on_is_told(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["evaluate", str(workshop.model)])
    assert end.value.code == 2
    assert "--data FILE, or --tasks" in capsys.readouterr().err
