"""Workers on a Ray cluster, one of this machine alone or one that is there already; its nodes need the same checkout.
Adapter versions go through Ray's object store, once each: a node need not see the run's folder."""

import contextlib
import logging
import tempfile
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from agg_server.adapters.publishing import adapter_key, read_version
from agg_server.storage.blobs import Blobs
from edge_client.training.events import TrainEvent
from fedit_shared.errors import UserError

from .crew import Lost, Replied, Say, Tell, replied
from .jobs import Job
from .population import Population
from .station import Opening, Station, answer

try:
    import ray
except ModuleNotFoundError as missing:
    raise UserError("Ray is not installed here.", advice="Run: pip install 'ray>=2.50'") from missing

_TICK = 1.0
"""Seconds from one look at the workers' progress to the next."""
_DECODE_EVENT: msgspec.msgpack.Decoder[TrainEvent] = msgspec.msgpack.Decoder(TrainEvent)


class _Actor:
    """A worker's life. Everything that passes is bytes of msgpack."""

    def __init__(self, opening: bytes, population: bytes) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="fedit-bench-")
        given = msgspec.msgpack.decode(opening, type=Opening)
        # The run's folder where this node sees it: a worker in another one's place finds the checkpoint there.
        work = given.work if Path(given.work).is_dir() else self._home.name
        self._opening = msgspec.structs.replace(given, blobs=self._home.name, work=work)
        self._population = population
        self._station: Station | None = None
        self._texts: deque[str] = deque()
        self._events: deque[bytes] = deque()

    def do(self, job: bytes, version: bytes | None, adapter: bytes | None) -> bytes:
        if version is not None and adapter is not None:
            blobs = Blobs(Path(self._opening.blobs))
            if not blobs.path(adapter_key(version)).exists():
                blobs.write(adapter_key(version), adapter)
        return answer(self._open, job, lambda event: self._events.append(msgspec.msgpack.encode(event)))

    def heard(self) -> tuple[list[bytes], list[str]]:
        """Events and texts since the last time."""
        return _drain(self._events), _drain(self._texts)

    def _open(self) -> Station:
        if self._station is None:
            people = msgspec.msgpack.decode(self._population, type=Population)
            self._station = Station(self._opening, people, self._texts.append)
        return self._station


def _drain(queue: deque[Any]) -> list[Any]:
    return [queue.popleft() for _ in range(len(queue))]


@dataclass
class _Hand:
    actor: Any
    number: int | None = None
    reply: Any = None


class Ray:
    """A crew of ``size``: as given, else as many as the cluster has cards, or else nodes."""

    def __init__(
        self, address: str, size: int | None, opening: Opening, population: Population, tell: Tell, say: Say
    ) -> None:
        try:
            ray.init(
                address or None,
                include_dashboard=None if address else False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(f"No Ray cluster answers at {address}: {error}.", advice="`ray status` tells.") from error
        resources = ray.cluster_resources()
        cards = 0 if opening.machine.device == "cpu" else int(resources.get("GPU", 0))
        nodes = sum(node["Alive"] for node in ray.nodes())
        self.size = size or cards or nodes
        threads = opening.machine.threads or max(1, int(resources.get("CPU", 1)) // self.size)
        machine = msgspec.structs.replace(opening.machine, threads=threads)
        self._tell, self._say = tell, say
        self._blobs = Blobs(Path(opening.blobs))
        self._arguments = (
            ray.put(msgspec.msgpack.encode(msgspec.structs.replace(opening, machine=machine))),
            ray.put(msgspec.msgpack.encode(population)),
        )
        # Two at a time: heard() is answered while do() is at work.
        self._make = ray.remote(_Actor).options(num_cpus=threads, num_gpus=min(1, cards), max_concurrency=2).remote
        self._hands: list[_Hand] = []
        self._versions: dict[bytes, Any] = {}

    def begin(self, number: int, job: Job) -> None:
        """See :class:`.crew.Crew`."""
        hand = next((hand for hand in self._hands if hand.number is None), None)
        if hand is None:
            hand = _Hand(self._make(*self._arguments))
            self._hands.append(hand)
        hand.number = number
        hand.reply = hand.actor.do.remote(msgspec.msgpack.encode(job), job.version, self._adapter(job.version))

    def _adapter(self, version: bytes | None) -> Any:
        if version is None:
            return None
        if version not in self._versions:
            self._versions = {version: ray.put(read_version(self._blobs, version))}
        return self._versions[version]

    def wait(self) -> list[Replied | Lost]:
        """See :class:`.crew.Crew`."""
        while True:
            busy = {hand.reply: hand for hand in self._hands if hand.number is not None}
            ready, _ = ray.wait(list(busy), timeout=_TICK)
            for hand in busy.values():
                self._listen(hand)
            if ready:
                return [self._done(busy[reply]) for reply in ready]

    def _listen(self, hand: _Hand) -> None:
        with contextlib.suppress(ray.exceptions.RayError):  # of one that died, wait() tells
            events, texts = ray.get(hand.actor.heard.remote(), timeout=_TICK)
            for event in events:
                assert hand.number is not None
                self._tell(hand.number, _DECODE_EVENT.decode(event))
            for text in texts:
                self._say(text)

    def _done(self, hand: _Hand) -> Replied | Lost:
        assert hand.number is not None
        number, hand.number = hand.number, None
        try:
            data = ray.get(hand.reply)
        except ray.exceptions.RayActorError as error:
            self._hands.remove(hand)
            return Lost(number, str(error).splitlines()[0])
        return replied(number, data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for hand in self._hands:
            ray.kill(hand.actor)
        ray.shutdown()
