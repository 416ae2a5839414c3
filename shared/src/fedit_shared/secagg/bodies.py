"""What gets signed: bodies of fixed layout, integers little-endian, times in Unix seconds.

The layouts are those of ``docs/protocol.md``, "Messages". Nothing here is msgpack.
"""

import struct
from dataclasses import dataclass, fields
from hashlib import sha256
from itertools import pairwise
from typing import ClassVar, Literal, Self

from fedit_shared.errors import ProtocolError
from fedit_shared.identity.keys import SIGNATURE_SIZE
from fedit_shared.parameters import CHECKS, COHORT_MAX, COHORT_MIN

HASH = 32
ROUND_KEY_SIZE = 1216
LATEST = 2**40
"""No time is later, wherever one is read; Unix seconds."""
OUTCOMES = ("published", "abandoned", "failed")
Outcome = Literal["published", "abandoned", "failed"]


_TIMES = ("time", "train_until", "not_after")


def require_time(time: int) -> None:
    """Raise ProtocolError for a time, in Unix seconds, that no message may name."""
    if time > LATEST:
        raise ProtocolError(f"A time is at most {LATEST}, not {time}.")


@dataclass(frozen=True)
class _Body:
    """A dataclass whose fields, in order, are the packed fields of LAYOUT."""

    LAYOUT: ClassVar[struct.Struct]

    def encode(self) -> bytes:
        """The bytes that are signed."""
        return self.LAYOUT.pack(*(getattr(self, field.name) for field in fields(self)))

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """The body in ``raw``. Raises ProtocolError for a wrong length, or a time after LATEST."""
        if len(raw) != cls.LAYOUT.size:
            raise ProtocolError(f"A {cls.__name__} has {cls.LAYOUT.size} bytes, not {len(raw)}.")
        values = cls.LAYOUT.unpack(raw)
        for field, value in zip(fields(cls), values, strict=True):
            if field.name in _TIMES:
                require_time(value)
        return cls(*values)


@dataclass(frozen=True)
class EnrolBody(_Body):
    """enrol: federation ‖ identity ‖ SHA-256(token) ‖ time8."""

    LAYOUT = struct.Struct("<32s32s32sQ")
    federation: bytes
    identity: bytes
    token_hash: bytes
    time: int


@dataclass(frozen=True)
class OfferBody(_Body):
    """checkin: federation ‖ identity ‖ H(task) ‖ round8 ‖ H(adapter) ‖ train_until8 ‖ not_after8."""

    LAYOUT = struct.Struct("<32s32s32sQ32sQQ")
    federation: bytes
    identity: bytes
    task_hash: bytes
    round: int
    adapter: bytes
    train_until: int
    not_after: int


@dataclass(frozen=True)
class MusterBody(_Body):
    """muster: federation ‖ H(task) ‖ round8 ‖ H(adapter) ‖ H(round key) ‖ floor2 ‖ not_after8."""

    LAYOUT = struct.Struct("<32s32sQ32s32sHQ")
    federation: bytes
    task_hash: bytes
    round: int
    adapter: bytes
    round_key_hash: bytes
    floor: int
    not_after: int


@dataclass(frozen=True)
class DealBody(_Body):
    """deal: sid ‖ from32 ‖ H(y) ‖ Merkle root over the packets."""

    LAYOUT = struct.Struct("<32s32s32s32s")
    sid: bytes
    dealer: bytes
    vector_hash: bytes
    root: bytes


@dataclass(frozen=True)
class ReportBody(_Body):
    """report: sid ‖ from32 ‖ H(report)."""

    LAYOUT = struct.Struct("<32s32s32s")
    sid: bytes
    member: bytes
    report_hash: bytes


@dataclass(frozen=True)
class VoteBody(_Body):
    """vote: sid ‖ H(U)."""

    LAYOUT = struct.Struct("<32s32s")
    sid: bytes
    survivors_hash: bytes


@dataclass(frozen=True)
class AnswerBody(_Body):
    """answer: sid ‖ H(U) ‖ index4 ‖ H(words)."""

    LAYOUT = struct.Struct("<32s32sI32s")
    sid: bytes
    survivors_hash: bytes
    index: int
    words_hash: bytes


@dataclass(frozen=True)
class ResultBody(_Body):
    """result: sid ‖ round8 ‖ outcome1 ‖ H(U) ‖ H(adapter that is current now) ‖ Σw8."""

    LAYOUT = struct.Struct("<32sQB32s32sQ")
    sid: bytes
    round: int
    outcome: int
    survivors_hash: bytes
    adapter: bytes
    total_weight: int


@dataclass(frozen=True)
class RosterEntry:
    """One member as it mustered: identity32 ‖ round key1216 ‖ floor2 ‖ not_after8 ‖ signature64."""

    LAYOUT: ClassVar = struct.Struct(f"<32s{ROUND_KEY_SIZE}sHQ{SIGNATURE_SIZE}s")
    identity: bytes
    round_key: bytes
    floor: int
    not_after: int
    signature: bytes


@dataclass(frozen=True)
class RosterBody:
    """roster: federation ‖ H(task) ‖ round8 ‖ cohort16 ‖ H(adapter) ‖ H(settings) ‖ n2 ‖ entries by identity."""

    HEAD: ClassVar = struct.Struct("<32s32sQ16s32s32sH")
    federation: bytes
    task_hash: bytes
    round: int
    cohort: bytes
    adapter: bytes
    settings_hash: bytes
    entries: tuple[RosterEntry, ...]

    def encode(self) -> bytes:
        """The bytes that the server signs, and whose hash enters the sid."""
        head = self.HEAD.pack(
            self.federation,
            self.task_hash,
            self.round,
            self.cohort,
            self.adapter,
            self.settings_hash,
            len(self.entries),
        )
        return head + b"".join(
            RosterEntry.LAYOUT.pack(e.identity, e.round_key, e.floor, e.not_after, e.signature) for e in self.entries
        )

    @classmethod
    def decode(cls, raw: bytes) -> "RosterBody":
        """The roster in ``raw``: right length, 3 to 255 entries, identities strictly rising, no time after LATEST. Else
        ProtocolError."""
        if len(raw) < cls.HEAD.size:
            raise ProtocolError("A roster is cut off.")
        *head, count = cls.HEAD.unpack_from(raw)
        federation, task_hash, round_, cohort, adapter, settings_hash = head
        if not COHORT_MIN <= count <= COHORT_MAX or len(raw) != cls.HEAD.size + count * RosterEntry.LAYOUT.size:
            raise ProtocolError(f"A roster of {count} members cannot have {len(raw)} bytes.")
        entries = tuple(RosterEntry(*fields) for fields in RosterEntry.LAYOUT.iter_unpack(raw[cls.HEAD.size :]))
        require_rising([entry.identity for entry in entries], "roster")
        for entry in entries:
            require_time(entry.not_after)
        return cls(federation, task_hash, round_, cohort, adapter, settings_hash, entries)


@dataclass(frozen=True)
class Survivor:
    """One line of U: identity32 ‖ SHA-256(deal ‖ signature)."""

    identity: bytes
    receipt_hash: bytes


def encode_survivors(survivors: list[Survivor]) -> bytes:
    """U's bytes; empty for the empty list."""
    return b"".join(survivor.identity + survivor.receipt_hash for survivor in survivors)


def decode_survivors(raw: bytes) -> list[Survivor]:
    """U in ``raw``: identities strictly rising. Else ProtocolError."""
    pairs = _split(raw, HASH, HASH, "list of survivors")
    require_rising([identity for identity, _ in pairs], "list of survivors")
    return [Survivor(identity, receipt) for identity, receipt in pairs]


def encode_certificate(votes: dict[bytes, bytes]) -> bytes:
    """Votes, identity → signature, as identity32 ‖ signature64, identities rising."""
    return b"".join(identity + votes[identity] for identity in sorted(votes))


def decode_certificate(raw: bytes) -> dict[bytes, bytes]:
    """identity → signature. Raises ProtocolError unless identities rise strictly."""
    pairs = _split(raw, HASH, SIGNATURE_SIZE, "certificate")
    require_rising([identity for identity, _ in pairs], "certificate")
    return dict(pairs)


@dataclass(frozen=True)
class Finding:
    """What a member says of one dealer: an edge (its packet cannot be used: ``checks is None``), or its check values,
    2 primes × 4 words, in the order p₀ c = 1…4, p₁ c = 1…4."""

    LAYOUT: ClassVar = struct.Struct(f"<32s32sB{2 * CHECKS}I")
    dealer: bytes
    receipt_hash: bytes
    checks: tuple[int, ...] | None


def encode_report(findings: list[Finding]) -> bytes:
    """dealer32 ‖ receipt hash32 ‖ 0x00 (edge) or 0x01 ‖ 8 check words4 (zero for an edge), dealers rising."""
    return b"".join(
        Finding.LAYOUT.pack(f.dealer, f.receipt_hash, f.checks is not None, *(f.checks or (0,) * (2 * CHECKS)))
        for f in findings
    )


def decode_report(raw: bytes) -> list[Finding]:
    """The findings in ``raw``. Raises ProtocolError for a wrong length, order, or flag."""
    if len(raw) % Finding.LAYOUT.size:
        raise ProtocolError("A report is cut off.")
    findings = []
    for dealer, receipt_hash, usable, *checks in Finding.LAYOUT.iter_unpack(raw):
        if usable > 1 or (not usable and any(checks)):
            raise ProtocolError("A report says neither edge nor check values.")
        findings.append(Finding(dealer, receipt_hash, tuple(checks) if usable else None))
    require_rising([finding.dealer for finding in findings], "report")
    return findings


def require_rising(identities: list[bytes], what: str) -> None:
    """Raise ProtocolError unless ``identities`` rise strictly: sorted, and nobody twice."""
    if any(left >= right for left, right in pairwise(identities)):
        raise ProtocolError(f"The identities of a {what} are not in strictly rising order.")


def receipt_hash(deal: bytes, signature: bytes) -> bytes:
    """What U and reports name a receipt by."""
    return sha256(deal + signature).digest()


def _split(raw: bytes, first: int, second: int, what: str) -> list[tuple[bytes, bytes]]:
    size = first + second
    if len(raw) % size or len(raw) > COHORT_MAX * size:
        raise ProtocolError(f"A {what} cannot have {len(raw)} bytes.")
    return [(raw[i : i + first], raw[i + first : i + size]) for i in range(0, len(raw), size)]
