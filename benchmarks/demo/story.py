"""What happens in the demo, as told by its processes: one state that the view draws and the report is made of."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from .settings import NAMES


@dataclass
class Player:
    """One participant, as seen from outside: its client's events."""

    name: str
    device: str = ""
    doing: str = "starting"
    round: int | None = None
    alive: bool = False
    joined: bool = False
    bytes_up: dict[int, int] = field(default_factory=dict)
    training: dict[int, dict[str, Any]] = field(default_factory=dict)
    counted: dict[int, bool] = field(default_factory=dict)
    finished: set[int] = field(default_factory=set)


class Story:
    """All that was seen so far. ``note`` is called with each line that is worth keeping on the screen."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.players = {name: Player(name) for name in NAMES}
        self.lines: list[str] = []
        self.stage = "preparing"
        self.held: dict[str, asyncio.Event] = {name: asyncio.Event() for name in NAMES}
        """Set when a participant waits at the point where it is to be killed."""

    def say(self, line: str) -> None:
        """Keep a line, stamped with the seconds since the beginning."""
        self.lines.append(f"{time.monotonic() - self.began:6.1f} s  {line}")

    def gone(self) -> list[str]:
        """Participants whose process has ended."""
        return [player.name for player in self.players.values() if not player.alive]

    def hear(self, name: str, event: dict[str, Any]) -> None:
        """Take in one event of a participant's client (the JSON form of :mod:`edge_client.client`'s events)."""
        player = self.players[name]
        player.round = event.get("round") or player.round
        match event:
            case {"event": "Joined", "device": device}:
                player.device, player.joined, player.doing = device, True, "joined"
            case {"event": "Waiting", "reason": reason}:
                player.doing = reason
            case {"event": "Retrying", "problem": problem}:
                player.doing = problem
            case {"event": "Downloading"}:
                player.doing = "downloading the adapter"
            case {"event": "Training", "round": round_, "training": training}:
                self._hear_training(player, round_, training)
            case {"event": "Mustered", "round": round_}:
                player.doing = "trained; mustered"
                self.say(f"{name} has trained and mustered for round {round_}")
            case {"event": "RosterAccepted", "members": members}:
                player.doing = f"masking for a cohort of {members}"
            case {"event": "Uploading", "sent": sent, "total": total}:
                player.doing = f"uploading {sent / 1e6:.1f} of {total / 1e6:.1f} MB"
            case {"event": "Contributed", "round": round_, "bytes_up": bytes_up}:
                player.doing = "uploaded"
                player.bytes_up[round_] = bytes_up
                self.say(f"{name} has uploaded its masked vector ({bytes_up / 1e6:.2f} MB)")
            case {"event": "Reported"}:
                player.doing = "reported on the key shares"
            case {"event": "Voted", "survivors": survivors}:
                player.doing = f"voted for the list of {survivors} survivors"
            case {"event": "Answered"}:
                player.doing = "answered with its sum of shares"
            case {"event": "RoundFinished", "round": round_, "outcome": outcome, "counted": counted}:
                player.doing = f"round {round_}: {outcome}"
                player.finished.add(round_)
                player.counted[round_] = counted
                player.bytes_up.setdefault(round_, event.get("bytes_up", 0))

    def _hear_training(self, player: Player, round_: int, event: dict[str, Any]) -> None:
        match event:
            case {"event": "Loading", "part": part}:
                player.doing = f"loading {part}"
            case {"event": "Progress", "step": step, "steps": steps, "loss": loss, "tokens_per_second": speed}:
                player.doing = f"training step {step}/{steps}, loss {loss:.3f}, {speed:.0f} tokens/s"
            case {"event": "BackedOff", "micro_batch": size}:
                player.doing = f"out of memory: micro-batch {size}"
            case {"event": "Finished"}:
                player.training[round_] = event
