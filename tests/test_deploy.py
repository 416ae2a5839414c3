"""What is in deploy/ fits the commands, ports and limits that the server has."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from agg_server.cli import cli
from agg_server.config import Server
from agg_server.template import Values, render

DEPLOY = Path(__file__).parents[1] / "deploy"
UNIT = (DEPLOY / "fedit-server.service").read_text(encoding="utf-8")
DOCKERFILE = (DEPLOY / "Dockerfile").read_text(encoding="utf-8")
COMPOSE = yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8"))
SERVER = COMPOSE["services"]["server"]
PORT = Server(address="https://localhost:1").listen.rpartition(":")[2]
SPARE_FILES = 512


def settings() -> str:
    return render(Values("n", 0, "https://h:1", "0.0.0.0:1", "c", "k", True, "m", "", 3, 0))


def test_the_commands_that_are_started_exist():
    [line] = re.findall(r"^ExecStart=\S+/fedit-server (\w+) (\S+)$", UNIT, re.MULTILINE)
    [words] = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert list(line) == json.loads(words) == ["serve", "/var/lib/fedit/federation"]
    comments = "\n".join(re.findall(r"^#.*$", (DEPLOY / "compose.yaml").read_text(), re.MULTILINE))
    named = {line[0], *re.findall(r"run --rm server (\w+)", comments)}
    assert named <= set(cli.commands)
    assert len(named) == 2


def test_ports_are_the_servers_own():
    assert re.findall(r"^EXPOSE (\d+)$", DOCKERFILE, re.MULTILINE) == [PORT]
    assert f"127.0.0.1:{PORT}/readyz" in DOCKERFILE
    assert SERVER["ports"] == [f"{PORT}:{PORT}"]
    prometheus = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    [target] = prometheus["scrape_configs"][0]["static_configs"][0]["targets"]
    [suggested] = re.findall(r'^# metrics = "127\.0\.0\.1:(\d+)"$', settings(), re.MULTILINE)
    assert target == f"server:{suggested}"
    assert prometheus["rule_files"] == ["alerts.yml"]


def test_there_are_open_files_for_all_connections():
    wanted = Server(address="https://localhost:1").connections + SPARE_FILES
    [unit] = re.findall(r"^LimitNOFILE=(\d+)$", UNIT, re.MULTILINE)
    assert int(unit) >= wanted
    assert SERVER["ulimits"]["nofile"] >= wanted


def test_nothing_in_a_container_runs_as_root_or_with_more_than_it_needs():
    assert re.search(r"^USER 10001$", DOCKERFILE, re.MULTILINE)
    assert (SERVER["read_only"], SERVER["cap_drop"]) == (True, ["ALL"])
    assert SERVER["security_opt"] == ["no-new-privileges:true"]
    assert "--only-binary=:all:" in DOCKERFILE, "nothing is built from what PyPI sends"
    assert not re.search(r'pip \w+ [^\n]*"?(?<![/\w])(agg-server|fedit-shared)', DOCKERFILE), (
        "no name that may be anybody's"
    )


def test_files_that_compose_mounts_and_the_image_copies_are_there():
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            if source.startswith("./"):
                assert (DEPLOY / source).is_file(), source
    for sources in re.findall(r"^COPY (?!--)(.*) \S+$", DOCKERFILE, re.MULTILINE):
        for source in sources.split():
            assert (DEPLOY.parent / source).exists(), source


def run(*words: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in words], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian: prometheus) is not installed")
def test_prometheus_reads_its_configuration_and_the_alerts(tmp_path: Path):
    for file in ("prometheus.yml", "alerts.yml"):
        shutil.copy(DEPLOY / file, tmp_path)
    checked = run("promtool", "check", "config", tmp_path / "prometheus.yml")
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_reads_the_unit_and_finds_it_hardened(tmp_path: Path):
    unit = tmp_path / "fedit-server.service"
    unit.write_text(UNIT.replace("/opt/fedit/bin/fedit-server", sys.executable))
    checked = run("systemd-analyze", "verify", "--man=no", unit)
    assert (checked.returncode, checked.stderr) == (0, "")
    rated = run("systemd-analyze", "security", "--offline=yes", "--threshold=20", unit)
    assert rated.returncode == 0, rated.stdout
