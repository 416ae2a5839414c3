"""Room on the database's disk that is kept for the one command that makes room: where the disk is full, ``prune`` gives
it up first, and has it kept again when it is done."""

import os
from pathlib import Path

from ..config import Config
from ..layout import Layout

BALLAST_BYTES = 16 << 20
"""More than the transaction takes in which ``prune`` notes what is about to go."""
_FILE = "ballast"


def lay(layout: Layout, config: Config) -> None:
    """Have the room kept beside SQLite's file, where there is so much left."""
    file = _place(layout, config)
    if file is None:
        return
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError:  # it is there, or nothing can be made there
        return
    try:
        with open(descriptor, "wb") as stream:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(stream.fileno(), 0, BALLAST_BYTES)
            else:
                stream.write(bytes(BALLAST_BYTES))
    except OSError:
        file.unlink(missing_ok=True)


def give_up(layout: Layout, config: Config) -> bool:
    """Let go of it; whether there was any."""
    file = _place(layout, config)
    if file is None or not file.exists():
        return False
    file.unlink(missing_ok=True)
    return True


def _place(layout: Layout, config: Config) -> Path | None:
    database = layout.database_file(config)
    return None if database is None else database.with_name(_FILE)
