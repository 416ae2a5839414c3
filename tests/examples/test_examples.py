"""The examples work as they stand: four devices in one round of a real federation, each running one of them, and a
fifth example that uses what came of it."""

import asyncio
import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
from aiohttp import web
from msgspec.structs import replace
from safetensors.numpy import load_file
from server_process import ServerProcess, command
from tiny_model import Workshop, make_records, new_adapter, save_model, write_records

from benchmarks.ports import free_port
from edge_client import AdapterError, Client, Finished, ModelError, TrainEvent, events
from edge_client.state import FederationState
from examples import embedding, newest_adapter, own_data, own_trainer, progress
from fedit_shared.errors import UnauthorizedError
from fedit_shared.identity import JoinLink

DEVICES = ("progress", "own_data", "own_trainer", "embedding")
SHARED, NOT_SHARED = 5, 4
MEMORY = 4 * 2**30
REACHING = {"megatron_config": {"a": 1}}
"""What makes PEFT import a module that the configuration names."""
pytestmark = pytest.mark.timeout(1800)  # three processes that load torch, on a machine that may be busy


class Round:
    """What the examples said of their one round."""

    server: ServerProcess
    folder: Path
    model: Path
    reports: list[tuple[float, str]]
    finished: dict[str, events.RoundFinished]
    shown: list[dict[str, Any]]

    def wishes(self, device: str) -> dict[str, Any]:
        return {"state": self.state(device), "model_folder": self.model, "memory_bytes": MEMORY}

    def state(self, device: str) -> Path:
        return self.folder / f"state of {device}"


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Round]:
    done = Round()
    done.folder, done.reports, done.shown = tmp_path_factory.mktemp("examples"), [], []
    done.model = save_model(done.folder / "model")
    adapter = new_adapter(done.model, done.folder / "new")
    done.server = ServerProcess(
        done.folder, adapter=adapter, model="tiny-llama", target=len(DEVICES), rounds=1, muster_window="1h"
    )
    done.server.start()
    try:
        links = dict(zip(DEVICES, done.server.invite("--count", len(DEVICES)), strict=True))
        done.finished = asyncio.run(take_part(done, links))
        yield done
    finally:
        done.server.stop()


async def take_part(done: Round, links: dict[str, JoinLink]) -> dict[str, events.RoundFinished]:
    records = str(write_records(done.folder / "records.jsonl", make_records(6)))
    notes = str(make_notes(done.folder / "notes.sqlite3"))
    link = {device: str(link) for device, link in links.items()}
    ended = await asyncio.gather(
        progress.take_part(
            link["progress"], records, lambda *said: done.reports.append(said), **done.wishes("progress")
        ),
        own_data.take_part(link["own_data"], notes, **done.wishes("own_data")),
        own_trainer.take_part(link["own_trainer"], records, **done.wishes("own_trainer")),
        embed(done, link["embedding"], records),
    )
    return dict(zip(DEVICES[:3], ended[:3], strict=True))


async def embed(done: Round, link: str, records: str) -> None:
    """Stop the application in the middle and start it again, to the end of the federation."""
    for last in ("Joined", "The federation has ended."):
        runner = web.AppRunner(embedding.make_app(Client.join(link, data=records, **done.wishes("embedding"))))
        await runner.setup()
        try:
            port = free_port()
            await web.TCPSite(runner, "127.0.0.1", port).start()
            await shows(done, f"http://127.0.0.1:{port}/", last)
        finally:
            await runner.cleanup()
        with FederationState(done.state("embedding")):
            pass  # which is refused while a client is at work there


async def shows(done: Round, url: str, last: str) -> None:
    """Ask the application until it says ``last``, or is past it."""
    async with aiohttp.ClientSession() as session, asyncio.timeout(1500):
        while not done.shown or (
            last not in done.shown[-1]["line"] and not (last == "Joined" and done.shown[-1]["event"])
        ):
            async with session.get(url) as answer:
                done.shown.append(await answer.json())
            await asyncio.sleep(0.02)


def make_notes(path: Path) -> Path:
    rows = [(f"What is {number}?", f"It is {number}.", number < SHARED) for number in range(SHARED + NOT_SHARED)]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE notes (question TEXT, answer TEXT, shared INTEGER)")
        connection.executemany("INSERT INTO notes VALUES (?, ?, ?)", rows)
    return path


def test_all_of_them_are_in_one_sum(done: Round) -> None:
    [told] = done.server.rounds()
    assert (told["outcome"], told["version"]) == ("published", 1)
    assert len(told["cohorts"][0]["survivors"]) == len(DEVICES)
    assert {(end.outcome, end.counted, end.survivors) for end in done.finished.values()} == {("published", True, 4)}


def test_the_callback_hears_of_ever_more_work_and_of_the_end(done: Round) -> None:
    fractions = [fraction for fraction, _ in done.reports]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0
    assert 0.8 in fractions, "trained"
    assert fractions[-1] == 1.0
    assert "published" in done.reports[-1][1]


def test_what_the_database_releases_is_trained_on_and_nothing_else(done: Round) -> None:
    state = FederationState(done.state("own_data"))
    [update] = state.updates
    trained = update.trained()
    assert trained is not None
    assert trained.examples == SHARED
    left = [path for path in state.folder.rglob("*") if path.is_file() and b"It is" in path.read_bytes()]
    assert left == [], "no record is kept longer than it is needed"


def test_another_trainer_learns_what_it_is_given(done: Round) -> None:
    [update] = FederationState(done.state("own_trainer")).updates
    trained = update.trained()
    assert trained is not None
    assert trained.examples == 3, "one record a step"
    assert trained.loss > 0


def test_an_application_shows_how_far_its_client_is_and_goes_on_after_a_stop(done: Round) -> None:
    named = {shown["event"]["event"] for shown in done.shown if shown["event"]}
    assert {"Training"} <= named
    assert done.shown[-1]["line"] == "The federation has ended."
    [attempt] = FederationState(done.state("embedding")).attempts
    ended = attempt.ended()
    assert ended is not None
    assert ended.counted


def test_the_newest_adapter_comes_down_and_answers(done: Round) -> None:
    out = done.folder / "adapter"
    base = asyncio.run(newest_adapter.fetch(out, done.state("progress")))
    assert base == done.model
    made = command("export", done.server.folder, done.folder / "exported", "--version", 1)
    assert made.returncode == 0, made.stderr
    fetched, exported = (load_file(folder / "adapter_model.safetensors") for folder in (out, done.folder / "exported"))
    assert {name: tensor.tolist() for name, tensor in fetched.items()} == {
        name: tensor.tolist() for name, tensor in exported.items()
    }
    assert json.loads((out / "adapter_config.json").read_text())["r"] == 4
    assert newest_adapter.ask(base, out, "Say 1", tokens=5)

    config = json.loads((out / "adapter_config.json").read_text())
    (out / "adapter_config.json").write_text(json.dumps(config | REACHING))
    with pytest.raises(AdapterError, match="megatron_config"):
        newest_adapter.ask(base, out, "Say 1", tokens=5)
    with (done.model / "config.json").open("a") as file:
        file.write("\n")
    with pytest.raises(ModelError, match="not the file that the federation trains on"):
        asyncio.run(newest_adapter.fetch(done.folder / "again", done.state("progress")))


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    folder = tmp_path_factory.mktemp("workshop")
    model = save_model(folder / "model")
    return Workshop(folder, model, new_adapter(model, folder / "adapter"))


def test_another_trainer_loads_nothing_but_the_federations_model_and_a_plain_adapter(workshop: Workshop) -> None:
    task = workshop.task()
    local = replace(task.model, id=str(workshop.model), revision="another")
    other = replace(task.model, files=task.model.files | {"config.json": bytes(32)})
    reaching = json.dumps(json.loads(task.adapter_config) | REACHING)
    for changed, folder, error, says in (
        ({"model": local}, None, ModelError, "neither a folder nor a model's name"),
        ({"model": other}, str(workshop.model), ModelError, "not the file that the federation trains on"),
        ({"adapter_config": reaching}, str(workshop.model), AdapterError, "megatron_config"),
    ):
        with pytest.raises(error, match=says):
            own_trainer.PlainLoop(workshop.job(task=replace(task, **changed), model_folder=folder))


@pytest.mark.parametrize(
    ("amount", "steps"), [({"steps": None, "epochs": 2.0}, 6), ({"steps": None, "minutes": 1e-9}, 1)]
)
def test_another_trainer_works_as_long_as_the_task_says(
    amount: dict[str, float | None], steps: int, workshop: Workshop
) -> None:
    async def train() -> list[TrainEvent]:
        job = workshop.job(task=workshop.task(**amount), count=3)
        device = own_trainer.OwnTrainer(FederationState(workshop.folder / "state"))
        return [event async for event in device.train(job)]

    *told, last = asyncio.run(train())
    assert isinstance(last, Finished)
    assert last.steps == len(told) == steps
    assert last.examples == min(3, steps)


def test_the_application_shows_the_next_step_also_of_an_error_that_was_given_no_advice(tmp_path: Path) -> None:
    class Unknown(Client):
        async def __aenter__(self) -> Self:
            raise UnauthorizedError("The server does not know this device.")

    async def go() -> str:
        app = embedding.make_app(Unknown(FederationState(tmp_path)))
        await embedding.federate(app)
        return str(app[embedding.STATUS]["line"])

    said = asyncio.run(go())
    assert said == f"The server does not know this device. {UnauthorizedError.usual}"
    assert UnauthorizedError.usual
