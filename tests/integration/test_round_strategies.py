"""Each strategy by a real server process and real clients, but for the training: bytes, sums, and what is published."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
from participants import plain_of, quick_client, run_client
from safetensors.numpy import load_file
from server_process import SHAPES, ServerProcess, command

from edge_client.cli import main
from edge_client.client import Agreed, Event, RoundFinished, describe
from edge_client.client.personal import write_personal
from edge_client.state import FederationState
from fedit_shared.errors import UserError
from fedit_shared.messages import TaskSpec, decode_task
from fedit_shared.parameters import upload_size

CLIENTS, SCALE = 3, 256
A, B = (int(np.prod(shape)) * SCALE for shape in SHAPES.values())
MOVES = {
    "ffa-lora": [("B",), ("B",)],
    "rolora": [("B",), ("A",)],
    "shared-a": [("A",), ("A",)],
}


def run(*arguments: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert ended.value.code == 0


def own(home: Path, task: TaskSpec) -> bytes | None:
    newest = FederationState(home / "state").private.newest(task)
    return None if newest is None else newest[1]


@pytest.mark.parametrize("strategy", MOVES)
def test_two_rounds_sum_and_publish_just_what_the_strategy_says(tmp_path: Path, strategy: str) -> None:
    server = ServerProcess(tmp_path / "server", target=CLIENTS, rounds=2, scale=SCALE)
    server.configure("federation", strategy=strategy)
    server.start()
    homes = [tmp_path / str(number) for number in range(CLIENTS)]

    async def work() -> list[list[Event]]:
        links = server.invite("--count", CLIENTS)
        async with asyncio.timeout(300):
            clients = [quick_client(link, home) for link, home in zip(links, homes, strict=True)]
            return await asyncio.gather(*(run_client(client) for client in clients))

    try:
        told = asyncio.run(work())
        rounds = sorted(server.rounds(), key=lambda round: round["round"])
        adapters = []
        for version in range(3):
            made = command("export", server.folder, tmp_path / f"v{version}", "--version", version)
            assert made.returncode == 0, made.stderr
            adapters.append(load_file(tmp_path / f"v{version}" / "adapter_model.safetensors"))
    finally:
        server.stop()
    for said in told:
        ends = [event for event in said if isinstance(event, RoundFinished)]
        assert [(end.round, end.outcome, end.counted) for end in ends] == [
            (1, "published", True),
            (2, "published", True),
        ]
        [agreed] = [event for event in said if isinstance(event, Agreed)]
        assert f"Strategy {strategy}: " in describe(agreed)
        assert agreed.upload_bytes == upload_size(agreed.task.most_summed, 24)
        for end in ends:
            assert end.bytes_up <= agreed.upload_bytes + agreed.beside_bytes, "no more is sent than was agreed to"
    for round, before, after, moves in zip(rounds, adapters[:-1], adapters[1:], MOVES[strategy], strict=True):
        [cohort] = round["cohorts"]
        plain = [plain_of(home, cohort["cohort"]) for home in homes]
        assert np.array_equal(load_file(cohort["sum"])["slots"], sum(slots for slots in plain if slots is not None))
        size = (A if "A" in moves else 0) + (B if "B" in moves else 0)
        assert all(slots is not None and slots.size == size + 3 for slots in plain)
        assert cohort["upload_bytes"] == upload_size(size, 16) < 0.51 * upload_size(A + B, 16) + 2**17
        for name in before:
            moved = any(f"lora_{factor}" in name for factor in moves)
            assert np.array_equal(before[name], after[name]) is not moved, name
    folders = [home / "state" / "tasks" for home in homes]
    [task] = {path.read_bytes() for folder in folders for path in folder.iterdir()}
    kept = [own(home, decode_task(task)) for home in homes]
    if strategy != "shared-a":
        assert kept == [None] * CLIENTS
        with pytest.raises(UserError, match="keeps nothing on this device"):
            write_personal(FederationState(homes[0] / "state"), None, tmp_path / "personal")
        return
    personal = homes[0] / "personal"
    run("personal", personal, "--state", homes[0] / "state", "--adapter", tmp_path / "v2")
    mine = load_file(personal / "adapter_model.safetensors")
    for name, published in adapters[2].items():
        assert np.array_equal(mine[name], published) is ("lora_A" in name)
    assert mine["base_model.model.q.lora_B.weight"].tobytes() == kept[0]
    run("personal", homes[0] / "other", "--state", homes[0] / "state")
    assert np.array_equal(
        load_file(homes[0] / "other" / "adapter_model.safetensors")["base_model.model.q.lora_A.weight"],
        adapters[1]["base_model.model.q.lora_A.weight"],
    )
    with pytest.raises(UserError, match="exists already"):
        write_personal(FederationState(homes[0] / "state"), None, personal)
    everything = b"".join(path.read_bytes() for path in server.folder.rglob("*") if path.is_file())
    for values in kept:
        assert values is not None
        assert np.std(np.frombuffer(values, "<f4")) == pytest.approx(2**0.5, rel=0.05), (
            "the second round's, on the first's"
        )
        assert all(values[place : place + 16] not in everything for place in range(0, len(values), len(values) // 64))
