"""What a release hands to people: three wheels and a front door, and a server that runs without torch."""

import os
import re
import shutil
import ssl
import subprocess
import sys
import time
import tomllib
import urllib.request
import venv
import zipfile
from pathlib import Path
from typing import Any

import build
import build.util
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from server_process import make_adapter

import agg_server
import edge_client
import fedit_shared
from benchmarks.ports import free_port
from release.links import absolute
from release.lock import EXTRAS
from release.stage import stage
from release.version import MODULES, PROJECTS, set_version

ROOT = Path(__file__).parents[1]
MEMBERS = ("shared", "edge_client", "agg_server")
TRAINING = ("torch", "transformers", "peft", "bitsandbytes", "accelerate")


def _project(folder: Path) -> dict[str, Any]:
    project: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return project


def _run(*command: str | Path) -> str:
    """The command's standard output; no package of this checkout can be reached from it."""
    env = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=env, cwd="/", check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Member, and the front door → its wheel, built as `make dist` does, by way of its source distribution, so that
    this is complete too."""
    out = tmp_path_factory.mktemp("dist")
    folders = {folder.name: folder for folder in stage(out / "staged").values()}
    for name, folder in folders.items():
        _run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out / name, folder)
    return {name: next((out / name).glob("*.whl")) for name in folders}


@pytest.fixture(scope="module")
def server(wheels: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs' folder of an empty environment into which only the server's two wheels went."""
    home = tmp_path_factory.mktemp("server")
    venv.create(home, with_pip=True)
    programs = home / ("Scripts" if os.name == "nt" else "bin")
    constraints = ROOT / "constraints.txt"
    _run(programs / "python", "-m", "pip", "install", "-c", constraints, wheels["shared"], wheels["agg_server"])
    return programs


def test_every_wheel_says_that_it_is_typed_and_carries_no_tests(wheels: dict[str, Path]) -> None:
    for member in MEMBERS:
        wheel = wheels[member]
        package = "fedit_shared" if member == "shared" else member
        names = zipfile.ZipFile(wheel).namelist()
        assert f"{package}/py.typed" in names
        assert {name.split("/")[0] for name in names} <= {package, wheel.name.rsplit("-", 3)[0] + ".dist-info"}
        assert not [name for name in names if "/tests/" in name or Path(name).name.startswith(("test_", "conftest"))]


def test_the_server_starts_where_torch_was_never_installed(server: Path, tmp_path: Path) -> None:
    assert _project(ROOT)["version"] in _run(server / "fedit-server", "--version")
    assert "learns sums" in _run(server / "fedit-server", "--help").replace("\n  ", " ")
    found = "import importlib.util as u, sys; print([n for n in sys.argv[1:] if u.find_spec(n)])"
    assert _run(server / "python", "-I", "-c", found, *TRAINING).strip() == "[]"

    address = f"127.0.0.1:{free_port()}"
    adapter = make_adapter(tmp_path / "adapter")
    where = ("--address", f"https://{address}", "--listen", address)
    _run(server / "fedit-server", "init", tmp_path / "federation", "--adapter", adapter, "--model", "tiny", *where)
    unchecked = ssl.create_default_context()
    unchecked.check_hostname, unchecked.verify_mode = False, ssl.CERT_NONE
    command = [server / "fedit-server", "serve", tmp_path / "federation"]
    with subprocess.Popen(command, cwd="/", stderr=subprocess.PIPE, text=True) as process:
        try:
            assert _answer(f"https://{address}/healthz", unchecked, process) == "ok\n"
        finally:
            process.terminate()
        assert process.wait(60) == 0


def _answer(url: str, context: ssl.SSLContext, process: subprocess.Popen[str]) -> str:
    end = time.monotonic() + 120
    while True:
        try:
            with urllib.request.urlopen(url, context=context, timeout=10) as answer:
                return str(answer.read().decode())
        except OSError:
            assert process.poll() is None, process.stderr.read() if process.stderr else ""
            assert time.monotonic() < end, "the server never answered"
            time.sleep(0.2)


def test_there_is_one_version() -> None:
    version = _project(ROOT)["version"]
    assert {_project(ROOT / member)["version"] for member in MEMBERS} == {version}
    for member in ("edge_client", "agg_server"):
        assert f"fedit-shared=={version}" in _project(ROOT / member)["dependencies"]
    assert {package.__version__ for package in (fedit_shared, edge_client, agg_server)} == {version}


def test_a_version_is_set_everywhere_or_refused(tmp_path: Path) -> None:
    for name in (*PROJECTS, *MODULES):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    with pytest.raises(SystemExit, match=r"write 1\.2rc1"):
        set_version(tmp_path, "1.2-rc1")
    old = _project(ROOT)["version"]
    for name in set_version(tmp_path, "1.2.3"):
        text = (tmp_path / name).read_text()
        assert old not in text
        assert text.count("1.2.3") == (ROOT / name).read_text().count(old) > 0


def test_every_wheel_carries_its_licence(wheels: dict[str, Path]) -> None:
    for wheel in wheels.values():
        [licence] = [name for name in zipfile.ZipFile(wheel).namelist() if name.endswith("/licenses/LICENSE")]
        assert zipfile.ZipFile(wheel).read(licence) == (ROOT / "LICENSE").read_bytes()


def test_the_released_front_door_names_versions_and_no_places(wheels: dict[str, Path]) -> None:
    wheel = zipfile.ZipFile(wheels["fedit"])
    [metadata] = [name for name in wheel.namelist() if name.endswith("/METADATA")]
    asked = {
        line.partition(": ")[2] for line in wheel.read(metadata).decode().splitlines() if line[:13] == "Requires-Dist"
    }
    version = _project(ROOT)["version"]
    assert asked == {
        f"fedit-shared=={version}",
        f"edge-client=={version}",
        f"agg-server=={version}; extra == 'server'",
    }


def test_what_pypi_shows_has_no_link_that_leads_nowhere_there(wheels: dict[str, Path]) -> None:
    for wheel in wheels.values():
        told = zipfile.ZipFile(wheel)
        [metadata] = [name for name in told.namelist() if name.endswith("/METADATA")]
        targets = re.findall(r"\]\(([^)\s]+)\)", told.read(metadata).decode())
        assert [target for target in targets if not target.startswith(("https://", "#"))] == []


def test_links_of_a_release_lead_to_that_version_in_the_repository() -> None:
    text = "[![a](../docs/img/round.svg)](../docs/img/round.svg), [b](README.md#here), [c](https://x.y), [d](#e)"
    at = "https://host/o/fedit"
    assert absolute(text, "shared/README.md", "1.2.3", at) == (
        f"[![a]({at}/raw/v1.2.3/docs/img/round.svg)]({at}/blob/v1.2.3/docs/img/round.svg), "
        f"[b]({at}/blob/v1.2.3/shared/README.md#here), [c](https://x.y), [d](#e)"
    )
    assert absolute(text, "shared/README.md", "1.2.3", "") == ", b, [c](https://x.y), [d](#e)"


def test_a_version_is_released_from_a_repository_with_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("release.stage.project", lambda folder: _project(folder) | {"version": "1.2.3"})
    monkeypatch.setattr("release.stage.repository", lambda: "")
    with pytest.raises(SystemExit, match=r"\[tool.fedit\] repository"):
        stage(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    monkeypatch.setattr("release.stage.repository", lambda: "https://host/o/fedit")
    for folder in stage(tmp_path / "some").values():
        assert _project(folder)["urls"]["Source"] == "https://host/o/fedit"


def test_every_extra_that_an_operator_is_told_of_is_locked() -> None:
    extras = _project(ROOT / "agg_server")["optional-dependencies"]
    assert set(EXTRAS["operator"]) == set(extras)


def test_a_change_is_told_in_a_file_that_the_changelog_takes() -> None:
    types = {
        kind["directory"] for kind in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]["type"]
    }
    for path in (ROOT / "changes").iterdir():
        assert path.name == "README.md" or path.name.split(".")[1:] in [[kind, "md"] for kind in types], path.name
        assert path.read_text().strip()
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]["start_string"] in (
        log := (ROOT / "CHANGELOG.md").read_text()
    )
    assert "## Unreleased" not in log, "what is not released is told in changes/ alone"


def test_the_front_door_leads_to_the_client_and_only_by_extra_to_the_server() -> None:
    metadata = build.util.project_wheel_metadata(ROOT, isolated=False)
    requirements = [Requirement(text) for text in metadata.get_all("Requires-Dist") or []]
    plain = {r.name for r in requirements if r.marker is None}
    with_server = {r.name for r in requirements if r.marker is None or r.marker.evaluate({"extra": "server"})}
    assert plain == {"fedit-shared", "edge-client"}
    assert with_server == {"fedit-shared", "edge-client", "agg-server"}


def test_every_dependency_is_pinned_to_a_version_that_its_range_admits() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = {canonicalize_name(name): pin for name, _, pin in (x.partition("==") for x in lines if "==" in x)}
    own = {canonicalize_name(_project(ROOT / member)["name"]) for member in MEMBERS}
    declared = [text for member in MEMBERS for text in _project(ROOT / member)["dependencies"]]
    declared += [
        text for extra in ("dev", "docs", "release") for text in _project(ROOT)["optional-dependencies"][extra]
    ]
    declared += [text for extra in _project(ROOT / "agg_server")["optional-dependencies"].values() for text in extra]
    for requirement in map(Requirement, (text for text in declared if "{root:uri}" not in text)):
        name = canonicalize_name(requirement.name)
        if name not in own:
            assert requirement.specifier.contains(pins[name], prereleases=True), requirement
