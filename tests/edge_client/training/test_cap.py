"""The owner's budget holds in real processes, also when the plan was wrong, and never changes the result."""

import subprocess
import sys

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_model import Workshop, save_model, write_records

from edge_client.data import DataSource
from edge_client.training import BackedOff, Finished, Progress, TrainEvent, TrainJob, read_delta
from edge_client.training.create import create
from edge_client.training.frames import frame, read_frame
from edge_client.training.job import CreateJob
from edge_client.training.process import _environment
from fedit_shared import adapter as wire

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the CPU's cap is Linux's RLIMIT_DATA")

STEPS = 2
SLACK = 1.01
"""Of the budget: pages of files (code that is read in while it works) count as resident, and no limit covers them."""
CHILD = """
import sys
import torch
from edge_client.training import child, loading, planner
loading.compute_dtype = lambda device: torch.float32
planner.SHARE = float(sys.argv[1])
child.main()
"""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """With a batch whose activations weigh more than everything else."""
    folder = tmp_path_factory.mktemp("large")
    size = {"hidden_size": 256, "intermediate_size": 2048, "num_hidden_layers": 6}
    model = save_model(folder / "model", **size)
    create(CreateJob(model=str(model), out=str(folder / "new"), rank=8, target_modules=("q_proj", "v_proj")))
    return Workshop(folder, model, folder / "new")


def job(large: Workshop, name: str, budget: int | None) -> TrainJob:
    records = [{"instruction": "again " * (5 + n % 16), "response": "one " * (5 + n % 16)} for n in range(32)]
    data = write_records(large.folder / "data.jsonl", records)
    return large.job(
        task=large.task(steps=STEPS, batch_size=16, max_length=200, train_on_inputs=True),
        data=DataSource(path=str(data)),
        work=str(large.folder / name),
        memory_bytes=budget,
    )


def train(job: TrainJob, share: float = 0.95, *, until: type | None = None) -> list[TrainEvent]:
    """All events of a child that plans with ``share`` of its budget; killed at the first one of type ``until``, if it
    has run out of memory before."""
    command = [sys.executable, "-c", CHILD, str(share)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment(1)) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(frame(job))
        child.stdin.flush()
        events: list[TrainEvent] = []
        while (body := read_frame(child.stdout)) is not None:
            events.append(msgspec.msgpack.decode(body, type=TrainEvent))
            if until is not None and backed_off(events) and isinstance(events[-1], until):
                child.kill()
    return events


def delta(events: list[TrainEvent], job: TrainJob) -> NDArray[np.float32]:
    done = events[-1]
    assert isinstance(done, Finished), done
    assert [event.step for event in events if isinstance(event, Progress)] == [1, 2]
    return read_delta(done.delta_path, wire.size(job.task.tensors))


def backed_off(events: list[TrainEvent]) -> list[int]:
    return [event.micro_batch for event in events if isinstance(event, BackedOff)]


@pytest.fixture(scope="module")
def undisturbed(large: Workshop) -> NDArray[np.float32]:
    """With room for the whole batch at once."""
    work = job(large, "undisturbed", 4 * 10**9)
    events = train(work)
    assert backed_off(events) == []
    return delta(events, work)


def same(found: NDArray[np.float32], expected: NDArray[np.float32]) -> bool:
    return float(np.linalg.norm(found - expected)) < 1e-3 * float(np.linalg.norm(expected))


@pytest.mark.parametrize("budget", [560, 800])
def test_the_child_stays_within_its_budget(large: Workshop, undisturbed: NDArray[np.float32], budget: int) -> None:
    work = job(large, f"within-{budget}", budget * 10**6)
    events = train(work)
    assert same(delta(events, work), undisturbed)
    assert backed_off(events) == []
    done = events[-1]
    assert isinstance(done, Finished)
    assert done.peak_bytes <= SLACK * budget * 10**6


def test_a_plan_that_is_too_bold_runs_into_the_cap_and_goes_on_in_smaller_pieces(
    large: Workshop, undisturbed: NDArray[np.float32]
) -> None:
    work = job(large, "bold", 600 * 10**6)
    events = train(work, share=3.0)
    assert same(delta(events, work), undisturbed)
    assert backed_off(events)
    done = events[-1]
    assert isinstance(done, Finished)
    assert done.peak_bytes <= SLACK * 600 * 10**6


def test_killed_after_memory_ran_out_it_goes_on_without_running_out_again(
    large: Workshop, undisturbed: NDArray[np.float32]
) -> None:
    work = msgspec.structs.replace(job(large, "killed", 600 * 10**6), checkpoint_seconds=0.0)
    first = train(work, share=3.0, until=Progress)
    assert not isinstance(first[-1], Finished)
    second = train(work, share=3.0)
    assert backed_off(second) == []
    assert isinstance(second[-1], Finished)
    assert same(read_delta(second[-1].delta_path, wire.size(work.task.tensors)), undisturbed)
