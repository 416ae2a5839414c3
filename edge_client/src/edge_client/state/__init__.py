"""What must survive ``kill -9``: this device's identity, its round keys, its votes, and what it is about to send."""

from edge_client.disk import Disk, DiskError

from .attempt import Attempt, Past
from .federation import BusyError, FederationState, named_folder, state_folder
from .history import Entry, history
from .private import PrivateTensors
from .records import CorruptStateError, Ended, Membership, Mustered, Outcome, Pause, Preferences, Trained, pack
from .update import Begun, SpentError, UpdateFolder

__all__ = [
    "Attempt",
    "Begun",
    "BusyError",
    "CorruptStateError",
    "Disk",
    "DiskError",
    "Ended",
    "Entry",
    "FederationState",
    "Membership",
    "Mustered",
    "Outcome",
    "Past",
    "Pause",
    "Preferences",
    "PrivateTensors",
    "SpentError",
    "Trained",
    "UpdateFolder",
    "history",
    "named_folder",
    "pack",
    "state_folder",
]
