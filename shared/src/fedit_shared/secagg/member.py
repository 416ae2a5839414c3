"""A member after its upload: it reports, votes, and answers. Every method is a function of what it is given, so a
restart changes nothing; that a vote is given once per sid is the caller's to keep on disk."""

from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from fedit_shared.errors import ForgedError, ProtocolError, UnsafeError
from fedit_shared.identity import SigningKey, verify
from fedit_shared.messages import Prepare, Receipt
from fedit_shared.parameters import COHORT_MAX, COHORT_MIN, PRIMES, CohortParameters

from . import merkle
from .bodies import (
    AnswerBody,
    DealBody,
    Finding,
    ReportBody,
    Survivor,
    VoteBody,
    decode_certificate,
    decode_survivors,
    encode_report,
    receipt_hash,
    require_rising,
)
from .checks import check_values
from .kernels import add_words
from .sealing import RoundKey, packet_size
from .session import Session

Words = NDArray[np.uint32]
_MESSAGES = 4096
"""Bytes that a round's messages have besides: keys, signatures, hashes, framing."""


class Member:
    """One device in one cohort."""

    def __init__(self, session: Session, key: SigningKey, round_key: RoundKey) -> None:
        self._session = session
        self._key = key
        self._round_key = round_key
        self._index = session.index(key.public)

    def report(self, prepare: Prepare) -> tuple[bytes, bytes]:
        """The report on every other dealer's packet, and its signature.

        Raises ProtocolError or ForgedError if the server changed receipts or packets: such a fault is refused, never
        blamed on a dealer.
        """
        deals = self._check_prepare(prepare)
        findings = []
        for receipt, entry in zip(prepare.receipts, prepare.packets, strict=True):
            if receipt.identity == self._key.public:
                continue
            words = self._open(receipt, entry)
            checks = None if words is None else check_values(self._session.parameters, receipt.body, words)
            findings.append(Finding(receipt.identity, deals[receipt.identity], checks))
        report = encode_report(findings)
        body = ReportBody(self._session.sid, self._key.public, sha256(report).digest())
        return report, self._key.sign("report", body.encode())

    def vote(self, prepare: Prepare, survivors: bytes) -> bytes:
        """The signature on ``survivors`` (encoded U). **Store the vote, on disk, before sending it; sign one per sid.**

        Raises UnsafeError if fewer survive than any floor in the cohort allows, ForgedError for a receipt that is not
        in ``prepare`` or not signed by its dealer. The empty U may always be voted for.
        """
        if survivors:
            self._check_survivors(prepare, survivors)
        return self._key.sign("vote", VoteBody(self._session.sid, sha256(survivors).digest()).encode())

    def answer(self, prepare: Prepare, survivors: bytes, certificate: bytes) -> tuple[bytes, bytes] | None:
        """The sum of the certified survivors' shares (uint32 words) and its signature.

        None if a survivor's packet cannot be used: then this device keeps silent. Raises as :meth:`vote` does, and
        ForgedError for a certificate without r votes, UnsafeError for the empty U.
        """
        if not survivors:
            raise UnsafeError("There is nothing to open: the cohort was abandoned.")
        check_certificate(self._session, survivors, certificate)
        chosen = self._check_survivors(prepare, survivors)
        parameters = self._session.parameters
        total = np.zeros(parameters.words, "<u4")
        wanted = {survivor.identity for survivor in chosen}
        for receipt, entry in zip(prepare.receipts, prepare.packets, strict=True):
            if receipt.identity not in wanted:
                continue
            words = self._open(receipt, entry)
            if words is None:
                return None
            add_words(total, words[: parameters.words], *PRIMES)
        answer = total.tobytes()
        body = AnswerBody(self._session.sid, sha256(survivors).digest(), self._index, sha256(answer).digest())
        return answer, self._key.sign("answer", body.encode())

    def _check_prepare(self, prepare: Prepare) -> dict[bytes, bytes]:
        """identity → receipt hash, every signature and proof checked: what fails here is the server's doing."""
        if len(prepare.receipts) != len(prepare.packets):
            raise ProtocolError("The server sent more receipts than packets, or fewer.")
        require_rising([receipt.identity for receipt in prepare.receipts], "list of receipts")
        hashes = {}
        for receipt, entry in zip(prepare.receipts, prepare.packets, strict=True):
            deal = check_deal(self._session, receipt.identity, receipt.body, receipt.signature)
            packet, proof = self._split(entry)
            node = merkle.leaf(self._index, self._key.public, packet)
            if merkle.root_from(self._index, self._session.parameters.members, node, proof) != deal.root:
                raise ForgedError("The server sent a packet that its dealer did not deal.")
            hashes[receipt.identity] = receipt_hash(receipt.body, receipt.signature)
        return hashes

    def _check_survivors(self, prepare: Prepare, survivors: bytes) -> list[Survivor]:
        hashes = self._check_prepare(prepare)
        chosen = decode_survivors(survivors)
        if len(chosen) < self._session.floor:
            raise UnsafeError(
                f"The server asks to open a sum of {len(chosen)} updates; this cohort's floor is {self._session.floor}."
            )
        for survivor in chosen:
            if hashes.get(survivor.identity) != survivor.receipt_hash:
                raise ForgedError("The list of survivors names a receipt that was not shown.")
        return chosen

    def _split(self, entry: bytes) -> tuple[bytes, bytes]:
        parameters = self._session.parameters
        size = packet_size(parameters)
        if len(entry) != size + merkle.proof_size(self._index, parameters.members):
            raise ProtocolError("The server sent a packet of a wrong size.")
        return entry[:size], entry[size:]

    def _open(self, receipt: Receipt, entry: bytes) -> Words | None:
        """The packet's words, uint32 (packet_words,); None if it does not open or holds a word ≥ p."""
        packet, _ = self._split(entry)
        plain = self._round_key.open(packet, self._session.sid, receipt.identity, self._key.public)
        if plain is None:
            return None
        words = np.frombuffer(plain, "<u4")
        return words if (words < word_primes(self._session)).all() else None


def most_beside() -> int:
    """Bytes that a member of a cohort of any size sends besides its masked vector, at most: its muster, its packets
    and its three answers, each once."""
    sizes = [CohortParameters(members) for members in range(COHORT_MIN, COHORT_MAX + 1)]
    found = Finding.LAYOUT.size
    return _MESSAGES + max(size.members * (packet_size(size) + found) + 4 * size.words for size in sizes)


def word_primes(session: Session) -> Words:
    """The prime that each word of a packet is taken by: uint32 (packet_words,); its first part is an answer's."""
    parameters = session.parameters
    checks = parameters.packet_words - parameters.words
    return np.repeat(np.array(PRIMES * 2, np.uint32), [parameters.blocks, parameters.blocks, checks // 2, checks // 2])


def check_deal(session: Session, identity: bytes, body: bytes, signature: bytes) -> DealBody:
    """The deal in ``body``. Raises ForgedError unless ``identity``, of this cohort, signed it for this session."""
    deal = DealBody.decode(body)
    session.index(identity)
    if deal.sid != session.sid or deal.dealer != identity:
        raise ForgedError("This deal is of another session or another device.")
    verify(identity, "deal", body, signature)
    return deal


def check_certificate(session: Session, survivors: bytes, certificate: bytes) -> None:
    """Raise ForgedError unless r distinct members of the roster voted for ``survivors``."""
    votes = decode_certificate(certificate)
    body = VoteBody(session.sid, sha256(survivors).digest()).encode()
    for identity, signature in votes.items():
        session.index(identity)
        verify(identity, "vote", body, signature)
    if len(votes) < session.parameters.threshold:
        raise ForgedError(
            f"A certificate of {len(votes)} votes is not enough: it takes {session.parameters.threshold}."
        )
