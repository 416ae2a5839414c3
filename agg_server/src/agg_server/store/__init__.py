"""What the server knows, in SQL: devices, invitations, adapter versions, rounds and their journal of events.

Everything is synchronous and belongs to one thread; the driver calls it there. Other processes (``invite``,
``rollback``) open the same database with short transactions of their own.
"""

from .database import Database
from .journal import Journal, Recorded
from .people import Census, Device, Invitation, People
from .retention import Pruned, Retention
from .versions import AdapterVersion, Versions

__all__ = [
    "AdapterVersion",
    "Census",
    "Database",
    "Device",
    "Invitation",
    "Journal",
    "People",
    "Pruned",
    "Recorded",
    "Retention",
    "Versions",
]
