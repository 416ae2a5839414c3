"""What the client makes sure of before it acts on a server's word. Pure functions; each raises and changes nothing."""

from dataclasses import dataclass
from hashlib import sha256

from fedit_shared import adapter
from fedit_shared.errors import ForgedError, ProtocolError, UnsafeError
from fedit_shared.identity import PublicKey, SigningKey, federation_id, verify
from fedit_shared.messages import Muster, Offer, Result, Roster, TaskSpec, decode_task
from fedit_shared.secagg import Session, open_session, require_own_entry
from fedit_shared.secagg.bodies import (
    OUTCOMES,
    MusterBody,
    OfferBody,
    ResultBody,
    decode_survivors,
    receipt_hash,
)
from fedit_shared.secagg.member import check_certificate

LONGEST_PROMISE = 30 * 86400
"""Seconds ahead that a device promises at most to be there for answers, and keeps its round key."""


class UnagreedError(UnsafeError):
    """This machine's owner has not agreed to ``task``, which the server offers: as received."""

    usual = "Start again to be asked again; `fedit-client leave` takes this device out."

    def __init__(self, message: str, *, task: bytes, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.task = task


class TaskChangedError(UnagreedError):
    """The server offers another task than the one that this machine's owner agreed to by joining."""


def check_offer(offer: Offer, *, identity: PublicKey, server_key: bytes) -> TaskSpec:
    """The offered task. Raises ForgedError unless the federation's server offered just this to this device, UnsafeError
    for an adapter of another size than its tensors have: a larger one would only fill the disk."""
    body = OfferBody(
        federation_id(server_key),
        identity,
        sha256(offer.task).digest(),
        offer.round,
        offer.adapter,
        offer.train_until,
        offer.not_after,
    )
    verify(server_key, "checkin", body.encode(), offer.signature)
    task = decode_task(offer.task)
    if offer.adapter_size != (expected := adapter.file_size(task.tensors)):
        raise UnsafeError(
            f"The server offers an adapter of {offer.adapter_size} bytes; the task's tensors have {expected}.",
            advice="Nothing was downloaded. Ask the federation's operator.",
        )
    return task


def require_agreed(task: bytes, agreed: bytes | None, *, ask: bool = False) -> None:
    """Raise TaskChangedError unless ``task`` is the one (SHA-256 ``agreed``) that the owner agreed to, or the first;
    UnagreedError for the first one, too, where the owner is to be asked."""
    if agreed is None and ask:
        raise UnagreedError("You have not agreed to the federation's task. Nothing was trained or sent.", task=task)
    if agreed is not None and sha256(task).digest() != agreed:
        raise TaskChangedError(
            "The federation's task is no longer the one that you joined for (another model, other training settings "
            "or other tensors). Nothing was trained or sent.",
            task=task,
            advice="Ask its operator why. If you agree, start again with --accept-new-task.",
        )


def require_floor(devices: int, floor: int) -> None:
    """Raise UnsafeError for a sum over fewer ``devices`` than this machine's owner wants now, which may be more than
    when it mustered."""
    if 0 < devices < floor:
        raise UnsafeError(
            f"The sum would be of {devices} devices; this device stays out of sums of fewer than {floor}.",
            advice="Nothing was given away. --min-survivors says how many it wants.",
        )


def make_muster(
    offer: Offer, key: SigningKey, round_key: bytes, *, federation: bytes, floor: int, now: int
) -> tuple[Muster, int]:
    """The signed muster for the offered round, and the Unix time until which it promises answers.

    ``round_key``: the fresh HPKE public key; ``floor``: the fewest survivors that this device's owner wants.
    """
    not_after = min(offer.not_after, now + LONGEST_PROMISE)
    body = MusterBody(
        federation,
        sha256(offer.task).digest(),
        offer.round,
        offer.adapter,
        sha256(round_key).digest(),
        floor,
        not_after,
    ).encode()
    return Muster(body=body, round_key=round_key, signature=key.sign("muster", body)), not_after


def check_roster(roster: Roster, muster: Muster, task: bytes, *, identity: PublicKey, server_key: bytes) -> Session:
    """The session that ``roster`` opens, in which this device stands just as it mustered.

    Raises as :func:`open_session` and :func:`require_own_entry` do, and ForgedError for a roster of another round
    than the one mustered for: its own entry could not have been signed for it.
    """
    session = open_session(roster.body, roster.signature, roster.settings, task, server_key=server_key)
    if session.roster.cohort != roster.cohort:
        raise ForgedError("The roster is not that of the cohort it was sent for.")
    require_own_entry(session, MusterBody.decode(muster.body), identity)
    return session


_IMPOSSIBLE = {("published", False), ("abandoned", True)}


@dataclass(frozen=True)
class Verdict:
    """How a cohort ended, proved. ``survivors``: identities whose updates are in the sum, none unless published.

    ``counted``: this device's update is among them. ``reusable``: votes show that it is in no sum and never will be,
    so it may be mustered again.
    """

    survivors: tuple[bytes, ...]
    counted: bool
    reusable: bool


def check_result(
    result: Result, session: Session, receipt: tuple[bytes, bytes] | None, *, identity: PublicKey, server_key: bytes
) -> Verdict:
    """What ``result`` proves. ``receipt``: this device's own deal and its signature, None if it dealt nothing.

    Raises ForgedError for a result that the server did not sign for this session or, unless the cohort failed
    without a vote, whose votes are not those of r members; ProtocolError for an outcome that its list contradicts.
    """
    body = ResultBody(
        session.sid,
        result.round,
        OUTCOMES.index(result.outcome),
        sha256(result.survivors).digest(),
        result.adapter,
        result.total_weight,
    )
    verify(server_key, "result", body.encode(), result.signature)
    survivors = decode_survivors(result.survivors)
    if result.round != session.roster.round or (result.outcome, bool(survivors)) in _IMPOSSIBLE:
        raise ProtocolError("A result contradicts itself or is of another round.")
    if result.certificate or result.outcome != "failed":
        check_certificate(session, result.survivors, result.certificate)
    listed = any(
        survivor.identity == identity and receipt is not None and survivor.receipt_hash == receipt_hash(*receipt)
        for survivor in survivors
    )
    published = result.outcome == "published"
    return Verdict(
        survivors=tuple(survivor.identity for survivor in survivors) if published else (),
        counted=published and listed,
        reusable=bool(result.certificate) and not listed,
    )
