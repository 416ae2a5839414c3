"""``fedit-client evaluate`` on a real model: its figures are the library's own, and a kill costs nothing that was
kept."""

import json
import math
import shutil
import signal
import string
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from tiny_model import Workshop, make_records, make_tokenizer, save_model, tuned_adapter, write_records

from edge_client.cli import main
from edge_client.data import Record, Template
from edge_client.evaluation.kept import Kept
from edge_client.evaluation.statistics import Draws
from edge_client.inference.generation import Generator
from edge_client.training.language_model import LanguageModel
from edge_client.training.loading import load_base
from fedit_shared import adapter as wire

COUNT = 40
PROGRAM = "from edge_client.cli import main; main()"


@pytest.fixture
def adapter(workshop: Workshop, tmp_path: Path) -> Path:
    """A PEFT folder whose adapter changes what the model says."""
    return tuned_adapter(workshop, tmp_path / "tuned", scale=0.3)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_records(tmp_path / "data.jsonl", make_records(COUNT))


def options(workshop: Workshop, adapter: Path, data: Path, *more: object) -> list[str]:
    named = ["evaluate", workshop.model, adapter, "--data", data, "--device", "cpu", "--json"]
    return [str(word) for word in (*named, *more)]


def ran(capsys: pytest.CaptureFixture[str], words: list[str]) -> tuple[int, dict[str, Any], str]:
    """Exit status, what was found, and stderr."""
    with pytest.raises(SystemExit) as end:
        main(words)
    out, error = capsys.readouterr()
    assert "Traceback" not in error
    assert isinstance(end.value.code, int)
    return end.value.code, json.loads(out) if out else {}, error


def test_losses_answers_and_differences_of_the_base_and_an_adapter(
    workshop: Workshop, adapter: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = options(workshop, adapter, data, "--generate", 20, "--max-new-tokens", 6, "--out", out, "--exact", "odd")
    status, found, told = ran(capsys, words)
    assert status == 0
    assert "losses: 80 of 80" in told
    assert list(found["arms"]) == ["base", "tuned"]
    kept = Kept(out)
    for name, arm in found["arms"].items():
        losses = sorted((each for each in kept.losses.values if each.arm == name), key=lambda each: each.place)
        mean = sum(each.loss for each in losses) / sum(each.tokens for each in losses)
        assert arm["loss"]["value"] == pytest.approx(mean, abs=1e-5)
        drawn = Draws(COUNT, 2000, 0).interval([each.loss for each in losses], [each.tokens for each in losses])
        assert (arm["loss"]["low"], arm["loss"]["high"]) == pytest.approx(drawn[1:], abs=1e-5)
        assert arm["perplexity"]["value"] == pytest.approx(math.exp(mean), rel=1e-4)
        assert arm["answers"]["records"] == 20
        assert {group["records"] for group in arm["by_category"].values()} == {20}
        assert arm["by_category"]["even"]["exact_match"] is None  # only the odd ones are checkable
        assert arm["by_category"]["odd"]["exact_match"]["value"] == 0
    paired, whole = found["differences"]["tuned - base"]["loss"], found["arms"]["base"]["loss"]
    arms = found["arms"]
    assert paired["value"] == pytest.approx(arms["tuned"]["loss"]["value"] - arms["base"]["loss"]["value"], abs=2e-5)
    assert paired["low"] <= paired["value"] <= paired["high"]
    assert paired["high"] - paired["low"] < 3 * (whole["high"] - whole["low"])

    before = {path.name: path.read_bytes() for path in out.iterdir()}
    again = ran(capsys, words)  # everything is known: no model is loaded, and the same is found
    assert again == (0, found, "")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    more = ran(capsys, [*words[:-1], "odd,even", "--resamples", "100"])
    assert more[1]["arms"]["base"]["by_category"]["even"]["exact_match"] is not None

    for changed in (("--max-length", 100), ("--max-new-tokens", 5), ("--quantization", "none")):
        status, _, told = ran(capsys, [*words, *map(str, changed)])
        assert (status, str(changed[0]) in told) == (2, True)
    (adapter / wire.FILE_NAME).write_bytes((workshop.adapter / wire.FILE_NAME).read_bytes())
    status, _, told = ran(capsys, words)
    assert (status, "another adapter as tuned" in told) == (2, True)


def test_after_a_kill_it_goes_on_and_asks_nothing_twice(
    workshop: Workshop, adapter: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ("--generate", COUNT, "--max-new-tokens", 30, "--out")
    words = options(workshop, adapter, data, *more, tmp_path / "killed")
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, *words], stderr=subprocess.PIPE, text=True)
    try:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("answers: "):
                break
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()
    begun = (tmp_path / "killed" / "losses.jsonl").read_bytes()
    assert begun.count(b"\n") == 2 * COUNT
    with (tmp_path / "killed" / "answers.jsonl").open("ab") as stream:
        stream.write(b'{"arm": "base", "pla')  # what a kill in the middle of a write leaves
    status, found, _ = ran(capsys, words)
    assert status == 0
    assert (tmp_path / "killed" / "losses.jsonl").read_bytes() == begun
    counts = Counter((each.arm, each.place) for each in Kept(tmp_path / "killed").answers.values)
    assert counts == {(arm, place): 1 for arm in ("base", "tuned") for place in range(COUNT)}
    assert found == ran(capsys, options(workshop, adapter, data, *more, tmp_path / "whole"))[1]


def test_a_record_that_the_template_cannot_show_is_left_out_and_counted(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "model"
    shutil.copytree(workshop.model, model)
    tokenizer = make_tokenizer()
    fault = "{% if 'Say 3' in messages[0]['content'] %}{{ 1 / 0 }}{% endif %}"
    tokenizer.chat_template = fault + tokenizer.chat_template
    tokenizer.save_pretrained(model)
    data = write_records(tmp_path / "data.jsonl", make_records(6))
    words = ["evaluate", model, "--data", data, "--device", "cpu", "--generate", 6, "--max-new-tokens", 2, "--plain"]
    with pytest.raises(SystemExit) as end:
        main([*map(str, words), "--out", str(tmp_path / "out")])
    said = capsys.readouterr()
    assert end.value.code == 0, said.err
    assert "6 records, 1 of them cut off or not shown by the template" in said.out
    assert said.err.count("cannot show the record in line 4: ZeroDivisionError") == 1
    kept = Kept(tmp_path / "out")
    assert [each.place for each in kept.losses.values if not each.tokens] == [3]
    assert [each.place for each in kept.answers.values if not each.tokens] == [3]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--exact", "nonsense"), "There are even, odd"),
        (("other=ABSENT",), "cannot be read"),
        (("base=ADAPTER",), "NAME=FOLDER"),
        (("ADAPTER",), "named tuned"),
    ],
)
def test_what_cannot_be_evaluated_is_told_in_a_line_or_two(
    words: tuple[str, ...],
    said: str,
    workshop: Workshop,
    adapter: Path,
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = [word.replace("ADAPTER", str(adapter)).replace("ABSENT", str(tmp_path / "absent")) for word in words]
    status, _, told = ran(capsys, options(workshop, adapter, data, *named))
    assert status == 2
    assert said in told


@pytest.fixture
def exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Computes in float32: in bfloat16 two tokens of a random model are often equally likely."""
    monkeypatch.setattr("edge_client.training.loading.compute_dtype", lambda device: torch.float32)


@pytest.mark.usefixtures("exactly")
def test_prompts_of_differing_lengths_are_answered_together_as_each_is_alone(model_folder: Path) -> None:
    generator, prompts = answering(model_folder)
    with generator.ready():
        assert generator.rows(max(map(len, prompts)), 12) > 1
        together = generator.answers(prompts, 12)
        assert together == [generator.answers([prompt], 12)[0] for prompt in prompts]
        assert len({answer.text for answer in together}) > 1
        assert not any(answer.ended for answer in together)


@pytest.mark.usefixtures("exactly")
def test_an_answer_ends_with_the_models_end_of_turn(model_folder: Path) -> None:
    generator, prompts = answering(model_folder)
    with generator.ready():
        [whole] = generator.answers(prompts[:1], 12)
    letter = next(letter for letter in whole.text[2:] if letter in string.punctuation)
    generator, prompts = answering(model_folder, stop=make_tokenizer().convert_tokens_to_ids(letter))
    with generator.ready():
        [cut] = generator.answers(prompts[:1], 12)
    assert cut.ended
    assert cut.tokens < whole.tokens
    assert cut.text == whole.text[: whole.text.index(letter)].strip()


def test_an_instruction_that_fills_the_context_gets_no_answer_and_does_not_hurt_the_others(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "short", max_position_embeddings=64)
    generator, _ = answering(folder)
    with generator.ready():
        assert generator.rows(60, 12) == 1
        assert generator.answers([list(range(5, 75))], 12)[0].tokens == 0
        assert generator.answers([list(range(5, 65))], 12)[0].tokens == 4


def answering(folder: Path, stop: int | None = None) -> tuple[Generator, list[list[int]]]:
    base = load_base(folder, ("int8",), torch.device("cpu"), lambda text: None)
    if stop is not None:
        base.model.generation_config.eos_token_id = [256, stop]
    base.model.eval()
    records = [Record(**record) for record in make_records(7)]
    prompts = [Template(base.tokenizer).prompt(record) for record in records]
    return Generator(base, LanguageModel(base.model, base.dtype, lambda text: None)), prompts


def test_every_line_that_is_kept_is_its_owners_alone_to_read(
    workshop: Workshop, adapter: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert ran(capsys, options(workshop, adapter, data, "--out", out))[0] == 0
    assert msgspec.json.decode((out / "results.json").read_bytes())["records"] == COUNT
    assert {path.stat().st_mode & 0o077 for path in out.iterdir() if path.name != "lock"} == {0}
