"""Bounds on what a program of someone else's, like a model's chat template, may take of this machine."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

SECONDS = 5.0
"""Of processor time: a pause of this process, or a slow machine, does not count."""
ROOM = 1 << 30
"""Bytes beyond what is allocated already."""


class TimeUpError(BaseException):
    """The block used up its SECONDS. No Exception: Jinja's compiler goes on after one in what it computes ahead."""


@contextmanager
def limited() -> Iterator[None]:
    """A block that gets TimeUpError after SECONDS, and on Linux MemoryError beyond ROOM. Without bounds on Windows and
    outside the main thread, where no signal arrives."""
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGPROF, _time_up)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        with _bounded_data():
            yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, before)


@contextmanager
def _bounded_data() -> Iterator[None]:
    if not sys.platform.startswith("linux"):
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    used = int(Path("/proc/self/statm").read_bytes().split()[5]) * resource.getpagesize()
    allowed = [limit for limit in (soft, hard) if limit != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min([used + ROOM, *allowed]), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _time_up(number: int, frame: FrameType | None) -> None:
    raise TimeUpError
