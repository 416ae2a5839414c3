"""What the live view shows, kept up by events: no terminal, no clock."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from edge_client import client as c
from edge_client import training as t
from edge_client.client.words import clock, describe
from edge_client.state import Entry

PHASES = ("train", "muster", "send", "check", "vote", "answer")
"""What a device does in a round, in order."""
_PAST = 8


@dataclass
class Stage:
    """An open round: the phase that this device is in, and what is awaited."""

    phase: int
    awaited: str = ""


@dataclass(frozen=True)
class Transfer:
    """Bytes on their way: ``done`` of ``total``."""

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class Past:
    """How a round ended: in one word, and whether this device's update is in its sum."""

    round: int
    outcome: str
    counted: bool


class Board:
    """The state of everything that is shown."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        """``entries``: this device's history up to now."""
        self.stages: dict[int, Stage] = {}
        self.training: tuple[int, t.Progress] | None = None
        self.transfer: Transfer | None = None
        self.idle = "Connecting …"
        """What happens between rounds, or keeps one up."""
        self.past: deque[Past] = deque(maxlen=_PAST)
        self._due: dict[int, str] = {}
        self._before = sum(entry.bytes_up for entry in entries if entry.outcome is not None)
        self._sent: dict[int, int] = {entry.round: entry.bytes_up for entry in entries if entry.outcome is None}
        for entry in entries:
            if entry.outcome is not None:
                self.past.append(Past(entry.round, entry.outcome, entry.counted))

    @property
    def bytes_up(self) -> int:
        """All that this device has sent, in the rounds that are remembered."""
        return self._before + sum(self._sent.values())

    def note(self, event: c.Event) -> bool:
        """Take ``event`` in. Whether it is news to be kept in the log; else it only moves what is shown."""
        match event:
            case c.Training(round=number, event=said):
                return self._trains(number, said)
            case c.Downloading(round=number, received=done, total=total):
                self.transfer = Transfer(f"Round {number}: adapter", done, total)
                return False
            case c.Uploading(round=number, sent=done, total=total):
                self.transfer = Transfer(f"Round {number}: update", done, total)
                return False
            case c.Waiting(round=None):
                self.idle = describe(event)
                return False
            case c.Waiting(round=int(number)):
                self._stage(number).awaited = describe(event).removeprefix(f"Round {number}: ")
                return False
            case c.Paused():
                self.training, self.idle = None, describe(event)
            case c.Retrying():
                self.idle = describe(event)
            case c.Resumed() | c.Reconnected() | c.Joined():
                self.idle = ""
            case _:
                self._moves(event)
        return True

    def _stage(self, number: int) -> Stage:
        return self.stages.setdefault(number, Stage(0))

    def _trains(self, number: int, said: t.TrainEvent) -> bool:
        stage = self._stage(number)
        match said:
            case t.Progress():
                self.training, self.transfer, self.idle = (number, said), None, ""
                stage.awaited = self._due.get(number, "")
                return False
            case t.Checkpointed():
                return False
            case t.Fetching(here=done, total=total) if done:
                self.transfer = Transfer(f"Round {number}: base model", done, total)
                return False
            case t.Loading(part=part):
                self.transfer, self.idle = None, ""
                stage.awaited = f"Loading the {part} …"
            case t.Planned():
                stage.awaited = "The first step is being done."
            case t.Finished() | t.Failed():
                self.training = None
        return True

    def _moves(self, event: c.Event) -> None:
        """What takes a round from one phase to the next."""
        match event:
            case c.Offered(round=number, train_until=until):
                self.idle = ""
                self._due = {number: f"To be trained by {clock(until)}."}
                self.stages[number] = Stage(0, self._due[number])
            case c.Trained(round=number):
                self.training = self.transfer = None
                self.stages[number] = Stage(1)
            case c.Mustered(round=number):
                self.stages[number] = Stage(1, "The cohort is being formed.")
            case c.RosterAccepted(round=number, members=members):
                phase = max(self._stage(number).phase, 2)
                self.stages[number] = Stage(phase, f"In a cohort of {members}." if phase == 2 else "")
            case c.Sealed(round=number):
                self.stages[number] = Stage(2, "The update is masked.")
            case c.Contributed(round=number, bytes_up=sent):
                self.transfer = None
                self._sent[number] = sent
                self.stages[number] = Stage(3, "The server has it; three short answers are to come.")
            case c.Reported(round=number):
                self.stages[number] = Stage(4)
            case c.Voted(round=number):
                self.stages[number] = Stage(5)
            case c.Answered(round=number):
                self.stages[number] = Stage(5, "Answered; the sum is being opened.")
            case c.Declined(round=number):
                self._over(number, "declined", False)
            case c.RoundFinished(round=number, outcome=outcome, counted=counted, bytes_up=sent):
                self._sent[number] = max(self._sent.get(number, 0), sent)
                self._over(number, outcome, counted)

    def _over(self, number: int, outcome: str, counted: bool) -> None:
        self.stages.pop(number, None)
        if self.training is not None and self.training[0] == number:
            self.training = None
        if self.transfer is not None and self.transfer.what.startswith(f"Round {number}:"):
            self.transfer = None
        self.past.append(Past(number, outcome, counted))
