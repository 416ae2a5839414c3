"""A simulated client's work is that of a real one, bit for bit; stopped between rounds it loses nothing."""

import asyncio
from pathlib import Path

import msgspec
import numpy as np
import pytest
from experiments import COMMON, make_home
from tiny_model import Workshop, make_records, new_adapter, save_model

from benchmarks.fedit.lab import open_lab
from benchmarks.fedit.settings import Machine, load_experiment
from benchmarks.fedit.view import View
from benchmarks.fedit.worker import Work, Worker
from edge_client.data import Record
from edge_client.inference import InferenceProcess, Open
from edge_client.training import Failed, Finished, TrainJob, read_delta, run_training
from edge_client.training.footprint import Work as Priced
from edge_client.training.planner import Planning, make_plan
from fedit_shared import adapter as wire

ONE_ROUND = f"""
[run]
name = "tiny"
[clients]
count = 3
[federation]
rounds = 1
{COMMON.replace('["q_proj", "v_proj"]', '["c_attn"]')}"""
RECORDS = [Record(**record) for record in make_records(10)]


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("fedit")
    model = save_model(folder / "tiny-llama")
    return Workshop(folder, model, new_adapter(model, folder / "adapter"))


@pytest.fixture(scope="module")
def worker(workshop: Workshop) -> Worker:
    machine = Machine(device="cpu", threads=1)
    return Worker(workshop.model, workshop.task(), machine, workshop.folder / "simulated", print)


def start(workshop: Workshop) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return wire.read_adapter((workshop.adapter / wire.FILE_NAME).read_bytes())[1]


def trained(job: TrainJob) -> Finished:
    """What the client's training child makes of it."""

    async def to_the_end() -> Finished:
        last = None
        async for last in run_training(job):
            assert not isinstance(last, Failed), last
        assert isinstance(last, Finished)
        return last

    return asyncio.run(to_the_end())


@pytest.mark.parametrize("proximal", [0.0, 20.0])
def test_the_delta_is_bit_for_bit_that_of_the_training_child_also_after_other_work(
    workshop: Workshop, worker: Worker, proximal: float
) -> None:
    """Under FedProx too: what was tried in simulation runs in the field."""
    task = msgspec.structs.replace(workshop.task(), proximal=proximal)
    job = workshop.job(task=task, work=str(workshop.folder / f"work-{proximal:g}"))
    finished = trained(job)
    expected = read_delta(finished.delta_path, len(start(workshop)))
    examples = worker.examples(RECORDS)
    for number in range(2):
        other, _ = worker.train(start(workshop) + 0.1, examples[3:7], Work(key=bytes([9, number] * 16), seed=8))
        worker.evaluate(None, RECORDS, 200)
        key = bytes([number, int(proximal)] * 16)
        done, _ = worker.train(start(workshop), examples, Work(key=key, seed=5, proximal=proximal))
        assert np.abs(expected).max() > 0.001
        assert done.delta.tobytes() == expected.tobytes() != other.delta.tobytes()
        assert (done.examples, done.tokens, done.steps) == (finished.examples, finished.tokens, finished.steps)
        assert done.loss == finished.loss
    free, _ = worker.train(start(workshop), examples, Work(key=b"f" * 32, seed=5))
    assert (np.linalg.norm(expected) < np.linalg.norm(free.delta)) == (proximal > 0)


def test_work_in_stages_with_evaluations_between_ends_as_work_at_a_stretch(workshop: Workshop, worker: Worker) -> None:
    examples = worker.examples(RECORDS)
    whole, _ = worker.train(start(workshop), examples, Work(key=b"w" * 32, seed=2, records=18))
    assert whole.steps == 5
    work = Work(key=b"s" * 32, seed=2, records=18)
    for until in (2, 2, 3, 5):
        stage = worker.advance(start(workshop), examples, work, until)
        assert stage.steps == until
        worker.evaluate(None, RECORDS, 200)
    assert (stage.vector - start(workshop)).tobytes() == whole.delta.tobytes()
    assert stage.loss / stage.learned == whole.loss


def test_its_evaluation_is_that_of_the_clients_evaluate_command(
    workshop: Workshop, worker: Worker, tmp_path: Path
) -> None:
    task = workshop.task()
    drawn = np.random.default_rng(1).normal(scale=0.3, size=wire.size(task.tensors)).astype(np.float32)
    path = tmp_path / "drawn.safetensors"
    path.write_bytes(wire.write_adapter(task.tensors, drawn))
    opening = Open(
        model=task.model, model_folder=str(workshop.model), adapter_config=task.adapter_config, device="cpu", threads=1
    )

    async def asked() -> list[object]:
        async with InferenceProcess(opening) as model:
            return [await model.evaluate(adapter, RECORDS, max_length=200) for adapter in (path, None)]

    assert [worker.evaluate(adapter, RECORDS, 200) for adapter in (path, None)] == asyncio.run(asked())


def test_records_are_cut_to_a_models_table_of_positions_as_by_the_training_child(tmp_path: Path) -> None:
    home = make_home(tmp_path, 40, ONE_ROUND)
    model = save_model(home / "model", "GPT2", max_position_embeddings=64)
    workshop = Workshop(home, model, new_adapter(model, home / "adapter", "c_attn"))
    worker = Worker(model, workshop.task(), Machine(device="cpu", threads=1), home / "simulated", print)
    examples = worker.examples(RECORDS)
    assert max(len(example.tokens) for example in examples) == 64 < workshop.task().training.max_length
    done, _ = worker.train(start(workshop), examples, Work(key=b"p" * 32, seed=5))
    expected = read_delta(trained(workshop.job()).delta_path, len(start(workshop)))
    assert done.delta.tobytes() == expected.tobytes()
    assert expected.any()
    with View(quiet=True) as view, open_lab(load_experiment(home / "EXPERIMENT.toml"), home / "out", view) as lab:
        planned = lab.examples(0)
    assert planned == worker.examples(lab.population.of(0))
    assert max(len(example.tokens) for example in planned) == 64


def test_the_planner_is_told_that_records_differ_in_length_as_by_the_training_child(
    workshop: Workshop, worker: Worker, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples, told = worker.examples(RECORDS), []

    def watched(work: Priced, *others: object) -> Planning:
        told.append((work.length, work.uneven))
        return make_plan(work, *others)  # type: ignore[arg-type]

    monkeypatch.setattr("benchmarks.fedit.worker.make_plan", watched)
    for place, chosen in enumerate((examples, examples[:1])):
        worker.train(start(workshop), chosen, Work(key=bytes([7, place] * 16), seed=5))
    assert told == [(max(len(example.tokens) for example in examples), True), (len(examples[0].tokens), False)]
