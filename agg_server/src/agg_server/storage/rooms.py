"""Where a cohort's files lie: uploads and packets until it is final, its opened sum for good."""

import hashlib

from fedit_shared.messages import Receipt
from fedit_shared.parameters import upload_size
from fedit_shared.secagg import Session

from .blobs import pack_items, read_item
from .kinds import Storage, Uploading

_COHORTS = "cohorts"
_PASSING = ("uploads", "packets")


class Rooms:
    """Files of cohorts, by cohort id and identity."""

    def __init__(self, blobs: Storage) -> None:
        self._blobs = blobs

    def upload(self, session: Session, identity: bytes) -> Uploading:
        """The device's upload, begun or not."""
        size = upload_size(session.dimension, session.settings.slot_bits)
        return self._blobs.upload(f"{_folder(session.roster.cohort)}/uploads/{identity.hex()}", size)

    def store_packets(self, cohort: bytes, dealer: bytes, deal: bytes, packets: list[bytes]) -> None:
        """What a dealer sealed, an item for each member of the roster. ``deal``: the signed body that names them."""
        self._blobs.write(packets_key(cohort, dealer, deal), pack_items(packets))

    def packet(self, session: Session, receipt: Receipt, member: int) -> bytes:
        """What the receipt's dealer sealed to the member at this 0-based place, with its proof."""
        file = self._blobs.file(packets_key(session.roster.cohort, receipt.identity, receipt.body))
        return read_item(file, member, session.parameters.members)

    def store_sum(self, cohort: bytes, content: bytes) -> None:
        """The opened sum's file."""
        self._blobs.write(sum_key(cohort), content)

    def read_sum(self, cohort: bytes) -> bytes:
        """What :meth:`store_sum` stored. Raises FileNotFoundError."""
        return self._blobs.read(sum_key(cohort))

    def clear(self, cohort: bytes) -> None:
        """Delete uploads and packets: the cohort is final."""
        for part in _PASSING:
            self._blobs.delete(f"{_folder(cohort)}/{part}")

    def occupied(self) -> set[bytes]:
        """The cohorts that have uploads or packets here."""
        names = self._blobs.having(_COHORTS, _PASSING)
        return {bytes.fromhex(name) for name in names}


def sum_key(cohort: bytes) -> str:
    """Where a cohort's opened sum lies among the blobs."""
    return f"{_folder(cohort)}/sum.safetensors"


def packets_key(cohort: bytes, dealer: bytes, deal: bytes) -> str:
    """Where the packets of this very deal lie: another one that a slow replica stores late must not take the place of
    the one that counts."""
    return f"{_folder(cohort)}/packets/{dealer.hex()}-{hashlib.sha256(deal).hexdigest()[:32]}"


def _folder(cohort: bytes) -> str:
    return f"{_COHORTS}/{cohort.hex()}"
