"""What a cohort has agreed on, checked: the roster's signatures, keys and floors, and the sid that names it all."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

from fedit_shared.errors import ForgedError, ProtocolError, UnsafeError
from fedit_shared.identity import PublicKey, federation_id, verify
from fedit_shared.messages import RoundSettings, TaskSpec, decode_settings, decode_task
from fedit_shared.parameters import CohortParameters, levels, rows
from fedit_shared.quantize import Quantizer
from fedit_shared.strategies import Turn

from .bodies import MusterBody, RosterBody, RosterEntry
from .sealing import check_round_key


@dataclass(frozen=True)
class Session:
    """One cohort of one round. Made by :func:`open_session`, never by hand."""

    roster: RosterBody
    task: TaskSpec
    settings: RoundSettings
    sid: bytes

    @cached_property
    def parameters(self) -> CohortParameters:
        """n, r, T, ℓ: computed from the roster's length alone."""
        return CohortParameters(len(self.roster.entries))

    @cached_property
    def identities(self) -> tuple[PublicKey, ...]:
        """All members, rising."""
        return tuple(PublicKey(entry.identity) for entry in self.roster.entries)

    @cached_property
    def _places(self) -> Mapping[bytes, int]:
        return {identity: k for k, identity in enumerate(self.identities, start=1)}

    def index(self, identity: bytes) -> int:
        """k: the member's 1-based place in the roster. Raises ProtocolError for a stranger."""
        try:
            return self._places[identity]
        except KeyError:
            raise ProtocolError("This device is not in the cohort's roster.") from None

    def entry(self, identity: bytes) -> RosterEntry:
        """The member's line of the roster."""
        return self.roster.entries[self.index(identity) - 1]

    @cached_property
    def floor(self) -> int:
        """The fewest survivors this cohort may have: the largest of its members' floors and the protocol's."""
        return max(self.parameters.floor, *(entry.floor for entry in self.roster.entries))

    @cached_property
    def turn(self) -> Turn:
        """Which tensors are summed: by the round that every muster in the roster was signed for."""
        return self.task.turn(self.roster.round)

    @cached_property
    def dimension(self) -> int:
        """d: values of the summed vector."""
        return self.turn.dimension

    @cached_property
    def rows(self) -> int:
        """Ring elements of a masked vector."""
        return rows(self.dimension, self.settings.slot_bits)

    @cached_property
    def quantizer(self) -> Quantizer:
        """The quantization, with L from the roster's n. Raises ProtocolError where L < 1."""
        bits, weight = self.settings.slot_bits, self.settings.max_weight
        return Quantizer(
            self.turn.pick(self.turn.sizes),
            self.turn.pick(self.settings.clip),
            bits,
            levels(self.parameters.members, bits, weight),
            weight,
        )


def compute_sid(roster_body: bytes, roster: RosterBody) -> bytes:
    """SHA256("fedit/1/sid\\0" ‖ federation ‖ H(task) ‖ round8 ‖ cohort16 ‖ H(roster) ‖ H(adapter) ‖ H(settings))."""
    return sha256(
        b"fedit/1/sid\0"
        + roster.federation
        + roster.task_hash
        + roster.round.to_bytes(8, "little")
        + roster.cohort
        + sha256(roster_body).digest()
        + roster.adapter
        + roster.settings_hash
    ).digest()


def open_session(roster_body: bytes, signature: bytes, settings: bytes, task: bytes, *, server_key: bytes) -> Session:
    """The session that these bytes describe, with every signature, key and bound checked.

    Raises ProtocolError or ForgedError for a roster that is not the server's, belongs to another task, settings or
    federation, holds a muster that its device did not sign for just this round and adapter, or a key that nobody can
    seal to; and UnsafeError where the floors cannot be met, an answer could be asked for after somebody's
    ``not_after``, or weights would tell more of its members than the task that they agreed to says.
    """
    verify(server_key, "roster", roster_body, signature)
    roster = RosterBody.decode(roster_body)
    if roster.federation != federation_id(server_key):
        raise ForgedError("This roster is of another federation.")
    if roster.task_hash != sha256(task).digest() or roster.settings_hash != sha256(settings).digest():
        raise ForgedError("This roster is of another task or other settings.")
    spec = decode_task(task)
    session = Session(roster, spec, decode_settings(settings, spec), compute_sid(roster_body, roster))
    if session.settings.max_weight > spec.max_weight:
        raise UnsafeError(
            f"This round lets a device count for up to {session.settings.max_weight}, the task for {spec.max_weight}: "
            "sums of weights would tell more of its number of records than its owner agreed to."
        )
    for entry in roster.entries:
        verify(entry.identity, "muster", muster_body(roster, entry).encode(), entry.signature)
        check_round_key(entry.round_key)
        if entry.not_after < session.settings.not_after:
            raise UnsafeError("This round may ask for answers later than a member has promised to be there.")
    if session.floor > session.parameters.members:
        raise UnsafeError("A member demands more survivors than this cohort has members.")
    _ = session.quantizer.levels  # refuses slots too small for this cohort
    return session


def muster_body(roster: RosterBody, entry: RosterEntry) -> MusterBody:
    """What this member must have signed to stand in this roster."""
    return MusterBody(
        roster.federation,
        roster.task_hash,
        roster.round,
        roster.adapter,
        sha256(entry.round_key).digest(),
        entry.floor,
        entry.not_after,
    )


def require_own_entry(session: Session, muster: MusterBody, identity: bytes) -> None:
    """Raise UnsafeError unless the roster carries this device just as it mustered, with its own floor."""
    own = session.entry(identity)
    if muster_body(session.roster, own) != muster:
        raise UnsafeError("The roster does not carry this device as it mustered.")
