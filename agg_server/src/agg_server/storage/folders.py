"""Folders whose names survive a power cut."""

import os
import threading
from pathlib import Path

_making = threading.RLock()
"""A folder that another thread has made counts only once its name is on disk."""


def make_folder(folder: Path) -> None:
    """The folder and its parents, each name on disk."""
    with _making:
        if folder.is_dir():
            return
        make_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """What was made, renamed or deleted in ``folder`` survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
