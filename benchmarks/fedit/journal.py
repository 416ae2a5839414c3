"""What an experiment has found so far: JSON lines, one a finished (arm, round). After a kill it goes on from them."""

import math
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from edge_client.disk import disk_errors
from fedit_shared.errors import UserError

BASE, FEDERATED, CENTRALIZED = "base", "federated", "centralized"
VERSION = 1
"""Of what the lines mean and how results are made: a run goes on only where it was begun by the same."""


def federated_arm(strategy: str, main: str) -> str:
    """The arm of a federation by ``strategy`` where [federation] names ``main``."""
    return FEDERATED if strategy == main else f"{FEDERATED} ({strategy})"


def local_arm(client: int) -> str:
    """The arm of a client that trains alone."""
    return f"local {client}"


def is_local(arm: str) -> bool:
    """Whether it is one of these."""
    return arm.startswith("local ")


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="header"):
    """What the lines belong to. ``key``: SHA-256, in hex, of all that decides the results; ``categories``: of each
    record of the evaluation; ``holdings``: of each client, its records by category; ``machine``: where it began;
    ``settings``: those that decide the results; ``adapter_config``: PEFT's, of every adapter."""

    name: str
    key: str
    version: int
    rounds: int
    categories: tuple[str, ...]
    holdings: tuple[dict[str, int], ...]
    heterogeneity: float
    machine: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    adapter_config: str = ""


class _Version(msgspec.Struct, tag="header"):
    """What every version of a header has."""

    version: int = 0


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """Losses of the evaluation's records, summed over each one's answer, in nats; and the answers' tokens."""

    losses: tuple[float, ...]
    tokens: tuple[int, ...]
    conditions: tuple[str, ...] = ()
    """See :attr:`Entry.conditions`."""


class Entry(msgspec.Struct, frozen=True, kw_only=True, tag="round"):
    """A finished round of an arm. The base model's only one is 0."""

    arm: str
    round: int
    adapter: str = ""
    """SHA-256 of the version that it led to, in hex: the name of its file."""
    clients: tuple[int, ...] = ()
    tokens: int = 0
    """That went through the model in training, from the arm's start on."""
    steps: int = 0
    """From the arm's start on, over all clients."""
    training_loss: float | None = None
    """Mean loss of tokens while they were learned, in nats: of a round; of one who learns alone, from the start on."""
    update_norm: float | None = None
    clip: tuple[float, ...] = ()
    """Of each tensor, the range for the next round."""
    slot_bits: Literal[12, 16, 24] | None = None
    """Of a summed value in the next round."""
    clipped: float | None = None
    quantization_error: float | None = None
    uploaded: int = 0
    """Bytes that clients sent, from the arm's start on."""
    seconds: float = 0.0
    """Of training and summing, of this round."""
    private: dict[str, str] = {}
    """Of each client that has tensors of its own, by its number, the hash of their values: the name of their file."""
    judged: Judged | None = None
    conditions: tuple[str, ...] = ()
    """Under which its training was done: each a device, what the base model is held in, and the libraries' versions."""


class Later(msgspec.Struct, frozen=True, kw_only=True, tag="judged"):
    """A finished round was judged after the fact, by the adapter that it had led to."""

    arm: str
    round: int
    judged: Judged


def conditions_of(line: Entry | Later) -> set[str]:
    """Of training and judging."""
    trained = line.conditions if isinstance(line, Entry) else ()
    return {*trained, *(line.judged.conditions if line.judged else ())}


class Journal:
    """The file ``results.jsonl`` in ``folder``. Raises UserError if it belongs to another experiment."""

    def __init__(self, folder: Path, header: Header) -> None:
        self._path = folder / "results.jsonl"
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            lines = list(_whole_lines(self._path))
            found, self.entries = _decode(self._path, lines) if lines else (header, [])
            if found.key != header.key:
                raise UserError(
                    f"{folder} holds the results of another experiment, or of this one before it was changed"
                    f"{_changed(found.settings, header.settings)}.",
                    advice="Name another folder with --out, or delete this one.",
                )
            whole = b"".join(line + b"\n" for line in lines)
            if self._path.exists() and self._path.stat().st_size > len(whole):
                self._path.write_bytes(whole)  # a kill cut off the last line
            if not lines:
                self._append(header)

    def last(self, arm: str) -> Entry | None:
        """The arm's last finished round."""
        return max((entry for entry in self.entries if entry.arm == arm), key=lambda e: e.round, default=None)

    @property
    def conditions(self) -> set[str]:
        """Under which anything was trained or judged up to now."""
        return {one for entry in self.entries for one in conditions_of(entry)}

    def add(self, entry: Entry) -> None:
        """Keep a finished round: it survives a kill. What it names is on disk already. Raises UserError for one that
        diverged: its losses are no numbers, which no report could tell of."""
        _refuse_diverged(entry)
        self._append(entry)
        self.entries.append(entry)

    def judge(self, later: Later) -> None:
        """Keep what a finished round was judged later. Raises UserError as :meth:`add` does."""
        _refuse_diverged(later)
        self._append(later)
        self.entries = _fold([*self.entries, later])

    def _append(self, line: Header | Entry | Later) -> None:
        with disk_errors(self._path), self._path.open("ab") as stream:
            stream.write(msgspec.json.encode(line) + b"\n")
            stream.flush()
            os.fsync(stream.fileno())


def _refuse_diverged(line: Entry | Later) -> None:
    figures = list(line.judged.losses) if line.judged else []
    if isinstance(line, Entry):
        told = (line.training_loss, line.update_norm, line.quantization_error, line.clipped)
        figures += [*line.clip, *(figure for figure in told if figure is not None)]
    if not all(map(math.isfinite, figures)):
        raise UserError(
            f"{line.arm} diverged in round {line.round}: its losses are no numbers any more.",
            advice="Lower [training] learning_rate or that of [server_step]; up to there everything is kept.",
        )


def read_journal(folder: Path) -> tuple[Header, list[Entry]]:
    """What ``folder`` holds. Raises UserError if that is no experiment's."""
    lines = list(_whole_lines(folder / "results.jsonl"))
    if not lines:
        raise UserError(f"{folder} holds no results.", advice="Name the folder that `run` wrote to.")
    return _decode(folder / "results.jsonl", lines)


def _changed(before: dict[str, Any], now: dict[str, Any]) -> str:
    """The settings that differ, in words."""
    told = [
        f"[{section}] {name} was {old!r} and is {new!r}"
        for section in now
        for name, new in now[section].items()
        if (old := before.get(section, {}).get(name)) != new
    ]
    return ": " + ", ".join(told) if told else ""


def _decode(path: Path, lines: list[bytes]) -> tuple[Header, list[Entry]]:
    try:
        version = msgspec.json.decode(lines[0], type=_Version).version
        if version != VERSION:
            raise UserError(
                f"{path} was written by another version of fedit-bench: {version}, this one is {VERSION}.",
                advice="Use that version for it, or name another folder.",
            )
        header = msgspec.json.decode(lines[0], type=Header)
        return header, _fold(msgspec.json.decode(line, type=Entry | Later) for line in lines[1:])
    except (msgspec.MsgspecError, KeyError) as error:
        raise UserError(f"{path} is no file of results: {error}.", advice="Name another folder.") from error


def _fold(lines: Iterable[Entry | Later]) -> list[Entry]:
    """Each round with what it was judged, whenever that was."""
    entries: dict[tuple[str, int], Entry] = {}
    for line in lines:
        at = line.arm, line.round
        entries[at] = line if isinstance(line, Entry) else msgspec.structs.replace(entries[at], judged=line.judged)
    return list(entries.values())


def _whole_lines(path: Path) -> Iterator[bytes]:
    if path.exists():
        yield from path.read_bytes().split(b"\n")[:-1]
