"""A real `fedit-server` process in a folder of its own, driven as an operator drives it."""

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from copy import copy
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

import numpy as np

from agg_server.cli import main
from benchmarks.demo.server import set_values
from benchmarks.ports import free_port
from fedit_shared.adapter import CONFIG_NAME, FILE_NAME, write_adapter
from fedit_shared.identity import JoinLink
from fedit_shared.messages import TensorSpec

SHAPES = {"base_model.model.q.lora_A.weight": (8, 96), "base_model.model.q.lora_B.weight": (96, 8)}


def make_adapter(folder: Path, *, scale: int = 1) -> Path:
    """A PEFT folder with two tensors; ``scale`` makes them larger."""
    tensors = [TensorSpec(name=name, shape=(rows, scale * columns)) for name, (rows, columns) in SHAPES.items()]
    size = sum(int(np.prod(tensor.shape)) for tensor in tensors)
    vector = np.random.default_rng(1).normal(0, 0.02, size).astype(np.float32)
    folder.mkdir(parents=True)
    (folder / CONFIG_NAME).write_text(json.dumps({"peft_type": "LORA", "r": 8, "base_model_name_or_path": "tiny"}))
    (folder / FILE_NAME).write_bytes(write_adapter(tensors, vector))
    return folder


class Said(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


def command(*arguments: object) -> Said:
    """`fedit-server` with these arguments, to its end: its own entry, in this process, which has imported it before."""
    line = ["fedit-server", *(str(argument) for argument in arguments)]
    mask = os.umask(0o077)
    os.umask(mask)
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as error, patch.object(sys, "argv", line):
        try:
            main()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            os.umask(mask)
    return Said(status, out.getvalue(), error.getvalue())


def process(*arguments: object) -> Said:
    """As :func:`command`, in a process of its own."""
    line = [sys.executable, "-m", "agg_server", *(str(argument) for argument in arguments)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
    return Said(done.returncode, done.stdout, done.stderr)


WINDOW = "100s"


class ServerProcess:
    """One federation's folder and, between ``start`` and ``stop`` or ``kill``, the process that serves it.

    ``program``: the module that is run instead of the server's own; ``environment``: what it is told besides.
    ``clock``: it goes by a clock that :meth:`shift_clock` sets, so that nobody has to wait for a window to end.
    ``metrics``: the port on which it shows them, if it is told so besides the settings.
    """

    metrics = 0

    def __init__(
        self,
        root: Path,
        *,
        scale: int = 1,
        rounds: int = 0,
        target: int = 0,
        adapter: Path | None = None,
        model: str = "tiny",
        database: str = "",
        blobs: str = "",
        clock: bool = False,
        **rules: object,
    ) -> None:
        self.folder = root / "federation"
        self.port = free_port()
        self.log = root / "server.log"
        self.program = "agg_server"
        self.environment: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None
        if clock:
            self.program, self.environment = "shifted_clock", {"FEDIT_CLOCK": str(root / "clock")}
            self.shift_clock(0)
        made = command(
            *("init", self.folder, "--adapter", adapter or make_adapter(root / "adapter", scale=scale)),
            *("--model", model),
            *("--address", f"https://127.0.0.1:{self.port}", "--listen", f"127.0.0.1:{self.port}"),
            *("--cohort-target", target, "--rounds", rounds, "--database", database, "--blobs", blobs),
        )
        assert made.returncode == 0, made.stderr
        quick = {"answer_grace": "5s", "muster_window": "10min" if target else "1s"}
        set_values(self.folder / "federation.toml", quick | rules, section="round")
        set_values(self.folder / "federation.toml", {"steps": 3}, section="training")

    @classmethod
    def adopt(cls, folder: Path, port: int) -> "ServerProcess":
        """For a folder that is there already, and whose settings name this port."""
        server = cls.__new__(cls)
        server.folder, server.port, server._process = folder, port, None
        server.program, server.environment = "agg_server", {}
        server.log = folder.with_name(f"{folder.name}.log")
        return server

    def configure(self, section: str, **values: object) -> None:
        set_values(self.folder / "federation.toml", values, section=section)

    def shift_clock(self, seconds: int) -> None:
        """From now on it is so far ahead of the machine's clock. Never half written: it is read all the time."""
        file = Path(self.environment["FEDIT_CLOCK"])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.with_suffix(".new").write_text(str(seconds))
        file.with_suffix(".new").replace(file)

    async def window_over(self, dealt: int) -> None:
        """Wait until so many of the newest round's devices have dealt; then WINDOW has passed, by the server's clock.
        Requests are still good: its clock is off by less than they may be old."""
        end = time.monotonic() + 240
        while [len(cohort["dealt"]) for cohort in (await asyncio.to_thread(self.rounds))[-1]["cohorts"]] != [dealt]:
            assert time.monotonic() < end, f"{dealt} devices do not deal"
            await asyncio.sleep(0.1)
        self.shift_clock(101)

    def start(self) -> None:
        """Serve; returns when it is ready."""
        self.launch()
        self.wait_until_ready()

    def launch(self) -> None:
        """Serve; returns at once."""
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | self.environment
        line = [sys.executable, "-m", self.program, "serve", str(self.folder), "--listen", f"127.0.0.1:{self.port}"]
        if self.metrics:
            line += ["--metrics", f"127.0.0.1:{self.metrics}"]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                line,
                stdout=log,
                stderr=log,
                env=environment,
            )

    def wait_until_ready(self) -> None:
        """Return once it serves."""
        assert self._process is not None
        end = time.monotonic() + 240
        while not self.is_ready():
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, "the server did not open its port"
            time.sleep(0.05)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """SIGKILL: nothing is tidied up."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None

    def stop(self) -> int:
        """SIGTERM, and its exit status."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(60)
        self._process = None
        return status

    async def restart(self) -> None:
        """SIGKILL and a new start."""
        await asyncio.to_thread(self.kill)
        await asyncio.to_thread(self.start)

    def invite(self, *options: object) -> list[JoinLink]:
        made = command("invite", self.folder, *options)
        assert made.returncode == 0, made.stderr
        return [JoinLink.parse(line) for line in made.stdout.split()]

    def rounds(self) -> list[dict[str, Any]]:
        made = command("rounds", self.folder, "--json")
        assert made.returncode == 0, made.stderr
        rounds: list[dict[str, Any]] = json.loads(made.stdout)
        return rounds

    def replica(self) -> "ServerProcess":
        """Another process that is to serve the same folder, on a port of its own."""
        other = copy(self)
        other.port, other.log, other._process = free_port(), self.log.with_name(f"server-{free_port()}.log"), None
        return other

    def is_ready(self) -> bool:
        """What /readyz says; False if nothing answers."""
        return self.answers("/readyz")

    def answers(self, path: str) -> bool:
        """Whether it has 200 for this page."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        try:
            with (
                socket.create_connection(("127.0.0.1", self.port), 10) as plain,
                context.wrap_socket(plain) as line,
            ):
                line.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
                return b" 200 " in line.recv(64)
        except OSError:
            return False
