"""The training child: killed anywhere it goes on, and whatever goes wrong becomes one clear line."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from children import training_children
from tiny_model import Workshop, make_records, make_tokenizer, save_model, write_records

from edge_client.data import DataSource, Record, Template
from edge_client.training import (
    Checkpointed,
    CreateJob,
    Failed,
    Finished,
    Loading,
    Notice,
    Planned,
    Progress,
    TrainEvent,
    TrainJob,
    create_adapter,
    read_delta,
    run_training,
)
from edge_client.training.frames import read_frame
from fedit_shared import adapter as wire
from fedit_shared.errors import ProtocolError, UserError

posix_only = pytest.mark.skipif(os.name != "posix", reason="signals are POSIX's")


def train(job: TrainJob, leave: Callable[[TrainEvent], bool] = lambda _: False) -> list[TrainEvent]:
    """All events up to the end, or up to the one at which to leave."""

    async def main() -> list[TrainEvent]:
        events: list[TrainEvent] = []
        async with aclosing(run_training(job)) as stream:
            async for event in stream:
                events.append(event)
                if leave(event):
                    break
        return events

    return asyncio.run(main())


def kinds(events: list[TrainEvent]) -> list[type]:
    return [type(event) for event in events]


def kill_child(number: int) -> None:
    (child,) = training_children()
    child.send_signal(number)


@posix_only
def test_killed_again_and_again_it_ends_with_the_same_bits_as_undisturbed(workshop: Workshop) -> None:
    task = workshop.task(steps=60, batch_size=5)
    quiet = train(workshop.job(task=task, work=str(workshop.folder / "quiet")))
    assert isinstance(quiet[-1], Finished)
    size = wire.size(task.tensors)
    expected = read_delta(quiet[-1].delta_path, size)
    assert expected.any()
    assert (quiet[-1].examples, quiet[-1].steps) == (10, 60)
    assert Planned in kinds(quiet)

    job = workshop.job(task=task, checkpoint_seconds=0.0)  # after every piece
    reached = 0
    for kind, count in ((Planned, 1), (Checkpointed, 7), (Progress, 20)):
        seen = 0

        def kill_there(event: TrainEvent, kind: type = kind, count: int = count) -> bool:
            nonlocal seen
            seen += isinstance(event, kind)
            if isinstance(event, kind) and seen == count:
                kill_child(signal.SIGKILL)
            return False

        events = train(job, kill_there)
        assert isinstance(events[-1], Failed)
        assert (events[-1].code, "signal 9" in events[-1].message) == ("died", True)
        planned = next(event for event in events if isinstance(event, Planned))
        assert planned.first_step >= reached - 1, "more was lost than since the last checkpoint"
        reached = max([reached, *(event.step for event in events if isinstance(event, Progress))])
    assert reached >= 20
    last = train(job)
    assert isinstance(last[-1], Finished)
    assert read_delta(last[-1].delta_path, size).tobytes() == expected.tobytes()
    assert (last[-1].tokens, last[-1].loss) == (quiet[-1].tokens, quiet[-1].loss)

    again = train(job)
    assert kinds(again) == [Loading, Finished]  # at once: the result is there
    assert again[-1] == last[-1]
    with pytest.raises(ProtocolError):
        read_delta(last[-1].delta_path, size + 1)


@posix_only
def test_asked_to_stop_it_saves_and_goes_on_later(workshop: Workshop) -> None:
    job = workshop.job(task=workshop.task(steps=None, minutes=60.0))

    def terminate(event: TrainEvent) -> bool:
        if isinstance(event, Progress) and event.step == 3:
            kill_child(signal.SIGTERM)
        return False

    events = train(job, terminate)
    assert isinstance(events[-1], Failed)
    assert events[-1].code == "stopped"
    saved = events[-2]
    assert isinstance(saved, Checkpointed)
    assert saved.step >= 3

    # Leaving the loop stops the child in the same way.
    resumed = train(job, lambda event: isinstance(event, Progress))
    planned = next(event for event in resumed if isinstance(event, Planned))
    assert planned.first_step == saved.step
    assert training_children() == []


def test_what_cannot_be_used_is_one_failed_event_before_any_library_loads(workshop: Workshop, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"instruction": "x"\n')
    other = workshop.task().model
    changed = msgspec.structs.replace(other, files=other.files | {"config.json": bytes(32)})
    cases: dict[str, tuple[dict[str, Any], str, str]] = {
        "data": ({"data": DataSource(path=str(broken))}, "usage", "line 1: not JSON"),
        "model": ({"model_folder": str(tmp_path / "absent")}, "model", "no folder"),
        "hash": ({"task": msgspec.structs.replace(workshop.task(), model=changed)}, "model", "config.json is not the"),
        "adapter": ({"adapter": str(broken)}, "adapter", "cannot be used"),
        "manifest": ({"task": msgspec.structs.replace(workshop.task(), tensors=workshop.task().tensors[1:])},
                     "adapter", "was not expected"),
        "work": ({"work": "/proc/nowhere"}, "disk", "cannot be used"),
    }  # fmt: skip
    for changes, code, says in cases.values():
        events = train(workshop.job(**changes))
        failed = events[-1]
        assert isinstance(failed, Failed)
        assert (failed.code, says in failed.message) == (code, True), failed
        assert "\n" not in failed.message
        assert Loading(part="libraries") not in events


def test_an_adapter_that_does_not_fit_the_model_fails_with_one_line(workshop: Workshop) -> None:
    task = workshop.task()
    config = task.adapter_config.replace('"r": 4', '"r": 2')
    events = train(workshop.job(task=msgspec.structs.replace(task, adapter_config=config)))
    failed = events[-1]
    assert isinstance(failed, Failed)
    assert (failed.code, failed.detail) == ("adapter", "")
    assert "is of shape [2, 64], not [4, 64]" in failed.message


def test_skipped_lines_and_records_are_told_and_another_job_starts_afresh(workshop: Workshop, tmp_path: Path) -> None:
    values = [*make_records(6), {"instruction": "x" * 300, "response": "too late"}, {"instruction": "no answer"}]
    data = DataSource(path=str(write_records(tmp_path / "mixed.jsonl", values)), bad="skip")
    events = train(workshop.job(data=data))
    notices = [event.message for event in events if isinstance(event, Notice)]
    assert any("line 8: 'response' is missing" in notice for notice in notices)
    assert any("1 of 7 records are left out" in notice and "line 7" in notice for notice in notices)
    one = events[-1]
    assert isinstance(one, Finished)
    assert one.examples == 6
    other = train(workshop.job(data=data, seed=6))[-1]
    assert isinstance(other, Finished)
    assert other.loss != one.loss


def test_records_longer_than_the_models_positions_are_cut_and_counted(tmp_path: Path) -> None:
    model = save_model(tmp_path / "model", "GPT2", max_position_embeddings=64)
    template = Template(make_tokenizer())
    longer = sum(sum(map(len, template.parts(Record(**record)))) > 64 for record in make_records(10))
    create_job = CreateJob(model=str(model), out=str(tmp_path / "new"), rank=4, target_modules=("c_attn",))
    asyncio.run(create_adapter(create_job))
    events = train(Workshop(tmp_path, model, tmp_path / "new").job())
    assert isinstance(events[-1], Finished), events[-1]
    told = [event.message for event in events if isinstance(event, Notice)]
    assert [message for message in told if "positions" in message] == [
        f"{longer} of 10 records are longer than the model's 64 positions, and cut to them."
    ]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the CPU's cap is Linux's RLIMIT_DATA")
def test_a_template_that_asks_for_all_memory_gets_no_more_than_the_budget(workshop: Workshop, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(workshop.model, model)
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{{ ('x' * 700000000) | length }}"
    tokenizer.save_pretrained(model)
    job = workshop.job(model_folder=str(model), memory_bytes=900_000_000)
    task = msgspec.structs.replace(job.task, model=msgspec.structs.replace(job.task.model, files={}))
    events = train(msgspec.structs.replace(job, task=task))
    assert isinstance(events[-1], Failed)
    assert "cannot show the record in line 1" in events[-1].message


def test_chatter_on_stdout_does_not_reach_the_events() -> None:
    program = (
        "from edge_client.training.channel import Channel\n"
        "from edge_client.training.events import Notice\n"
        "import os\n"
        "channel = Channel()\n"
        "print('chatter', flush=True); os.write(1, b'more'); os.system('echo most')\n"
        "channel.emit(Notice(message='said'))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, stdin=subprocess.DEVNULL)
    import io

    body = read_frame(io.BytesIO(done.stdout))
    assert body is not None
    assert msgspec.msgpack.decode(body, type=TrainEvent) == Notice(message="said")
    assert all(word in done.stderr for word in (b"chatter", b"more", b"most"))


@posix_only
def test_a_child_whose_parent_was_killed_ends(workshop: Workshop, tmp_path: Path) -> None:
    job = tmp_path / "job"
    job.write_bytes(msgspec.msgpack.encode(workshop.job(task=workshop.task(steps=None, minutes=60.0))))
    program = (
        "import asyncio, sys, msgspec, psutil\n"
        "from edge_client.training import Progress, TrainJob, run_training\n"
        "async def main():\n"
        "    job = msgspec.msgpack.decode(open(sys.argv[1], 'rb').read(), type=TrainJob)\n"
        "    async for event in run_training(job):\n"
        "        if isinstance(event, Progress) and event.step == 1:\n"
        "            print(psutil.Process().children()[0].pid, flush=True)\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", program, str(job)], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline()))
        parent.kill()
        psutil.wait_procs([child], timeout=60)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_new_adapter_is_made_in_a_child(workshop: Workshop, tmp_path: Path) -> None:
    made = asyncio.run(create_adapter(CreateJob(model=str(workshop.model), out=str(tmp_path / "new"), rank=2)))
    assert (made.tensors, made.target_modules, made.model_id) == (8, ("q_proj", "v_proj"), "tiny-llama")
    assert made.parameters == wire.size(wire.read_adapter((tmp_path / "new" / wire.FILE_NAME).read_bytes())[0])
    with pytest.raises(UserError, match="exists already"):
        asyncio.run(create_adapter(CreateJob(model=str(workshop.model), out=str(tmp_path / "new"))))


def test_what_lies_in_the_current_folder_is_not_run(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("random", "transformers", "msgspec"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('run out of the current folder')")
    monkeypatch.chdir(tmp_path)
    made = asyncio.run(create_adapter(CreateJob(model=str(workshop.model), out=str(tmp_path / "new"), rank=2)))
    assert made.parameters > 0
