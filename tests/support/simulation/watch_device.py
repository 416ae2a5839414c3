"""What must never leave an honest device's machine, checked on every request before anything happens to it."""

import base64
import binascii
from collections import defaultdict
from collections.abc import Callable
from hashlib import sha256

from fedit_shared.errors import FeditError
from fedit_shared.identity import verify
from fedit_shared.messages import ROUTES, Answer, Deal, Muster, Roster, Vote, decode, decode_settings, decode_task
from fedit_shared.secagg import Session
from fedit_shared.secagg.bodies import (
    AnswerBody,
    DealBody,
    RosterBody,
    VoteBody,
    decode_survivors,
    receipt_hash,
)
from fedit_shared.secagg.session import compute_sid

from .network import Request
from .oracle import Oracle

Fail = Callable[[str, str], None]
_KINDS = {ROUTES[kind].path: kind for kind in (Muster, Deal, Vote, Answer)}

PIECE_SIZE = 4 * 1024
"""Of an upload, in the simulator."""


class Device:
    """What one identity has said in one session."""

    def __init__(self) -> None:
        self.vote: bytes | None = None
        self.answer: tuple[bytes, bytes] | None = None
        self.receipt: bytes | None = None


class DeviceWatch:
    """One vote, one vector and one answer a session; a round key for one cohort; a delta in one sum; nothing below a
    floor or without votes. ``fail`` is told which rule broke, and how."""

    def __init__(self, oracle: Oracle, fail: Fail) -> None:
        self._oracle = oracle
        self._fail = fail
        self.damaged: set[str] = set()
        """Devices of whose disks a byte was changed: their vectors may differ from what they were."""
        self.lists: dict[bytes, bytes] = {b"": b""}
        """hash → list of survivors, for all that devices were ever shown."""
        self.sessions: dict[bytes, Session] = {}
        self.votes: dict[tuple[bytes, bytes], set[bytes]] = defaultdict(set)
        """(sid, hash of the list) → who has voted for it."""
        self._said: dict[tuple[bytes, bytes], Device] = defaultdict(Device)
        self._by_cohort: dict[bytes, list[bytes]] = defaultdict(list)
        self._pieces: dict[tuple[bytes, str, int], bytes] = {}
        self._round_keys: dict[bytes, bytes] = {}
        self._musters: dict[bytes, bytes] = {}
        self._deals: dict[bytes, list[bytes]] = defaultdict(list)
        """identity → sids into which it has dealt, in order."""
        self.note_list(b"")

    def note_roster(self, roster: Roster, task: bytes) -> None:
        """A device is shown this roster."""
        try:
            body = RosterBody.decode(roster.body)
            sid = compute_sid(roster.body, body)
            if sid not in self.sessions:
                spec = decode_task(task)
                self.sessions[sid] = Session(body, spec, decode_settings(roster.settings, spec), sid)
                self._by_cohort[roster.cohort].append(sid)
        except FeditError:
            return  # changed on its way

    def note_list(self, survivors: bytes) -> None:
        """A device is shown this list of survivors."""
        self.lists[sha256(survivors).digest()] = survivors

    def certified(self, sid: bytes, survivors_hash: bytes) -> bool:
        """Whether enough members have voted for this list."""
        return len(self.votes[sid, survivors_hash]) >= self.sessions[sid].parameters.threshold

    def __call__(self, request: Request) -> None:
        identity = identity_of(request)
        if request.method == "PUT":
            self._chunk(request, identity)
            return
        kind = _KINDS.get(request.path)
        if kind is None:
            return
        try:
            message = decode(request.body, kind)
        except FeditError:
            self._fail("malformed", f"{request.device} sends a {kind.__name__} that cannot be read")
            return
        match message:
            case Muster():
                if self._musters.setdefault(message.round_key, message.body) != message.body:
                    self._fail("round key", f"{request.device} musters twice with one round key")
            case Deal():
                self._deal(request.device, identity, message)
            case Vote():
                self._vote(request.device, identity, message)
            case Answer():
                self._answer(request.device, identity, message)

    def _chunk(self, request: Request, identity: bytes) -> None:
        cohort, _, first = request.path.rpartition("/")
        for number, start in enumerate(range(0, len(request.body), PIECE_SIZE), int(first)):
            digest = sha256(request.body[start : start + PIECE_SIZE]).digest()
            known = self._pieces.setdefault((identity, cohort, number), digest)
            if known != digest and request.device not in self.damaged:
                self._fail("two vectors", f"{request.device} sends another vector under one sid")

    def _deal(self, device: str, identity: bytes, deal: Deal) -> None:
        body = DealBody.decode(deal.body)
        if body.sid not in self.sessions or not _signed(identity, "deal", deal.body, deal.signature):
            return
        said, receipt = self._said[identity, body.sid], receipt_hash(deal.body, deal.signature)
        if said.receipt not in (None, receipt):
            self._fail("two vectors", f"{device} deals twice under one sid")
        round_key = self.sessions[body.sid].entry(identity).round_key
        if self._round_keys.setdefault(round_key, body.sid) != body.sid:
            self._fail("round key", f"{device} deals into two cohorts under one round key")
        if receipt not in self._oracle.given:
            self._fail("two vectors", f"{device} deals what it has not masked")
        elif said.receipt is None:
            self._require_unspent(device, identity, receipt)
            self._deals[identity].append(body.sid)
        said.receipt = receipt

    def _require_unspent(self, device: str, identity: bytes, receipt: bytes) -> None:
        delta = self._oracle.given[receipt].delta
        for sid in self._deals[identity]:
            earlier = self._said[identity, sid].receipt
            if earlier is None or self._oracle.given[earlier].delta != delta:
                continue
            without = [h for h, survivors in self.lists.items() if identity + earlier not in _lines(survivors)]
            if not any(self.certified(sid, h) for h in without):
                self._fail("spent", f"{device} deals a delta again that may be in an earlier sum")

    def _vote(self, device: str, identity: bytes, vote: Vote) -> None:
        for sid in self._by_cohort[vote.cohort]:
            if not _signed(identity, "vote", VoteBody(sid, vote.survivors_hash).encode(), vote.signature):
                continue
            said = self._said[identity, sid]
            if said.vote not in (None, vote.survivors_hash):
                self._fail("two votes", f"{device} votes twice in one cohort")
            said.vote = vote.survivors_hash
            self.votes[sid, vote.survivors_hash].add(identity)
            self._require_enough(device, "votes", sid, vote.survivors_hash)
            self._require_not_superseded(device, identity, sid)

    def _answer(self, device: str, identity: bytes, answer: Answer) -> None:
        for sid in self._by_cohort[answer.cohort]:
            session = self.sessions[sid]
            if identity not in session.identities:
                continue
            words = sha256(answer.words).digest()
            body = AnswerBody(sid, answer.survivors_hash, session.index(identity), words)
            if not _signed(identity, "answer", body.encode(), answer.signature):
                continue
            said = self._said[identity, sid]
            if said.answer not in (None, (answer.survivors_hash, words)):
                self._fail("two answers", f"{device} gives two answers in one cohort")
            said.answer = answer.survivors_hash, words
            if not self.certified(sid, answer.survivors_hash):
                self._fail("no certificate", f"{device} answers without r votes for the list")
            self._require_enough(device, "answers", sid, answer.survivors_hash)
            self._require_not_superseded(device, identity, sid)

    def _require_enough(self, device: str, does: str, sid: bytes, survivors_hash: bytes) -> None:
        survivors = self.lists.get(survivors_hash)
        if survivors is None:
            self._fail("floor", f"{device} {does} for a list that nobody showed it")
        elif survivors and len(decode_survivors(survivors)) < self.sessions[sid].floor:
            self._fail("floor", f"{device} {does} for fewer survivors than a member's floor")

    def _require_not_superseded(self, device: str, identity: bytes, sid: bytes) -> None:
        dealt = self._deals[identity]
        later = dealt[dealt.index(sid) + 1 :] if sid in dealt else []
        if any(self.sessions[other].roster.adapter == self.sessions[sid].roster.adapter for other in later):
            self._fail("superseded", f"{device} still speaks in a cohort after it contributed anew on that adapter")


def identity_of(request: Request) -> bytes:
    """Who has signed the request; empty for an enrolment."""
    _, _, encoded = request.headers.get("Authorization", "").partition(" ")
    try:
        return base64.urlsafe_b64decode(encoded)[:32]
    except (binascii.Error, ValueError):
        return b""


def _lines(survivors: bytes) -> set[bytes]:
    return {survivors[at : at + 64] for at in range(0, len(survivors), 64)}


def _signed(identity: bytes, purpose: str, body: bytes, signature: bytes) -> bool:
    try:
        verify(identity, purpose, body, signature)  # type: ignore[arg-type]
    except FeditError:
        return False
    return True
