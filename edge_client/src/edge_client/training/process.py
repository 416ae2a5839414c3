"""The parent's end of a child process: start, send, receive, stop."""

import asyncio
import os
import sys
from collections import deque

from edge_client.hardware import card_environment

from . import frames
from .footprint import MAPPED

GRACE = 120.0
"""Seconds that a child has for the piece that it is at, which a large model may take a minute for, and to save what it
has. Whoever stops the client must leave it as much."""
STDERR_LINES = 30
_LINE_BYTES = 400


class Child:
    """``python -m MODULE`` with frames over its pipes; use as ``async with await Child.start(MODULE) as child``.

    Leaving the block stops the child however it is left: its stdin is closed, which asks it to save what it has and
    go; one that is still there after ``grace`` seconds is killed. A child whose parent died sees the same closed
    stdin, so none is left behind.
    """

    def __init__(self, process: asyncio.subprocess.Process, grace: float) -> None:
        self._process = process
        self._grace = grace
        self._stderr: deque[str] = deque(maxlen=STDERR_LINES)
        self._drain = asyncio.create_task(self._read_stderr())

    @classmethod
    async def start(cls, module: str, *, threads: int | None = None, grace: float = GRACE) -> "Child":
        """Start the child; ``threads`` limits the CPU threads of every library in it. Of several cards it sees the one
        that plans are made for."""
        environment = _environment(threads) | await asyncio.to_thread(card_environment)
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",  # else -m would import from the current folder first: whatever lies in somebody's Downloads
            "-m",
            module,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
        return cls(process, grace)

    @property
    def pid(self) -> int:
        """The child's process id."""
        return self._process.pid

    async def __aenter__(self) -> "Child":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def send(self, message: object) -> None:
        """Send one frame. A child that is gone is noticed by :meth:`receive`, not here."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(frames.frame(message))
            await stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            pass

    async def receive(self) -> bytes | None:
        """The next frame's body; None once the child has closed its end."""
        stdout = self._process.stdout
        assert stdout is not None
        try:
            return await stdout.readexactly(frames.length(await stdout.readexactly(4)))
        except asyncio.IncompleteReadError:
            return None

    async def ended(self) -> tuple[int, str]:
        """Wait for the child's end: its exit status (negative: the signal) and the last lines of its stderr."""
        status = await self._process.wait()
        await self._drain
        return status, "\n".join(self._stderr)

    async def stop(self) -> None:
        """Ask the child to go, and see to it that it does. Safe to call again."""
        stdin = self._process.stdin
        assert stdin is not None
        stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), self._grace)
        except TimeoutError:
            self._kill()
            await self._process.wait()
        except asyncio.CancelledError:
            self._kill()
            raise
        finally:
            self._drain.cancel()

    def _kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()

    async def _read_stderr(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        rest = b""
        while chunk := await stderr.read(4096):
            *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
            rest = rest[-_LINE_BYTES:]
            self._stderr.extend(_clean(line) for line in lines if line.strip())
        if rest.strip():
            self._stderr.append(_clean(rest))


def _clean(line: bytes) -> str:
    return line[:_LINE_BYTES].decode("utf-8", "replace").rstrip()


def _environment(threads: int | None) -> dict[str, str]:
    environment = os.environ | {
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # Threads that spin while they wait halve the speed as soon as anything else runs on the machine.
        "OMP_WAIT_POLICY": "PASSIVE",
        # glibc hands back a freed tensor at once if it came from mmap; kept in the heap, it would count as used.
        "MALLOC_MMAP_THRESHOLD_": str(MAPPED),
        # What malloc's caches hold of a tensor's edges keeps its neighbours apart: 100 MB of holes after one step.
        "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.mxfast=0",
        "MALLOC_ARENA_MAX": "1",
        # oneDNN keeps 13 MB of compiled kernels for every length of a batch; with fewer it is as fast.
        "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
        "PYTHONHASHSEED": "0",  # PEFT keeps target modules in a set: its order must not vary from run to run
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_VERBOSITY": "error",
    }
    if threads is not None:
        environment |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
    return environment
