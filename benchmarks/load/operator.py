"""``fedit-server`` as an operator runs it, in a process of its own, and what can be read of it from outside."""

import json
import math
import os
import re
import subprocess
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.demo.server import FEDIT_SERVER, set_values
from benchmarks.ports import free_port
from benchmarks.resident import status_bytes
from fedit_shared.adapter import CONFIG_NAME, FILE_NAME, write_adapter
from fedit_shared.errors import FeditError
from fedit_shared.identity import JoinLink
from fedit_shared.messages import TensorSpec

from .scenario import Scenario

_RANK = 8
_LINE = re.compile(r"(?P<name>\w+)(?:{(?P<labels>[^}]*)})? (?P<value>\S+)")


class Operator:
    """One federation in ``folder``, which is made, and its process between :meth:`start` and :meth:`stop`."""

    def __init__(self, folder: Path, scenario: Scenario) -> None:
        self._folder = folder / "federation"
        self._log = folder / "server.log"
        self._metrics = f"127.0.0.1:{free_port()}"
        self._process: subprocess.Popen[bytes] | None = None
        address = f"127.0.0.1:{free_port()}"
        adapter = _make_adapter(folder / "adapter", scenario.dimension)
        self._command("init", "--adapter", str(adapter), "--model", "load", "--address", f"https://{address}",
                      "--listen", address, "--cohort-target", str(scenario.devices),
                      "--rounds", str(scenario.rounds))  # fmt: skip
        file = self._folder / "federation.toml"
        crowded: dict[str, object] = {
            "unsigned_requests": 10**6,
            "connections": 16 * scenario.devices + 16,
        }  # all come from one address
        set_values(file, {"metrics": self._metrics} | crowded, section="server")
        windows = {"muster_window": "1h", "contribute_window": f"{scenario.contribute_window}s", "answer_grace": "5s"}
        set_values(file, windows | {"cohort_max": scenario.cohort_max}, section="round")
        set_values(file, {"steps": 1, "learning_rate": 1e-3}, section="training")

    @property
    def pid(self) -> int:
        """Of the process that serves."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Serve; returns once metrics are to be had, which is after the port is open."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([*FEDIT_SERVER, "serve", str(self._folder)], stdout=log, stderr=log)
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if self._process.poll() is not None:
                raise FeditError(f"fedit-server ended: {self._log.read_text()[-2000:]}")
            try:
                self.metrics()
            except OSError:
                time.sleep(0.1)
            else:
                return
        raise FeditError("fedit-server did not open its port within two minutes.", advice=f"See {self._log}.")

    def stop(self) -> None:
        """SIGTERM, and wait."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(120)

    def invite(self, uses: int) -> JoinLink:
        """A link for so many devices."""
        return JoinLink.parse(self._command("invite", "--uses", str(uses)).strip())

    def rounds(self) -> list[dict[str, Any]]:
        """As ``fedit-server rounds --json`` tells them."""
        found: list[dict[str, Any]] = json.loads(self._command("rounds", "--json"))
        return found

    def metrics(self) -> dict[str, float]:
        """Each sample of /metrics by its name and labels, as they stand there."""
        with urllib.request.urlopen(f"http://{self._metrics}/metrics", timeout=60) as page:
            found = (_LINE.fullmatch(line) for line in page.read().decode().splitlines())
        return {
            line["name"] + (f"{{{line['labels']}}}" if line["labels"] else ""): float(line["value"])
            for line in found
            if line is not None
        }

    def forget_peak(self) -> None:
        """:meth:`peak_bytes` counts from now on."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def peak_bytes(self) -> int:
        """The most resident memory that the process has had."""
        return status_bytes("VmHWM", self.pid)

    def cpu_seconds(self) -> float:
        """Of the process, all threads."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _command(self, verb: str, *options: str) -> str:
        done = subprocess.run(
            [*FEDIT_SERVER, verb, str(self._folder), *options], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise FeditError(f"fedit-server {verb} failed: {done.stderr.strip()}")
        return done.stdout


def total(samples: Mapping[str, float], name: str) -> float:
    """The sum of a metric's samples over all labels."""
    return sum(value for key, value in samples.items() if key.partition("{")[0] == name)


def quantile(before: Mapping[str, float], after: Mapping[str, float], name: str, share: float) -> float:
    """Below which ``share`` of a histogram's observations between two readings lie: the upper border of a bucket."""
    borders = sorted(
        (float(key.partition('le="')[2].partition('"')[0]), value - before.get(key, 0.0))
        for key, value in after.items()
        if key.startswith(f"{name}_bucket")
    )
    count = borders[-1][1] if borders else 0.0
    return next((border for border, seen in borders if count and seen >= share * count), math.nan)


def _make_adapter(folder: Path, dimension: int) -> Path:
    """A PEFT folder of one layer whose two factors have ``dimension`` values together."""
    side = dimension // (2 * _RANK)
    shapes = {"lora_A": (_RANK, side), "lora_B": (side, _RANK)}
    tensors = [TensorSpec(name=f"base_model.model.q.{name}.weight", shape=shape) for name, shape in shapes.items()]
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "r": _RANK, "base_model_name_or_path": "load"}
    (folder / CONFIG_NAME).write_text(json.dumps(config), encoding="utf-8")
    (folder / FILE_NAME).write_bytes(write_adapter(tensors, np.zeros(2 * _RANK * side, np.float32)))
    return folder
