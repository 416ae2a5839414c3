"""Workers in processes of this machine. What passes between them and the driver is msgpack over a pipe, no pickle: the
jobs one way, a trainer's progress and replies the other way; adapter versions lie in the run's folder for both."""

import contextlib
import multiprocessing
import os
import queue
import signal
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from edge_client.training.events import TrainEvent

from .crew import Lost, Replied, Say, Tell, replied
from .jobs import Job
from .population import Population

_SPAWN = multiprocessing.get_context("spawn")  # a fork would copy torch's threads in whatever state they are
_GRACE = 5.0
"""Seconds for a worker to end before it is killed."""
_DECODE_EVENT: msgspec.msgpack.Decoder[TrainEvent] = msgspec.msgpack.Decoder(TrainEvent)


class _Kind:
    """First byte of what a worker sends."""

    ANSWER, EVENT, TEXT = b"a", b"e", b"t"


@dataclass
class _Hand:
    """A worker; ``job``: its number, None while it has nothing to do."""

    process: SpawnProcess
    link: Connection
    job: int | None = None


class Processes:
    """A crew of ``size``; each worker is started when there is a job for it."""

    def __init__(self, size: int, opening: bytes, population: Path, tell: Tell, say: Say) -> None:
        """``opening``: an encoded :class:`.station.Opening`; ``population``: the file of an encoded Population."""
        self.size = size
        self._arguments = (opening, str(population))
        self._tell = tell
        self._say = say
        self._hands: list[_Hand] = []

    def begin(self, number: int, job: Job) -> None:
        """See :class:`.crew.Crew`."""
        hand = next((hand for hand in self._hands if hand.job is None), None)
        if hand is None:
            hand = self._hire()
        hand.job = number
        with contextlib.suppress(OSError):  # it died while it had nothing to do: wait() will see that
            hand.link.send_bytes(msgspec.msgpack.encode(job))

    def wait(self) -> list[Replied | Lost]:
        """See :class:`.crew.Crew`."""
        while True:
            busy = {hand.link: hand for hand in self._hands if hand.job is not None}
            happened = [one for link in wait(list(busy)) if (one := self._hear(busy[link])) is not None]  # type: ignore[index]
            if happened:
                return happened

    def _hear(self, hand: _Hand) -> Replied | Lost | None:
        assert hand.job is not None
        number = hand.job
        try:
            data = hand.link.recv_bytes()
        except (EOFError, OSError):
            self._bury(hand)
            return Lost(number, _cause(hand.process.exitcode))
        match data[:1]:
            case _Kind.EVENT:
                self._tell(number, _DECODE_EVENT.decode(data[1:]))
                return None
            case _Kind.TEXT:
                self._say(data[1:].decode())
                return None
        done = replied(number, data[1:])
        hand.job = None
        return done

    def _hire(self) -> _Hand:
        mine, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
        process.start()
        theirs.close()
        self._hands.append(_Hand(process, mine))
        return self._hands[-1]

    def _bury(self, hand: _Hand) -> None:
        self._hands.remove(hand)
        hand.link.close()
        hand.process.join(_GRACE)
        if hand.process.exitcode is None:
            hand.process.kill()
            hand.process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hand in self._hands:
            hand.process.terminate()
        for hand in list(self._hands):
            self._bury(hand)


def _cause(exitcode: int | None) -> str:
    if exitcode is None or exitcode >= 0:
        return f"exit status {exitcode}"
    return signal.Signals(-exitcode).name


def _serve(link: Connection, opening: bytes, population: str) -> None:
    """A worker's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver decides
    inbox: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(link, inbox), daemon=True).start()
    from .station import Opening, Station, answer  # torch: seconds in which a driver that vanishes is noticed already

    def say(text: str) -> None:
        link.send_bytes(_Kind.TEXT + text.encode())

    def emit(event: TrainEvent) -> None:
        link.send_bytes(_Kind.EVENT + msgspec.msgpack.encode(event))

    stations: list[Station] = []

    def station() -> Station:
        if not stations:
            people = msgspec.msgpack.decode(Path(population).read_bytes(), type=Population)
            stations.append(Station(msgspec.msgpack.decode(opening, type=Opening), people, say))
        return stations[0]

    while True:
        link.send_bytes(_Kind.ANSWER + answer(station, inbox.get(), emit))


def _listen(link: Connection, inbox: "queue.SimpleQueue[bytes]") -> None:
    try:
        while True:
            inbox.put(link.recv_bytes())
    except (EOFError, OSError):
        os._exit(1)  # the driver is gone, however it went: so is the work
