"""What a service is, whatever runs it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from fedit_shared.errors import UserError

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
    environment: dict[str, str] = field(default_factory=dict)
    """What the client is to find in its environment, where the manager can set it."""

    def __post_init__(self) -> None:
        """Raises UserError for a path that no file of a service manager can hold."""
        for path in (self.python, str(self.state), *self.environment.values()):
            if any(sign < " " or sign == "\x7f" for sign in path):
                raise UserError(
                    f"{path!r} has a line break or another control character in its name.",
                    advice="Give the folder another name, then install the service.",
                )

    @property
    def command(self) -> tuple[str, ...]:
        """What is run. ``-P``: a folder that the service manager starts it in is no place to import from."""
        return (self.python, "-P", "-m", "edge_client", "run", "--plain", "--state", str(self.state))

    @property
    def description(self) -> str:
        """A line for people."""
        name = " ".join(self.federation.split())
        return f'FedIT client for "{name}"' if name else "FedIT client for a federation"


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
