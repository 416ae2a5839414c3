"""Secure aggregation with one upload: the server learns the weighted sum of the survivors' updates, and nothing else.

Read in this order: ``parameters`` (the numbers), ``bodies`` (what is signed), ``session`` (what a cohort agreed on),
``contributor`` (a client masks and deals), ``member`` (it reports, votes, answers), ``aggregator`` (the server collects
and opens the sum's key), ``vectors`` (what is done per parameter). The argument is in ``docs/protocol.md``.
"""

from .aggregator import Aggregator, split_packets
from .contributor import Contribution, Contributor, Update
from .member import Member, most_beside
from .sealing import ROUND_SECRET_SIZE, RoundKey
from .session import Session, open_session, require_own_entry
from .vectors import VectorSum, check_vector
from .warming import warm

__all__ = [
    "ROUND_SECRET_SIZE",
    "Aggregator",
    "Contribution",
    "Contributor",
    "Member",
    "RoundKey",
    "Session",
    "Update",
    "VectorSum",
    "check_vector",
    "most_beside",
    "open_session",
    "require_own_entry",
    "split_packets",
    "warm",
]
