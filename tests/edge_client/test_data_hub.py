"""A data set of the hub is fetched once, its size said first, stays the commit that it was, and is never guessed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hub import COMMIT, PLAIN_AGENT, Hub, serving

from edge_client.cli import main
from edge_client.data import DataSource, load_records, located
from fedit_shared.errors import UserError
from fedit_shared.identity import JoinLink

SCRIPT = """
import sys
from edge_client.data import DataSource, load_records, pin
from fedit_shared.errors import UserError
try:
    source = pin(DataSource(path=sys.argv[1]), lambda here, total: print(here, total))
    print(source.path)
    print(*(record.response for record in load_records(source).records))
except UserError as error:
    print(error)
"""
NAME = "hf:someone/records"


def pinned(hub: Hub, cache: Path, name: str) -> list[str]:
    """What a process of its own says, since the hub's library reads its settings when it is imported."""
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, name], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def repository(folder: Path, *names: str) -> Hub:
    """A data set whose file number n has one record with the response n."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"instruction": "Count", "response": str(number)}) + "\n")
    return Hub("someone/records", folder, "datasets")


def test_it_is_fetched_once_pinned_and_read_without_the_hub_afterwards(tmp_path: Path) -> None:
    with serving(repository(tmp_path / "hub", "records.jsonl", "README.md")) as hub:
        size = (tmp_path / "hub/records.jsonl").stat().st_size
        said = pinned(hub, tmp_path / "cache", NAME)
        assert said[0] == f"0 {size}"
        assert said[-2:] == [f"{NAME}@{COMMIT}:records.jsonl", "0"]
        assert hub.fetched == ["records.jsonl"]
        assert all(re.fullmatch(PLAIN_AGENT, agent) for agent in hub.agents), "what else is here is not told"
    assert pinned(hub, tmp_path / "cache", said[-2]) == said[-2:]
    assert "without a network" in " ".join(pinned(hub, tmp_path / "empty", NAME))


@pytest.mark.parametrize(
    ("names", "name", "taken"),
    [
        (["data/test.csv.jsonl", "data/train-00000-of-00002.jsonl", "data/train-00001-of-00002.jsonl"], NAME, "1 2"),
        (["dataset_infos.json", "only.jsonl", ".hidden.jsonl"], NAME, "1"),
        (["a/0000.jsonl", "a/0001.jsonl"], NAME, "0 1"),
        (["a.jsonl", "b.jsonl"], f"{NAME}:b.jsonl", "1"),
        (["a.jsonl", "b.jsonl"], f"{NAME}:*.jsonl", "0 1"),
        (["a.jsonl", "b.jsonl"], f"{NAME}@{COMMIT}:a.jsonl", "0"),
    ],
)
def test_the_training_split_is_taken_or_what_is_named(tmp_path: Path, names: list[str], name: str, taken: str) -> None:
    with serving(repository(tmp_path / "hub", *names)) as hub:
        assert pinned(hub, tmp_path / "cache", name)[-1] == taken


@pytest.mark.parametrize(
    ("names", "name", "says"),
    [
        (["a.jsonl", "b.jsonl"], NAME, "several sets of files: a.jsonl, b.jsonl"),
        (["en/train.jsonl", "de/train.jsonl"], NAME, "several sets of files"),
        (["README.md", "loader.py"], NAME, "no such file"),
        (["a.jsonl"], f"{NAME}:b*", "no such file"),
        (["a.jsonl"], "hf:someone/else", "There is no data set someone/else on the Hugging Face hub"),
    ],
)
def test_what_is_unclear_or_missing_is_told(tmp_path: Path, names: list[str], name: str, says: str) -> None:
    with serving(repository(tmp_path / "hub", *names)) as hub:
        said = pinned(hub, tmp_path / "cache", name)
        assert says in said[-1]
        assert hub.fetched == []


def test_one_that_the_disk_has_no_room_for_is_not_begun(tmp_path: Path) -> None:
    with serving(repository(tmp_path / "hub", "records.jsonl")) as hub:
        hub.sizes["records.jsonl"] = 2**50
        (said,) = pinned(hub, tmp_path / "cache", NAME)
        assert said.startswith("The data set someone/records")
        assert "has 1048576.0 GiB to download" in said
        assert hub.fetched == []


@pytest.mark.parametrize("name", ["hf:", "hf:one", "hf:a/b/c", "hf:a/b@", "hf:a/b c", "hf:a/b:"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(UserError, match="names no data set") as caught:
        load_records(DataSource(path=name))
    assert "hf:OWNER/NAME" in caught.value.advice


def test_joining_with_such_a_name_ends_before_anything_is_sent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = str(JoinLink("https://127.0.0.1:9", b"f" * 32, b"t" * 16, b"p" * 32))
    with pytest.raises(SystemExit) as end:
        main(["join", link, "--data", "hf:one", "--state", str(tmp_path / "state")])
    assert end.value.code == 2
    assert "'hf:one' names no data set" in capsys.readouterr().err
    assert not (tmp_path / "state").exists()


def test_a_hubs_name_is_kept_as_it_is_and_a_files_from_the_root_on(tmp_path: Path) -> None:
    assert located(NAME) == NAME
    assert located("records.jsonl") == str(Path("records.jsonl").absolute())
