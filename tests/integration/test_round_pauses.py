"""A participant's own machine: killed, paused, killed again and resumed by the commands, its update still counts."""

import asyncio
import json
import subprocess
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, asynccontextmanager, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil
import pytest
from participants import QuickClient, quick_client, run_client
from server_process import ServerProcess
from tiny_model import make_records, save_model, write_records

from edge_client.client import Event, Offered, Paused, Resumed, RoundFinished
from edge_client.state import FederationState, Pause
from edge_client.training import Finished, TrainJob, run_training
from edge_client.yielding import gate
from fedit_shared.messages import TaskSpec, decode
from fedit_shared.secagg import Contribution, Session, Update

CLIENT = [sys.executable, "-c", "from edge_client.cli import main; main()"]
STEPS = 400
DEVICES = 3
Told = dict[str, Any]


async def command(*arguments: object) -> str:
    """`fedit-client` with these arguments, in a process of its own, to its end."""
    line = [*CLIENT, *(str(argument) for argument in arguments)]
    done = await asyncio.to_thread(subprocess.run, line, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Running:
    """A `fedit-client` at work, heard event by event."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.told: list[Told] = []

    async def hear(self, wanted: Callable[[Told], bool]) -> Told:
        """The next event that is ``wanted``."""
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            event: Told = json.loads(line)
            self.told.append(event)
            if wanted(event):
                return event
        raise AssertionError(f"it ended: {self.told[-3:]}")

    def children(self) -> list[psutil.Process]:
        """Its training child, if there is one."""
        found: list[psutil.Process] = psutil.Process(self.process.pid).children()
        return found

    async def kill(self) -> None:
        """SIGKILL; its child sees that, saves what it has and goes."""
        children = self.children()
        self.process.kill()
        await self.process.wait()
        await asyncio.to_thread(psutil.wait_procs, children, 60)
        assert not any(child.is_running() for child in children)


@asynccontextmanager
async def at_work(*arguments: object) -> AsyncGenerator[Running, None]:
    line = [*CLIENT, *(str(argument) for argument in arguments), "--json", "--rounds", "1"]
    process = await asyncio.create_subprocess_exec(*line, stdout=subprocess.PIPE)
    try:
        yield Running(process)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def named(name: str) -> Callable[[Told], bool]:
    return lambda event: event["event"] == name


def trained_to(step: int) -> Callable[[Told], bool]:
    return lambda event: (
        event["event"] == "Training" and event["training"]["event"] == "Progress" and event["training"]["step"] >= step
    )


def planned(event: Told) -> bool:
    return event["event"] == "Training" and event["training"]["event"] == "Planned"


async def undisturbed(state: FederationState, work: Path) -> Path:
    """The delta's file of the same job, trained in one piece."""
    [update] = state.updates
    begun, preferences = update.begun(), state.preferences
    assert begun is not None
    assert preferences is not None
    job = TrainJob(
        task=decode(state.task(begun.task_hash), TaskSpec),
        adapter=str(state.adapter_path(begun.adapter)),
        data=preferences.data,
        work=str(work),
        seed=begun.seed,
        model_folder=preferences.model_folder,
        memory_bytes=preferences.memory_bytes,
    )
    async with aclosing(run_training(job)) as events:
        *_, last = [event async for event in events]
    assert isinstance(last, Finished)
    return Path(last.delta_path)


@pytest.mark.skipif(sys.platform == "win32", reason="kills by signal")
def test_killed_paused_killed_again_and_resumed_it_is_counted_with_the_bits_of_an_undisturbed_run(
    tmp_path: Path,
) -> None:
    async def victim(link: str, model: Path, home: Path) -> None:
        state, data = home / "state", write_records(home / "data.jsonl", make_records(20))
        here = ("--state", state)
        joining = ("join", link, *here, "--data", data, "--model-path", model, "--memory", "4GiB")
        async with at_work(*joining) as client:
            first = await client.hear(trained_to(20))
            await client.kill()
        async with at_work("run", *here) as client:
            plan = await client.hear(planned)
            assert plan["training"]["first_step"] >= first["training"]["step"], "its child saved what it had"
            second = await client.hear(trained_to(plan["training"]["first_step"] + 20))
            [child] = client.children()
            assert "paused until" in await command("pause", *here, "--for", "2h")
            paused = await client.hear(named("Paused"))
            assert "owner" in paused["reason"]
            assert paused["until"] > paused["time"] + 7000
            await asyncio.to_thread(psutil.wait_procs, [child], 60)
            assert not child.is_running(), "its memory is free"
            assert client.children() == []
            assert "Trains: always; paused until" in await command("status", *here)
            await client.kill()
        async with at_work("run", *here) as client:
            await client.hear(named("Paused"))
            assert client.children() == []
            assert "may run: always" in await command("resume", *here)
            await client.hear(named("Resumed"))
            plan = await client.hear(planned)
            assert second["training"]["step"] <= plan["training"]["first_step"] < STEPS
            ended = await client.hear(named("RoundFinished"))
            assert (ended["outcome"], ended["counted"], ended["survivors"]) == ("published", True, 3)
        with FederationState(state) as kept:
            [update] = kept.updates
            trained, expected = update.trained(), await undisturbed(kept, home / "undisturbed")
            assert trained is not None, "of a delta that was sent, its hash alone is kept"
            assert trained.sha256 == sha256(expected.read_bytes()).digest()

    async def go() -> None:
        model, adapter = save_model(tmp_path / "model"), tmp_path / "adapter"
        await command("new-adapter", model, adapter, "--rank", 4, "--target-modules", "q_proj,v_proj")
        server = ServerProcess(tmp_path, adapter=adapter, model="tiny-llama", target=3, rounds=1)
        server.configure("training", steps=STEPS)
        server.start()
        try:
            links = server.invite("--count", 3)
            async with asyncio.TaskGroup() as group:
                for number in range(2):
                    group.create_task(run_client(quick_client(links[number], tmp_path / f"quick{number}")))
                home = tmp_path / "victim"
                home.mkdir()
                group.create_task(victim(str(links[2]), model, home))
        finally:
            server.stop()

    asyncio.run(go())


class PausingClient(QuickClient):
    """Its owner pauses training before its first update is masked."""

    paused: threading.Event

    def contribute(
        self, session: Session, update: Update, randomness: bytes, sink: Callable[[memoryview], object]
    ) -> Contribution:
        if not self.paused.is_set():
            self.state.pause = Pause()
            assert self.paused.wait(60)
        return super().contribute(session, update, randomness, sink)


def test_a_paused_device_uploads_and_answers_and_takes_no_new_round_until_it_is_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "TICK_SECONDS", 0.01)

    async def take_part(client: PausingClient) -> list[Event]:
        client.paused = threading.Event()
        events: list[Event] = []
        async with client:
            async for event in client.run(2):
                events.append(event)
                if isinstance(event, Paused):
                    client.paused.set()
                if isinstance(event, RoundFinished):
                    client.state.pause = None
        return events

    async def go() -> list[list[Event]]:
        server = ServerProcess(tmp_path, target=DEVICES, rounds=2)
        server.start()
        try:
            links = server.invite("--count", DEVICES)
            clients = [
                quick_client(link, tmp_path / f"home{number}", kind=PausingClient) for number, link in enumerate(links)
            ]
            return await asyncio.gather(*(take_part(client) for client in clients if isinstance(client, PausingClient)))
        finally:
            server.stop()

    told = asyncio.run(go())
    assert len(told) == DEVICES
    for events in told:
        kinds = [type(event) for event in events if isinstance(event, Offered | Paused | Resumed | RoundFinished)]
        assert kinds == [Offered, Paused, RoundFinished, Resumed, Offered, RoundFinished]
        assert all(event.counted for event in events if isinstance(event, RoundFinished))
