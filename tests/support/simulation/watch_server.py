"""What an honest server must never say, checked on every reply that leaves it, and what it must still know later."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import numpy as np
from safetensors.numpy import load

from agg_server.adapters.publishing import adapter_key
from agg_server.rounds.events import (
    Answered,
    CohortEnded,
    Dealt,
    Event,
    Mustered,
    Reported,
    SumOpened,
    Voted,
)
from agg_server.storage.rooms import packets_key, sum_key
from agg_server.store import AdapterVersion
from fedit_shared.adapter import read_adapter
from fedit_shared.errors import FeditError
from fedit_shared.messages import (
    ROUTES,
    Answer,
    Certificate,
    Deal,
    Enrol,
    Muster,
    Offer,
    Poll,
    Report,
    Result,
    Roster,
    ServerMessage,
    Survivors,
    Vote,
    decode,
    decode_task,
)
from fedit_shared.secagg.bodies import DealBody, RosterBody, decode_survivors

from .network import Reply, Request
from .oracle import Oracle
from .watch_device import DeviceWatch, identity_of

Fail = Callable[[str, str], None]
_KINDS = {ROUTES[kind].path: kind for kind in (Enrol, Muster, Deal, Report, Vote, Answer)}


@dataclass
class ServerWatch:
    """``blobs``: the server's folder of blobs; ``honest``: False while a malicious server is simulated."""

    blobs: Path
    task: bytes
    oracle: Oracle
    devices: DeviceWatch
    fail: Fail
    honest: bool = True
    enrolled: set[bytes] = field(default_factory=set)
    _acknowledged: set[tuple[type[Event], bytes, bytes]] = field(default_factory=set)
    _rosters: dict[bytes, bytes] = field(default_factory=dict)
    _round_of: dict[bytes, int] = field(default_factory=dict)
    _lists: dict[bytes, bytes] = field(default_factory=dict)
    _results: dict[bytes, Result] = field(default_factory=dict)
    damaged: bool = False
    """Whether a byte of an upload, packet or sum was changed on the server's disk."""
    _deals: dict[tuple[bytes, bytes], bytes] = field(default_factory=dict)
    """(cohort, identity) → the body of the deal that was acknowledged."""
    _summed: dict[bytes, bytes] = field(default_factory=dict)
    """delta → the cohort in whose opened sum it is."""

    def __call__(self, request: Request, reply: Reply) -> None:
        if reply.status != 200:
            if reply.status == 500 and self.honest:
                self.fail("server error", f"{request.path}: {reply.body!r}")
            return
        if request.path.startswith("/v1/adapters/"):
            return
        message: ServerMessage = decode(reply.body, ServerMessage)
        match message:
            case Roster():
                self.devices.note_roster(message, self.task)
                self._round_of[message.cohort] = RosterBody.decode(message.body).round
                if self.honest and self._rosters.setdefault(message.cohort, message.body) != message.body:
                    self.fail("two rosters", "a cohort has two rosters")
            case Survivors() | Certificate():
                self._list(request, message.survivors)
            case Result():
                self._list(request, message.survivors, message.cohort)
                if self.honest:
                    self._result(message)
            case Offer():
                if self.honest:
                    self._adapter_is_whole(message.adapter)
        kind = _KINDS.get(request.path)
        if kind is not None and self.honest:
            self._acknowledge(identity_of(request), decode(request.body, kind))

    def still_knows(self, events: Iterable[Event], devices: set[bytes]) -> None:
        """After a restart, and at the end: everything that was acknowledged is in the journal."""
        known, ended = set(), set()
        for event in events:
            match event:
                case Mustered():
                    known.add((Mustered, event.identity, sha256(event.body).digest()))
                case Dealt() | Reported() | Voted() | Answered():
                    known.add((type(event), event.identity, event.cohort))
                case CohortEnded() | SumOpened():
                    ended.add(event.cohort)
        for kind, identity, what in self._acknowledged:
            if (kind, identity, what) not in known and (kind in (Mustered, Dealt) or what not in ended):
                self.fail("forgotten", f"the server acknowledged a {kind.__name__} and does not know it")
        for (cohort, identity), deal in self._deals.items():
            if cohort not in ended and not self.damaged:
                self._require_upload(cohort, identity, deal)
        if not self.enrolled <= devices:
            self.fail("forgotten", "the server acknowledged an enrolment and does not know it")

    def _require_upload(self, cohort: bytes, identity: bytes, deal: bytes) -> None:
        vector = self.blobs / "cohorts" / cohort.hex() / "uploads" / identity.hex()
        packets, digest = self.blobs / packets_key(cohort, identity, deal), DealBody.decode(deal).vector_hash
        if not packets.is_file() or not vector.is_file() or sha256(vector.read_bytes()).digest() != digest:
            self.fail("forgotten", "the server acknowledged a deal whose vector or packets it does not have")

    def check_versions(self, versions: list[AdapterVersion], events: Iterable[Event]) -> None:
        """Every version but the first is its parent plus the weighted mean of its round's opened cohorts."""
        opened = {event.cohort for event in events if isinstance(event, SumOpened)}
        by_number = {version.version: version for version in versions}
        for version in versions:
            if version.parent is None or not self._adapter_is_whole(version.adapter):
                continue
            turn, parent = decode_task(self.task).turn(version.round or 0), by_number[version.parent]
            following = decode_task(self.task).turn((parent.round or 0) + 1)
            if turn != following:
                self.fail("turn", f"version {version.version} came of turn {turn.number}, {following.number} was due")
            results = [r for r in self._results.values() if r.round == version.round and r.outcome == "published"]
            asked = {result.cohort for result in results}
            if not results or any(c not in asked for c in opened if self._round_of.get(c) == version.round):
                continue  # nobody was there to ask how all its cohorts ended
            means = [self.oracle.mean(_receipts(result)) for result in results]
            total = sum(weight for _, weight in means)
            update = sum(mean * (weight / total) for mean, weight in means)
            base = self._vector(parent.adapter)
            expected = turn.put(base, turn.take(base) + update)
            if not np.allclose(self._vector(version.adapter), expected, 1e-5, 1e-7):
                self.fail("wrong adapter", f"version {version.version} is not its parent plus the mean update")

    def _acknowledge(self, identity: bytes, message: object) -> None:
        match message:
            case Enrol():
                self.enrolled.add(message.identity)
            case Muster():
                self._acknowledged.add((Mustered, identity, sha256(message.body).digest()))
            case Deal():
                self._acknowledged.add((Dealt, identity, message.cohort))
                self._deals[message.cohort, identity] = message.body
            case Report():
                self._acknowledged.add((Reported, identity, message.cohort))
            case Vote():
                self._acknowledged.add((Voted, identity, message.cohort))
            case Answer():
                self._acknowledged.add((Answered, identity, message.cohort))

    def _list(self, request: Request, survivors: bytes, cohort: bytes | None = None) -> None:
        self.devices.note_list(survivors)
        if not self.honest:
            return
        if cohort is None:
            cohort = decode(request.body, Poll).cohort or b""
        if self._lists.setdefault(cohort, survivors) != survivors:
            self.fail("two lists", "a cohort is offered a second list of survivors")

    def _result(self, result: Result) -> None:
        known = self._results.get(result.cohort)
        if known is not None:
            if known.outcome != result.outcome:
                self.fail("two results", f"a cohort was {known.outcome} and is {result.outcome}")
            return
        self._results[result.cohort] = result
        if result.outcome != "published":
            return
        self._adapter_is_whole(result.adapter)
        receipts = _receipts(result)
        if any(receipt not in self.oracle.given for receipt in receipts):
            self.fail("wrong sum", "a list of survivors names what nobody has masked")
            return
        opened = load((self.blobs / sum_key(result.cohort)).read_bytes())["slots"]
        if not np.array_equal(opened, self.oracle.total(receipts)):
            self.fail("wrong sum", f"the opened sum of round {result.round} is not the integer sum over its survivors")
        for receipt in receipts:
            delta = self.oracle.given[receipt].delta
            if self._summed.setdefault(delta, result.cohort) != result.cohort:
                self.fail("spent", "one delta is in two published sums")

    def _adapter_is_whole(self, adapter: bytes) -> bool:
        path = self.blobs / adapter_key(adapter)
        whole = path.is_file() and sha256(path.read_bytes()).digest() == adapter
        if not whole:
            self.fail("partial publication", "an adapter that is named is not there, or not whole")
        return whole

    def _vector(self, adapter: bytes) -> np.ndarray:
        return read_adapter((self.blobs / adapter_key(adapter)).read_bytes())[1].astype(np.float64)


def _receipts(result: Result) -> list[bytes]:
    try:
        return [survivor.receipt_hash for survivor in decode_survivors(result.survivors)]
    except FeditError:
        return []
