"""A member after its upload: it reports, votes, and answers. Every method is a function of what it is given, so a
restart changes nothing; that a vote is given once per sid is the caller's to keep on disk."""

from fedit_shared.identity import SigningKey
from fedit_shared.messages import Prepare

from .sealing import RoundKey
from .session import Session


class Member:
    """One device in one cohort."""

    def __init__(self, session: Session, key: SigningKey, round_key: RoundKey) -> None:
        self._session = session
        self._key = key
        self._round_key = round_key

    def report(self, prepare: Prepare) -> tuple[bytes, bytes]:
        """The report on every other dealer's packet, and its signature.

        Raises ProtocolError or ForgedError if the server changed receipts or packets: such a fault is refused, never
        blamed on a dealer.
        """
        raise NotImplementedError

    def vote(self, prepare: Prepare, survivors: bytes) -> bytes:
        """The signature on ``survivors`` (encoded U). **Store the vote, on disk, before sending it; sign one per sid.**

        Raises UnsafeError if fewer survive than any floor in the cohort allows, ForgedError for a receipt that is not
        in ``prepare`` or not signed by its dealer. The empty U may always be voted for.
        """
        raise NotImplementedError

    def answer(self, prepare: Prepare, survivors: bytes, certificate: bytes) -> tuple[bytes, bytes] | None:
        """The sum of the certified survivors' shares (uint32 words) and its signature.

        None if a survivor's packet cannot be used: then this device keeps silent. Raises as :meth:`vote` does, and
        ForgedError for a certificate without r votes, UnsafeError for the empty U.
        """
        raise NotImplementedError
