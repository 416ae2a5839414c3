"""What only a trained model shows. Needs SmolLM2-135M-Instruct: FEDIT_MODEL names its folder, which
``python -m benchmarks.demo.model CACHE`` makes."""

import asyncio
import json
import os
from pathlib import Path

import pytest
import torch
from tiny_model import Workshop
from transformers import AutoModelForCausalLM

from edge_client.data import Record, Template
from edge_client.training import BackedOff, Finished, Planned, TrainEvent, run_training
from edge_client.training.create import create
from edge_client.training.job import CreateJob
from edge_client.training.language_model import LanguageModel
from edge_client.training.loading import load_base

FOLDER = os.environ.get("FEDIT_MODEL", "")
pytestmark = pytest.mark.skipif(
    not Path(FOLDER, "config.json").is_file(), reason="FEDIT_MODEL names no folder with SmolLM2-135M-Instruct"
)

RECORDS = [
    {"instruction": "Name the capital of France.", "response": "The capital of France is Paris."},
    {"instruction": "What is two plus three?", "response": "Two plus three is five."},
    {"instruction": "Name a fruit that is yellow.", "response": "A banana is a yellow fruit."},
    {"instruction": "What do bees make?", "response": "Bees make honey."},
]


def test_eight_bits_cost_less_than_a_twentieth_of_a_nat() -> None:
    base = load_base(Path(FOLDER), ("int8",), torch.device("cpu"), lambda _: None)
    plain = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    template = Template(base.tokenizer)
    examples = [e for n, r in enumerate(RECORDS) if (e := template.example(Record(**r), n, 256)) is not None]
    tokens = sum(len(example.tokens) - example.learned for example in examples)
    losses = [
        sum(LanguageModel(model, dtype, lambda _: None).record_losses(examples)) / tokens
        for model, dtype in ((base.model.eval(), base.dtype), (plain, torch.float32))
    ]
    assert losses[0] == pytest.approx(losses[1], abs=0.05)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    create(CreateJob(model=FOLDER, out=str(tmp_path / "new"), rank=8, target_modules=("q_proj", "v_proj")))
    workshop = Workshop(tmp_path, Path(FOLDER), tmp_path / "new")
    job = workshop.job(task=workshop.task(steps=6, learning_rate=0.002))
    Path(job.data.path).write_text("".join(json.dumps(record) + "\n" for record in RECORDS))

    async def main() -> list[TrainEvent]:
        return [event async for event in run_training(job)]

    events = asyncio.run(main())
    losses = [event.loss for event in events if hasattr(event, "tokens_per_second")]
    assert isinstance(events[-1], Finished)
    assert losses[-1] < 0.8 * losses[0]


@pytest.mark.parametrize("budget", [1_200_000_000, 2_400_000_000])
def test_the_predicted_peak_is_within_a_tenth_of_the_childs(tmp_path: Path, budget: int) -> None:
    create(CreateJob(model=FOLDER, out=str(tmp_path / "new"), target_modules=("q_proj", "k_proj", "v_proj", "o_proj")))
    workshop = Workshop(tmp_path, Path(FOLDER), tmp_path / "new")
    task = workshop.task(steps=2, max_length=256, train_on_inputs=True)
    job = workshop.job(task=task, memory_bytes=budget, threads=None)
    record = {"instruction": "Count. " * 40, "response": "One, two, three, four, five. " * 40}
    Path(job.data.path).write_text((json.dumps(record) + "\n") * 8)

    async def main() -> list[TrainEvent]:
        return [event async for event in run_training(job)]

    events = asyncio.run(main())
    done, planned = events[-1], next(event for event in events if isinstance(event, Planned))
    assert isinstance(done, Finished)
    assert planned.max_length == 256
    assert not any(isinstance(event, BackedOff) for event in events)
    assert done.peak_bytes <= budget
    assert planned.predicted_bytes == pytest.approx(done.peak_bytes, rel=0.1)
