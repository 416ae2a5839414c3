"""A `fedit-server` that is killed at every change of its disk, and started again each time, until none is new.

A point is ``before NAME`` or ``after NAME``, of a transaction's commit, a chunk's or a mark's write, a file that gets
its name or loses it, a folder that is made. Names have HASH and COHORT in the place of what is different each time. The
process kills itself (SIGKILL) where it comes to a point for the first time ever, with ``FEDIT_POINT_TIMES=3`` also for
the second and the third time in one life. Each is noted in the file ``FEDIT_POINTS`` before. One process starts the
others, by a fork: what takes its time, the imports, is done once.
"""

import os
import re
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import alembic.command  # noqa: F401
from sqlalchemy import Engine, event
from sqlalchemy.engine.default import DefaultDialect

import agg_server.serve  # noqa: F401
from agg_server.cli import main
from fedit_shared.secagg import warm

_WRITES = re.compile(r"\s*(INSERT INTO|UPDATE|DELETE FROM)\s+(\w+)", re.IGNORECASE)
_NAMES = (
    (re.compile(r"[0-9a-f]{64}"), "HASH"),
    (re.compile(r"[0-9a-f]{32}"), "COHORT"),
    (re.compile(r"\.new-\w+"), ".new"),
)
_FOLDER = "/federation/"
_written = threading.local()


class Points:
    """Notes points, and ends the process at each that is new. ``times``: how many of one name count as different."""

    def __init__(self, file: Path, times: int) -> None:
        self._file = file
        self._times = times
        self._lock = threading.Lock()
        self.begin()

    def begin(self) -> None:
        """A new life."""
        self._killed = set(self._file.read_text().splitlines()) if self._file.exists() else set()
        self._counts: Counter[str] = Counter()

    def reach(self, name: str) -> None:
        with self._lock:
            self._counts[name] += 1
            point = f"{name}#{self._counts[name]}"
            if self._counts[name] > self._times or point in self._killed:
                return
            with self._file.open("a") as file:
                file.write(f"{point}\n")
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, what: str, call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        self.reach(f"before {what}")
        result = call(*arguments, **options)
        self.reach(f"after {what}")
        return result


def _named(path: object) -> str:
    """The path without its folder, and without what is different each time."""
    if isinstance(path, int):
        path = os.readlink(f"/proc/self/fd/{path}")
    name = os.fspath(path)  # type: ignore[call-overload]
    for pattern, word in _NAMES:
        name = pattern.sub(word, name)
    return str(name).rpartition(_FOLDER)[2]


def _is_ours(path: object, options: dict[str, Any]) -> bool:
    """Whether it lies in the federation's folder; what is named within an open folder, by ``rmtree``, does."""
    return options.get("dir_fd") is not None or isinstance(path, int) or _FOLDER in os.fspath(path)  # type: ignore


def watch_files(points: Points) -> None:
    """Every call by which files come, change or go; a call's last path is the one that it changes."""
    for verb, which in (("replace", 1), ("link", 1), ("unlink", 0), ("rmdir", 0), ("mkdir", 0), ("pwrite", 0)):
        call = getattr(os, verb)

        def watched(
            *arguments: Any, _call: Callable[..., Any] = call, _verb: str = verb, _which: int = which, **options: Any
        ) -> Any:
            changed = arguments[_which]
            if not _is_ours(changed, options):
                return _call(*arguments, **options)
            return points.around(f"{_verb} {_named(changed)}", _call, *arguments, **options)

        setattr(os, verb, watched)


def watch_database(points: Points) -> None:
    """Every commit that writes, named by the events, else by the tables, that it stores."""

    @event.listens_for(Engine, "before_cursor_execute")
    def _note(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, many: bool) -> None:
        if (found := _WRITES.match(statement)) is not None:
            rows = parameters if many else [parameters]
            kinds = (
                {_kind(row) for row in rows} if found[2] == "events" else {f"{found[1].split()[0]} {found[2]}".lower()}
            )
            _written.names = getattr(_written, "names", set()) | kinds

    commit = DefaultDialect.do_commit

    def watched(self: DefaultDialect, connection: Any) -> None:
        names, _written.names = getattr(_written, "names", set()), set()
        if not names:
            return commit(self, connection)
        events = {name for name in names if name[0].isupper()}
        return points.around(f"commit {'+'.join(sorted(events or names))}", commit, self, connection)

    DefaultDialect.do_commit = watched  # type: ignore[method-assign]


def _kind(row: Any) -> str:
    """The event's kind: the one value of its row that is a name."""
    values = row.values() if isinstance(row, dict) else row
    return next(value for value in values if isinstance(value, str))


def live_again_and_again(points: Points) -> int:
    """One server after the other, until one ends otherwise than by its points, or is told to; its exit status."""
    told: list[int] = []
    while True:
        life = os.fork()
        if not life:
            points.begin()
            main()
            os._exit(0)

        def tell(number: int, _: object, life: int = life) -> None:
            told.append(number)
            os.kill(life, number)

        signal.signal(signal.SIGTERM, tell)
        status = os.waitstatus_to_exitcode(os.waitpid(life, 0)[1])
        if status != -signal.SIGKILL:
            return status
        if told:  # killed while it stopped, which has points of its own
            return 0


if __name__ == "__main__":
    noted = Points(Path(os.environ["FEDIT_POINTS"]), int(os.environ.get("FEDIT_POINT_TIMES", "1")))
    watch_files(noted)
    watch_database(noted)
    warm()
    sys.exit(live_again_and_again(noted))
