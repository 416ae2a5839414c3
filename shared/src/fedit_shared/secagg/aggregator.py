"""The server's side of one cohort: collects receipts, reports, votes and answers; opens the sum of the keys.

Nothing here is random or remembers more than it was told, so a server rebuilds it after a restart by telling it the
same again. Methods check first and change last: what raises has changed nothing. Sending the same again is accepted
and changes nothing; sending something else raises ConflictError.
"""

from collections.abc import Iterator
from functools import lru_cache
from hashlib import sha256
from typing import TypeVar

import numpy as np

from fedit_shared.errors import ConflictError, ForgedError, ProtocolError
from fedit_shared.identity import verify
from fedit_shared.messages import Receipt

from . import merkle
from .bodies import (
    AnswerBody,
    Finding,
    ReportBody,
    Survivor,
    VoteBody,
    decode_report,
    decode_survivors,
    encode_certificate,
    encode_survivors,
    receipt_hash,
)
from .member import check_deal, word_primes
from .opening import Candidate, open_sum
from .sealing import packet_size
from .selection import Edges, edges_of, select
from .session import Session

T = TypeVar("T")


def split_packets(session: Session, identity: bytes, body: bytes, signature: bytes, packets: bytes) -> list[bytes]:
    """A deal, checked, as what each member is to get: its packet followed by the Merkle proof, in order of the roster.

    Raises ProtocolError for packets of a wrong size, ForgedError for a deal that is not this device's for this
    session or whose root is not that of the packets.
    """
    deal = check_deal(session, identity, body, signature)
    size = packet_size(session.parameters)
    if len(packets) != size * session.parameters.members:
        raise ProtocolError("The packets of a deal are not of this cohort's size.")
    split = [packets[i : i + size] for i in range(0, len(packets), size)]
    leaves = merkle.leaves(session.identities, split)
    if merkle.root(leaves) != deal.root:
        raise ForgedError("The packets of a deal are not those that its receipt names.")
    return [packet + proof for packet, proof in zip(split, merkle.proofs(leaves), strict=True)]


class Aggregator:
    """One cohort's state, from the first deal to the opened key."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.receipts: dict[bytes, Receipt] = {}
        self.reports: dict[bytes, bytes] = {}
        self.survivors: bytes | None = None
        self.votes: dict[bytes, tuple[bytes, bytes]] = {}
        """identity → (hash of the list voted for, signature)."""
        self.answers: dict[bytes, bytes] = {}
        self._findings: dict[bytes, list[Finding]] = {}
        self._offered: set[bytes] = set()
        self._heard: frozenset[bytes] = frozenset()
        """Who had reported when U was offered."""
        self._suspects: set[bytes] = set()
        # Reports never change and no deal comes after the first: those of now, and those that U was chosen from.
        self._judge = lru_cache(maxsize=2)(self._edges)

    def snapshot(self) -> "Aggregator":
        """As it is now: to be read on another thread while this one goes on."""
        twin = Aggregator(self.session)
        twin.receipts, twin.reports, twin.survivors = self.receipts.copy(), self.reports.copy(), self.survivors
        twin.votes, twin.answers, twin._findings = self.votes.copy(), self.answers.copy(), self._findings.copy()
        twin._offered, twin._suspects, twin._heard = self._offered.copy(), self._suspects.copy(), self._heard
        twin._judge = self._judge
        return twin

    def add_deal(self, identity: bytes, body: bytes, signature: bytes) -> None:
        """A dealer's vector and packets are stored. The packets were checked by :func:`split_packets`.

        Raises ConflictError for a new deal after the first report: that report does not speak of it."""
        check_deal(self.session, identity, body, signature)
        if self.reports and identity not in self.receipts:
            raise ConflictError("Contributions to this cohort are closed.")
        _put(self.receipts, identity, Receipt(identity=identity, body=body, signature=signature), "deal")

    def enough_deals(self) -> bool:
        """Whether those who dealt so far are as many as the cohort's floor asks for."""
        return len(self.receipts) >= self.session.floor

    def add_report(self, identity: bytes, report: bytes, signature: bytes) -> None:
        """A member's report on all dealers but itself. It closes the cohort to further deals."""
        self.session.index(identity)
        findings = decode_report(report)
        expected = {d: receipt_hash(r.body, r.signature) for d, r in self.receipts.items() if d != identity}
        if {finding.dealer: finding.receipt_hash for finding in findings} != expected:
            raise ProtocolError("A report must speak of every other dealer's receipt, and of nothing else.")
        limits = word_primes(self.session)[self.session.parameters.words :]
        if any(word >= limit for f in findings if f.checks for word, limit in zip(f.checks, limits, strict=True)):
            raise ProtocolError("A report holds a check value that is no residue.")
        body = ReportBody(self.session.sid, identity, sha256(report).digest())
        verify(identity, "report", body.encode(), signature)
        _put(self.reports, identity, report, "report")
        self._findings[identity] = findings

    def choose_survivors(self) -> bytes | None:
        """U (encoded) such that r reporting members can answer for all of it; None while there is no such U."""
        edges, broken = self._judge(frozenset(self.reports))
        sound = [dealer for dealer in sorted(self.receipts) if dealer not in broken]
        chosen = select(
            sorted(self.reports),
            sound,
            edges,
            threshold=self.session.parameters.threshold,
            floor=self.session.floor,
        )
        self._suspects |= broken
        if chosen is None:
            return None
        receipts = [self.receipts[identity] for identity in chosen]
        return encode_survivors([Survivor(r.identity, receipt_hash(r.body, r.signature)) for r in receipts])

    def offer(self, survivors: bytes) -> None:
        """Fix U, once; empty: abandon the cohort. Raises ConflictError for a second, different non-empty U, or for any
        after the empty one."""
        if survivors and self.survivors not in (None, survivors):
            raise ConflictError("A cohort has one list of survivors.")
        known = {d: receipt_hash(r.body, r.signature) for d, r in self.receipts.items()}
        if any(known.get(s.identity) != s.receipt_hash for s in decode_survivors(survivors)):
            raise ProtocolError("A list of survivors names a receipt that this cohort does not have.")
        if self.survivors != survivors:
            self._heard = frozenset(self.reports)
        self.survivors = survivors
        self._offered.add(sha256(survivors).digest())

    def add_vote(self, identity: bytes, survivors_hash: bytes, signature: bytes) -> None:
        """A member's vote for a list that was offered. Raises ConflictError for another list or a second vote."""
        self.session.index(identity)
        if survivors_hash not in self._offered:
            raise ConflictError("This list of survivors was not offered.")
        verify(identity, "vote", VoteBody(self.session.sid, survivors_hash).encode(), signature)
        _put(self.votes, identity, (survivors_hash, signature), "vote")

    def certificate(self) -> bytes | None:
        """The votes, encoded, once there are r for the list now offered; else None."""
        if self.survivors is None:
            return None
        wanted = sha256(self.survivors).digest()
        votes = {identity: signature for identity, (voted, signature) in self.votes.items() if voted == wanted}
        return encode_certificate(votes) if len(votes) >= self.session.parameters.threshold else None

    def add_answer(self, identity: bytes, survivors_hash: bytes, words: bytes, signature: bytes) -> None:
        """A member's sum of shares. Raises ProtocolError for a share ≥ p, ConflictError before the certificate."""
        index = self.session.index(identity)
        if not self.survivors or self.certificate() is None or survivors_hash != sha256(self.survivors).digest():
            raise ConflictError("This list of survivors is not certified.")
        count = self.session.parameters.words
        if len(words) != 4 * count or (np.frombuffer(words, "<u4") >= word_primes(self.session)[:count]).any():
            raise ProtocolError("An answer does not hold one residue for every block.")
        body = AnswerBody(self.session.sid, survivors_hash, index, sha256(words).digest())
        verify(identity, "answer", body.encode(), signature)
        _put(self.answers, identity, words, "answer")

    def open_key(self) -> Iterator[Candidate]:
        """What may be S = Σ s over U, each once, the likeliest first; none with fewer than r answers, or with more that
        disagree beyond repair. :meth:`VectorSum.open` finds the one that opens the sum.

        Who claimed an edge into U is left out. Who has one by its check values is left out by all reports, else by
        those that U was chosen from, else not at all: liars may report late, or put honest members off a polynomial.
        Keys that more than r answers agree on go before those that just r give.
        """
        if not self.survivors:
            return
        chosen = {survivor.identity for survivor in decode_survivors(self.survivors)}
        claimed = {
            m for m, said in self._findings.items() if any(f.checks is None and f.dealer in chosen for f in said)
        }
        judged = [self._judge(heard)[0] for heard in (frozenset(self.reports), self._heard)]
        unfit = [claimed | {member for member, dealer in edges if dealer in chosen} for edges in judged]
        given: set[bytes] = set()
        unsure: list[Candidate] = []
        for left_out in dict.fromkeys(map(frozenset, (*unfit, claimed))):
            answers = {
                self.session.index(m): np.frombuffer(w, "<u4") for m, w in self.answers.items() if m not in left_out
            }
            opened = open_sum(self.session.parameters, answers)
            if opened.key is None:
                continue
            wrong = {self.session.identities[index - 1] for index in opened.liars}
            # who has an edge may have been dealt a wrong share
            candidate = Candidate(opened.key, frozenset(wrong.difference(*unfit)))
            if len(answers) == self.session.parameters.threshold:
                unsure.append(candidate)
            elif opened.key.tobytes() not in given:
                given.add(opened.key.tobytes())
                yield candidate
        for candidate in unsure:
            if candidate.key.tobytes() not in given:
                given.add(candidate.key.tobytes())
                yield candidate

    def blame(self, proved: Candidate) -> None:
        """Remember who answered wrongly, by the key that opened the sum."""
        self._suspects |= proved.liars

    def suspects(self) -> tuple[bytes, ...]:
        """Dealers and members found off a polynomial so far: to be scored, not shown as proof."""
        return tuple(sorted(self._suspects))

    def _edges(self, heard: frozenset[bytes]) -> tuple[Edges, set[bytes]]:
        """What the reports of ``heard`` say."""
        places: dict[bytes, int] = {identity: k for k, identity in enumerate(self.session.identities, start=1)}
        findings = {member: self._findings[member] for member in heard}
        return edges_of(self.session.parameters, places, sorted(self.receipts), findings)


def _put(into: dict[bytes, T], identity: bytes, value: T, what: str) -> None:
    if into.setdefault(identity, value) != value:
        raise ConflictError(f"This device has already sent another {what}.")
