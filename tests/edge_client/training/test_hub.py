"""A model comes from the hub once, after its size was said, and not at all onto a disk that has no room for it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hub import COMMIT, PLAIN_AGENT, Hub, serving

SCRIPT = """
import sys
from fedit_shared.errors import FeditError
from edge_client.training.model_files import find_model
from fedit_shared.messages import ModelRef
try:
    path = find_model(ModelRef(id=sys.argv[1]), None, lambda here, total: print(here, total))
except FeditError as error:
    print(error.exit_code, error.message)
else:
    print(path.name, *sorted(file.name for file in path.iterdir()))
"""


def find(hub: Hub, cache: Path, name: str = "someone/tiny") -> list[str]:
    """What a process of its own says, since the hub's library reads its settings when it is imported."""
    return run(SCRIPT, hub, cache, name)


def run(script: str, hub: Hub, cache: Path, name: str) -> list[str]:
    environment = os.environ | {"HF_ENDPOINT": hub.url, "HF_HOME": str(cache), "HF_HUB_DISABLE_TELEMETRY": "0"}
    done = subprocess.run(
        [sys.executable, "-c", script, name], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_model_is_fetched_once_and_its_size_is_said_first(model_folder: Path, tmp_path: Path) -> None:
    names = sorted(path.name for path in model_folder.iterdir())
    total = sum(path.stat().st_size for path in model_folder.iterdir())
    with serving(Hub("someone/tiny", model_folder)) as hub:
        said = find(hub, tmp_path)
        assert said[0] == f"0 {total}"
        assert said[-1].split() == [COMMIT, *names]
        assert sorted(hub.fetched) == names
        assert find(hub, tmp_path) == said[-1:]
        assert sorted(hub.fetched) == names
    assert find(hub, tmp_path) == said[-1:], "what is in the cache does without the hub"


def test_a_model_that_the_disk_has_no_room_for_is_not_begun(model_folder: Path, tmp_path: Path) -> None:
    with serving(Hub("someone/tiny", model_folder)) as hub:
        hub.sizes["model.safetensors"] = 2**50
        (said,) = find(hub, tmp_path)
    assert said.startswith("2 The model someone/tiny has 1048576.0 GiB to download")
    assert hub.fetched == []


@pytest.mark.parametrize("name", ["someone/else", "nothing"])
def test_a_model_that_the_hub_does_not_have_is_told(name: str, model_folder: Path, tmp_path: Path) -> None:
    with serving(Hub("someone/tiny", model_folder)) as hub:
        (said,) = find(hub, tmp_path, name)
    assert said == f"2 There is no model {name} on the Hugging Face hub."


@pytest.mark.parametrize("broken", ["line", "hub", "file"])
def test_a_hub_that_cannot_be_reached_is_what_may_pass(broken: str, model_folder: Path, tmp_path: Path) -> None:
    hub = Hub("someone/tiny", model_folder)
    with serving(hub):
        hub.broken = broken
        if broken == "line":
            hub.url = "http://127.0.0.1:9"  # nobody listens there
        *_, said = find(hub, tmp_path)
        assert said.startswith("3 The model someone/tiny is not in the local cache and could not be fetched: ")


EVERYTHING = f"""
import sys
import huggingface_hub.constants
from edge_client.training.config_source import find_config
from edge_client.training.model_files import find_model
from edge_client.training.tokenizer import load_tokenizer
from fedit_shared.messages import ModelRef
load_tokenizer(sys.argv[1])
find_config(sys.argv[1], {COMMIT!r})
print("config.json")
find_model(ModelRef(id=sys.argv[1]), None, lambda here, total: None)
"""


def test_the_hub_is_told_nothing_that_a_download_does_not_need(model_folder: Path, tmp_path: Path) -> None:
    """In whatever process, and whatever was imported before: which libraries are here, and in which session they are
    used, is nobody's business."""
    with serving(Hub("someone/tiny", model_folder)) as hub:
        assert run(EVERYTHING, hub, tmp_path, "someone/tiny") == ["config.json"]
        assert {"tokenizer.json", "config.json", "model.safetensors"} <= set(hub.fetched)
        assert [name for name in hub.fetched if name == "model.safetensors"] == hub.fetched[-1:], "no other was wanted"
        assert hub.agents
        for agent in hub.agents:
            assert re.fullmatch(PLAIN_AGENT, agent)
