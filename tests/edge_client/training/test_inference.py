"""The inference child scores and answers with the base or any adapter, as often as it is asked."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_model import Workshop, make_records, make_tokenizer, save_model, write_records
from transformers import AutoModelForCausalLM

from edge_client.data import DataSource, Record, Template
from edge_client.inference import InferenceProcess, Open, Scored
from edge_client.inference.generation import Generator
from edge_client.training import Loading, Notice
from edge_client.training.language_model import LanguageModel
from edge_client.training.loading import load_base
from edge_client.training.process import _environment
from fedit_shared import adapter as wire
from fedit_shared.errors import UserError
from fedit_shared.messages import ModelRef

RECORDS = tuple(Record(**record) for record in make_records(9))


def opened(workshop: Workshop, **changes: Any) -> Open:
    task = workshop.task()
    return Open(
        model=task.model,
        model_folder=str(workshop.model),
        adapter_config=task.adapter_config,
        device="cpu",
        threads=1,
        **changes,
    )


def ask(
    settings: Open, question: Callable[[InferenceProcess], Awaitable[Any]], said: list[object] | None = None
) -> Any:
    async def main() -> Any:
        async with InferenceProcess(settings, None if said is None else said.append) as model:
            return await question(model)

    return asyncio.run(main())


def drawn_adapter(workshop: Workshop, folder: Path) -> Path:
    manifest, _ = wire.read_adapter((workshop.adapter / wire.FILE_NAME).read_bytes())
    vector = np.random.default_rng(1).normal(scale=0.3, size=wire.size(manifest)).astype(np.float32)
    path = folder / "drawn.safetensors"
    path.write_bytes(wire.write_adapter(manifest, vector))
    return path


def test_losses_adapters_answers_and_refusals_in_one_session(workshop: Workshop, tmp_path: Path) -> None:
    drawn = drawn_adapter(workshop, tmp_path)
    data = write_records(tmp_path / "data.jsonl", make_records(9))
    said: list[object] = []
    other = tmp_path / "other"
    shutil.copytree(workshop.adapter, other)
    config = json.loads((other / wire.CONFIG_NAME).read_text())
    (other / wire.CONFIG_NAME).write_text(json.dumps(config | {"target_modules": ["q_proj", "v_proj", "k_proj"]}))

    async def session(model: InferenceProcess) -> None:
        base = await model.evaluate(None, RECORDS)
        assert len(base.records) == 9
        assert base.by_category().keys() == {"even", "odd"}
        assert base.loss == pytest.approx(reference_loss(workshop.model), abs=0.02)  # 8 bits and bfloat16 against 32
        assert [event for event in said if isinstance(event, Scored)][-1] == Scored(done=9, records=9)

        assert await model.evaluate(workshop.adapter, RECORDS) == base  # B is zero
        changed = await model.evaluate(drawn, RECORDS)
        assert changed.loss != base.loss
        with pytest.raises(UserError, match="cannot be used"):
            await model.evaluate(data, RECORDS)  # no adapter: refused, and the process goes on
        with pytest.raises(UserError, match="No such file"):
            await model.evaluate(tmp_path / "absent", RECORDS)
        with pytest.raises(UserError, match="k_proj"):
            await model.evaluate(other, RECORDS)  # its configuration names more layers than its file holds
        assert await model.evaluate(drawn, DataSource(path=str(data))) == changed
        assert await model.evaluate(None, RECORDS) == base

        cut = await model.evaluate(None, RECORDS, max_length=30)
        assert [record.tokens for record in cut.records].count(0) > 0
        assert not np.isnan(cut.loss)

        answers = [await model.generate(adapter, RECORDS, max_new_tokens=8) for adapter in (None, drawn, drawn)]
        assert all(1 <= answer.tokens <= 8 for answer in answers[0])
        assert answers[0] != answers[1] == answers[2]
        assert [event for event in said if isinstance(event, Scored)][-1] == Scored(done=9, records=9)
        alone = [await model.generate(drawn, [record], max_new_tokens=8) for record in RECORDS]
        assert tuple(answer for [answer] in alone) == answers[1]  # batches and padding change nothing
        assert await model.evaluate(drawn, RECORDS) == changed  # nor do they leave anything behind

    ask(opened(workshop), session, said)
    assert said[:3] == [Loading(part="files"), Loading(part="libraries"), Loading(part="model")]


def test_records_longer_than_the_models_positions_are_cut_and_it_is_told_once(tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", "GPT2", max_position_embeddings=64)
    said: list[object] = []

    async def session(process: InferenceProcess) -> None:
        cut = await process.evaluate(None, RECORDS, max_length=64)
        assert await process.evaluate(None, RECORDS) == cut
        assert await process.evaluate(None, RECORDS) == cut

    ask(Open(model=ModelRef(id=""), model_folder=str(model), device="cpu", threads=1), session, said)
    told = [event.message for event in said if isinstance(event, Notice)]
    assert [message for message in told if "positions" in message] == [
        "The model has 64 positions: longer records are cut to as many tokens."
    ]


def reference_loss(folder: Path) -> float:
    model = LanguageModel(AutoModelForCausalLM.from_pretrained(folder).eval(), torch.float32, lambda _: None)
    template = Template(make_tokenizer())
    examples = [e for place, record in enumerate(RECORDS) if (e := template.example(record, place, 512))]
    return sum(model.record_losses(examples)) / sum(len(e.tokens) - e.learned for e in examples)


def test_a_model_that_is_not_there_is_told_before_the_libraries_load(workshop: Workshop, tmp_path: Path) -> None:
    async def never(_: InferenceProcess) -> None:
        raise AssertionError

    said: list[object] = []
    settings = opened(workshop)
    gone = Open(model=settings.model, model_folder=str(tmp_path / "absent"))
    with pytest.raises(UserError, match="no folder"):
        ask(gone, never, said)
    assert said == [Loading(part="files")]


GROWTH = """
import sys
from pathlib import Path
import torch
from edge_client.inference.generation import Generator
from edge_client.training.language_model import LanguageModel
from edge_client.training.loading import load_base
from edge_client.training.memory import Budget

cpu = torch.device("cpu")
base, budget = load_base(Path(sys.argv[1]), ("none",), cpu, print), Budget(cpu, None)
generator = Generator(base, LanguageModel(base.model.eval(), base.dtype, print))
def answer(lengths):
    with generator.ready():
        for length in lengths:
            generator.answers([[5] * length, [7] * 20], 8)
    budget.release()
    return budget.used()
before = answer(range(200, 210))
print(answer(range(30, 110)) - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_prompts_of_lengths_that_were_never_seen_take_no_memory_for_good(model_folder: Path) -> None:
    """In bfloat16 on a processor that multiplies it, where kernels are compiled for numbers of tokens."""
    command = [sys.executable, "-c", GROWTH, str(model_folder)]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(1))
    assert int(done.stdout) < 30 * 2**20, done.stderr


def test_prompts_filled_up_get_the_answers_that_they_get_alone_up_to_the_models_last_position(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "short", max_position_embeddings=41)
    base = load_base(folder, ("none",), torch.device("cpu"), print)
    language_model = LanguageModel(base.model.eval().float(), torch.float32, print)
    given = [list(range(10, 10 + length)) for length in (5, 20, 36)]
    answers = []
    for multiple in (1, 32):
        language_model.row_multiple = multiple
        generator = Generator(base, language_model)
        with generator.ready():
            answers.append([generator.answers([prompt], 4) for prompt in given])
    assert answers[0] == answers[1]
    assert all(answer.tokens for (answer,) in answers[0])
