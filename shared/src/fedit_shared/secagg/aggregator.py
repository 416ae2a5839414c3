"""The server's side of one cohort: collects receipts, reports, votes and answers; opens the sum of the keys.

Nothing here is random or remembers more than it was told, so a server rebuilds it after a restart by telling it the
same again. Methods check first and change last: what raises has changed nothing. Sending the same again is accepted
and changes nothing; sending something else raises ConflictError.
"""

import numpy as np
from numpy.typing import NDArray

from fedit_shared.messages import Receipt

from .session import Session


def split_packets(session: Session, identity: bytes, body: bytes, signature: bytes, packets: bytes) -> list[bytes]:
    """A deal, checked, as what each member is to get: its packet followed by the Merkle proof, in order of the roster.

    Raises ProtocolError for packets of a wrong size, ForgedError for a deal that is not this device's for this
    session or whose root is not that of the packets.
    """
    raise NotImplementedError


class Aggregator:
    """One cohort's state, from the first deal to the opened key."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.receipts: dict[bytes, Receipt] = {}
        self.reports: dict[bytes, bytes] = {}
        self.survivors: bytes | None = None
        self.votes: dict[bytes, bytes] = {}
        self.answers: dict[bytes, bytes] = {}

    def add_deal(self, identity: bytes, body: bytes, signature: bytes) -> None:
        """A dealer's vector and packets are stored. The packets were checked by :func:`split_packets`."""
        raise NotImplementedError

    def enough_deals(self) -> bool:
        """Whether the cohort's floor can still be met by those who dealt."""
        raise NotImplementedError

    def add_report(self, identity: bytes, report: bytes, signature: bytes) -> None:
        """A member's report on all dealers but itself."""
        raise NotImplementedError

    def choose_survivors(self) -> bytes | None:
        """U (encoded) such that r reporting members can answer for all of it; None while there is no such U."""
        raise NotImplementedError

    def offer(self, survivors: bytes) -> None:
        """Fix U, once; empty: abandon the cohort. Raises ConflictError for a second, different non-empty U."""
        raise NotImplementedError

    def add_vote(self, identity: bytes, survivors_hash: bytes, signature: bytes) -> None:
        """A member's vote for U, or for the empty list once that is offered."""
        raise NotImplementedError

    def certificate(self) -> bytes | None:
        """The votes, encoded, once there are r for the list now offered; else None."""
        raise NotImplementedError

    def add_answer(self, identity: bytes, survivors_hash: bytes, words: bytes, signature: bytes) -> None:
        """A member's sum of shares. Raises ProtocolError for a share ≥ p."""
        raise NotImplementedError

    def open_key(self) -> NDArray[np.uint32] | None:
        """S = Σ s over U, uint32 (2, N) residues, NTT order; None with fewer than r answers, or with more that
        disagree beyond repair. With r answers a liar cannot be told here: :class:`VectorSum` finds a wrong S."""
        raise NotImplementedError

    def suspects(self) -> tuple[bytes, ...]:
        """Members whose reports or answers were found off the polynomial: to be scored, not shown as proof."""
        raise NotImplementedError
