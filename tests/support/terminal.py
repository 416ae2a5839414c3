"""A program on a terminal of its own (a pty), as a person would sit before it. Linux and macOS."""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

CLIENT = [
    *(sys.executable, "-c"),
    # A test run in the background of a script was started with SIGINT ignored, and would hand that on.
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from edge_client.cli import main; main()",
]
PATIENCE = 120.0


class Terminal:
    """``fedit-client`` (or another ``program``) with these arguments on a terminal of this size. A context manager:
    nothing outlives it. ``patience``: seconds that each wait may take. ``environment``: instead of this one's."""

    def __init__(
        self,
        *arguments: object,
        columns: int = 80,
        rows: int = 24,
        home: Path | None = None,
        program: Sequence[str] = CLIENT,
        folder: Path | None = None,
        environment: Mapping[str, str] = os.environ,
        patience: float = PATIENCE,
    ) -> None:
        self._own, theirs = pty.openpty()
        self._patience = patience
        self.said, self.here = "", 0
        self.resize(columns, rows)
        own = {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        own |= {"TERM": "xterm-256color"} | ({"HOME": str(home)} if home else {})
        self._process = subprocess.Popen(
            [*program, *(str(argument) for argument in arguments)],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=own,
            cwd=folder,
            start_new_session=True,
            preexec_fn=_take_terminal,
        )
        os.close(theirs)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._own)

    def resize(self, columns: int, rows: int) -> None:
        """As dragging the window does: the kernel tells the program."""
        fcntl.ioctl(self._own, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        """Press these keys; ``\\x03`` is Ctrl-C."""
        os.write(self._own, keys.encode())

    def until(self, text: str, after: int = 0) -> str:
        """Everything said by the time that ``text`` has been, at or after the position ``after``."""
        end = time.monotonic() + self._patience
        while text not in self.said[after:]:
            if not self._read(end):
                raise AssertionError(f"{text!r} was not said in {self.said[after:]!r}")
        return self.said

    def end(self) -> int:
        """The exit status, once it has ended; all that it said is in ``said`` then."""
        end = time.monotonic() + self._patience
        while self._read(end):
            pass
        return self._process.wait(self._patience)

    def _read(self, end: float) -> bool:
        ready, _, _ = select.select([self._own], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            raise AssertionError(f"nothing more is said after {self.said!r}")
        try:
            piece = os.read(self._own, 65536)
        except OSError:  # Linux: the other end is closed
            return False
        self.said += piece.decode(errors="replace")
        return bool(piece)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
