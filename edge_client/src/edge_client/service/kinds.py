"""What a service is, whatever runs it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

RESTART_SECONDS = 60
"""Pause before a client that has failed is started again."""


@dataclass(frozen=True)
class Service:
    """``python -m edge_client run`` for one federation. ``name``: of letters, digits and dashes; ``federation``: as its
    operator named it, for people. Nothing in it is secret: who reads the file learns paths."""

    name: str
    federation: str
    python: str
    state: Path

    @property
    def command(self) -> tuple[str, ...]:
        """What is run. ``-P``: a folder that the service manager starts it in is no place to import from."""
        return (self.python, "-P", "-m", "edge_client", "run", "--plain", "--state", str(self.state))

    @property
    def description(self) -> str:
        """A line for people."""
        return f"FedIT client for {self.federation or 'a federation'}"


@dataclass(frozen=True)
class Kind:
    """How one service manager is told. ``path``: the service's file, of its name and this user's home folder.
    ``start``, ``stop`` and ``ask``: commands, of the service and its file; ``next``: what its owner should know."""

    manager: str
    render: Callable[[Service], bytes]
    path: Callable[[str, Path], Path]
    start: Callable[[Service, Path], list[list[str]]]
    stop: Callable[[Service, Path], list[list[str]]]
    ask: Callable[[Service], list[str]]
    next: Callable[[Service], list[str]]
