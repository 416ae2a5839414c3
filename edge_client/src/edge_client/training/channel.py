"""The child's end of the pipes: requests come in, events go out, and a closed stdin means: stop."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .frames import frame, read_frame


class Channel:
    """Make one before anything else is imported: it takes stdout for the events and leaves stderr to everybody else.

    The parent asks for a stop by closing the pipe (its death does the same), the system by SIGTERM. Outside
    :meth:`graceful` that ends the process at once, inside it sets :attr:`stopping`.
    """

    def __init__(self) -> None:
        self._events = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
        self._requests = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent decides
        self._stopping = threading.Event()
        self._graceful = False

    @property
    def stopping(self) -> bool:
        """Whether the work should be saved and left."""
        return self._stopping.is_set()

    def emit(self, event: object) -> None:
        """Send one event. A parent that no longer listens is a request to stop."""
        data = memoryview(frame(event))
        try:
            while data:
                data = data[self._events.write(data) :]
        except OSError:
            self._stop()

    def receive(self) -> bytes | None:
        """The next request's body; None once the parent has closed the pipe."""
        return read_frame(self._requests)

    def watch(self) -> None:
        """From now on no more requests are expected: wait, in a thread, for the pipe to close."""
        threading.Thread(target=self._await_close, daemon=True).start()

    @contextmanager
    def graceful(self) -> Iterator[None]:
        """While inside, a request to stop only sets :attr:`stopping`."""
        before = signal.signal(signal.SIGTERM, lambda *_: self._stopping.set())
        self._graceful = True
        try:
            yield
        finally:
            self._graceful = False
            signal.signal(signal.SIGTERM, before)

    def _await_close(self) -> None:
        while self._requests.read(4096):
            pass
        self._stop()

    def _stop(self) -> None:
        self._stopping.set()
        if not self._graceful:
            os._exit(os.EX_OK if hasattr(os, "EX_OK") else 0)
