"""Where and on what something was measured: part of every result file."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from edge_client.hardware import find_hardware

from .pages import ROOT


def machine(*libraries: str) -> dict[str, Any]:
    """This machine, the versions of ``libraries``, the commit, the date, and the load before anything is measured."""
    hardware = find_hardware()
    return {
        "cpu": hardware.cpu,
        "cores": hardware.cores,
        "memory_gib": round(hardware.memory_bytes / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in libraries},
        "commit": _git("rev-parse", "--short=12", "HEAD") + ("+" if _git("status", "--porcelain") else ""),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
