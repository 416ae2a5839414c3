"""All targets, and the inputs that once broke one."""

from pathlib import Path

from . import client, cohort, server, shared, wire
from .target import Target

FOUND = Path(__file__).parents[2] / "fuzz" / "found"
"""``TARGET/HASH``: kept for ever, each the input of a test."""
_MODULES = (wire, shared, cohort, server, client)
TARGETS: dict[str, Target] = {target.name: target for module in _MODULES for target in module.TARGETS}
HOMES = {target.name: module.__name__ for module in _MODULES for target in module.TARGETS}
"""Target → the module that it stands in."""


def found(target: Target) -> list[Path]:
    """The files with inputs that once broke ``target``."""
    return sorted((FOUND / target.name).glob("*"))
