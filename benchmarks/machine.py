"""Where and on what something was measured: part of every result file, and a sentence on every page made of one."""

import os
import platform
import subprocess
from collections.abc import Mapping
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
        "fast_bfloat16": hardware.fast_bfloat16,
        "cards": [f"{card.name}, {card.memory_bytes / 2**30:.0f} GiB, driver {card.driver}" for card in hardware.gpus],
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: version(name) for name in libraries},
        "commit": _git("rev-parse", "--short=12", "HEAD") + ("+" if _git("status", "--porcelain") else ""),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
    }


def where(machine: Mapping[str, Any], done: str = "Measured") -> str:
    """What :func:`machine` found, in words. ``done``: what was done there."""
    narrow = {True: " (it multiplies bfloat16)", False: " (it does not multiply bfloat16)", None: ""}
    cards = "".join(f", {card}" for card in machine.get("cards", ()))
    python = {"Python": machine["python"]} if "python" in machine else {}
    versions = ", ".join(f"{name} {number}" for name, number in (python | machine["versions"]).items() if number)
    load = machine.get("load")
    before = load["before"] if isinstance(load, dict) else load
    size = f"{machine['cores']} cores, {machine['memory_gib']:.0f} GiB{cards}"
    return (
        f"{done} on {machine['date']} at commit {machine['commit']}: {machine['cpu']}"
        f"{narrow[machine.get('fast_bfloat16')]}, {size}; {versions}"
        f"{'' if before is None else f'; load of the machine {before} before'}."
    )


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
