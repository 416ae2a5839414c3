"""What the server knows, in SQL: devices, invitations, adapter versions, rounds and their journal of events.

Everything is synchronous and belongs to one thread, unless it says otherwise; the driver calls it there. Others (other
replicas, ``invite``, ``rollback``) open the same database with short transactions of their own.
"""

from .database import Database
from .journal import Journal, Recorded
from .nonces import SharedNonces
from .operators import Operators
from .people import Census, Device, Invitation, People
from .retention import Pruned, Retention
from .session import Claims, Watch
from .versions import AdapterVersion, Versions

__all__ = [
    "AdapterVersion",
    "Census",
    "Claims",
    "Database",
    "Device",
    "Invitation",
    "Journal",
    "Operators",
    "People",
    "Pruned",
    "Recorded",
    "Retention",
    "SharedNonces",
    "Versions",
    "Watch",
]
