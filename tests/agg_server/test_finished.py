"""A federation whose rounds are all published: its operator is told so everywhere, and what to do to go on."""

import asyncio
import json
import re
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack
from hashlib import sha256
from pathlib import Path

import pytest
from dashboard import logged_in, plain
from served import enrolled
from server_process import Said, ServerProcess, command

PEERS = 3


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One round was to be published, and is; the server runs."""
    served = ServerProcess(tmp_path_factory.mktemp("finished"), target=PEERS, rounds=1)
    served.configure("server", metrics=f"127.0.0.1:{served.port + 1}")
    served.start()

    async def run() -> None:
        async with AsyncExitStack() as stack:
            peers = await enrolled(stack, served, PEERS)
            await asyncio.gather(*(peer.whole_round() for peer in peers))

    asyncio.run(run())
    yield served
    served.stop()


def said(answer: Said) -> str:
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


def exported(server: ServerProcess, out: Path, *options: object) -> tuple[str, str]:
    """What export says, and the SHA-256 of the weights that it wrote."""
    words = said(command("export", server.folder, out, *options))
    return words, sha256((out / "adapter_model.safetensors").read_bytes()).hexdigest()


def metrics(server: ServerProcess) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port + 1}/metrics") as response:
        return response.read().decode()


def waited_for(found: str, server: ServerProcess) -> None:
    """The log says it: within a minute, since it is said after the round's end has been told to the devices."""
    end = time.monotonic() + 60
    while found not in server.log.read_text():
        assert time.monotonic() < end, server.log.read_text()
        time.sleep(0.05)


def test_the_readme_names_every_key_of_a_rounds_report(server: ServerProcess):
    readme = (Path(__file__).parents[2] / "agg_server" / "README.md").read_text()
    [row] = server.rounds()
    named = set(re.findall(r'"(\w+)":', readme.partition("## `rounds --json`")[2].partition("## In the code")[0]))
    assert named == {*row, *row["cohorts"][0], "device", "phase", "reason", "cause"}


def test_status_log_and_metrics_say_that_a_federation_has_finished(server: ServerProcess):
    waited_for("has finished: all 1 rounds are published", server)
    told = said(command("status", server.folder))
    assert "has finished: all 1 rounds are published" in told
    assert "[federation] rounds" in told
    row = json.loads(said(command("status", server.folder, "--json")))
    assert (row["finished"], row["version"], row["next_from"]) == (True, 1, 1)
    assert "fedit_finished 1.0" in metrics(server)
    assert server.stop() == 0
    before = server.log.read_text()
    server.start()
    greeting = server.log.read_text().removeprefix(before)
    assert "Adapter version 1;" in greeting
    assert "has finished: all 1 rounds are published" in greeting
    assert "[federation] rounds" in greeting
    page = metrics(server)
    assert "fedit_finished 1.0" in page
    assert "fedit_adapter_version 1.0" in page


def test_a_rollback_of_a_finished_federation_says_what_it_takes_and_export_follows_it(
    server: ServerProcess, tmp_path: Path
):
    [row] = server.rounds()
    words, weights = exported(server, tmp_path / "newest")
    assert ("version 1" in words, weights) == (True, row["adapter_after"])
    told = said(command("rollback", server.folder, 0))
    assert "has finished: all 1 rounds are published" in told
    assert "[federation] rounds" in told
    assert "next round begins from version 0" in said(command("status", server.folder))
    operator = logged_in(server)
    assert "begins from it, once [federation] rounds is raised" in re.sub(
        " +", " ", plain(operator.ask("/adapters").text)
    )
    page = plain(operator.ask("").text)
    assert "Nothing: the federation has finished" in page
    assert "the next round to open" not in page
    words, weights = exported(server, tmp_path / "gone back to")
    assert ("version 0" in words, "--version 1" in words, weights) == (True, True, row["adapter_before"])
    words, weights = exported(server, tmp_path / "rejected", "--version", 1)
    assert ("version 1" in words, weights) == (True, row["adapter_after"])

    server.stop()
    server.configure("federation", rounds=2)
    server.start()
    page = metrics(server)
    assert "fedit_finished 0.0" in page
    assert "fedit_adapter_version 0.0" in page
    row = json.loads(said(command("status", server.folder, "--json")))
    assert (row["finished"], row["version"], row["next_from"], row["round"]["round"]) == (False, 1, 0, 2)
    _, weights = exported(server, tmp_path / "under way")
    assert weights == row["round"]["adapter_before"] == server.rounds()[0]["adapter_before"]
