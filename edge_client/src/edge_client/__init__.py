"""A participant's client: trains an adapter on data that stays here, and adds it, masked, to a federation's sum.

What an application needs is here; start with :class:`Client`. Importing this package, or any module that the command
line needs to answer ``--help``, loads neither torch nor transformers: those live in child processes
(:mod:`edge_client.training`, :mod:`edge_client.inference`). Its own parts are loaded when they are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fedit_shared.errors import FeditError

    from .client import AwayError, Client, Event, agreement, describe, events, to_json, write_personal
    from .data import AbsentError, DataSource, Record, RecordSource, Template, Turn, load_records
    from .hub import HubError
    from .rounds import TaskChangedError, UnagreedError
    from .state import BusyError, DiskError, Preferences
    from .training import (
        AdapterError,
        CrowdedError,
        Failed,
        Finished,
        ModelError,
        NoRoomError,
        Progress,
        TrainEvent,
        TrainJob,
        checked_model,
        lora_config,
        run_training,
    )
    from .transport import ClockError, UnreachableError, WrongServerError
    from .yielding import Observation

__version__ = "0.1.0.dev0"

__all__ = [
    "AbsentError",
    "AdapterError",
    "AwayError",
    "BusyError",
    "Client",
    "ClockError",
    "CrowdedError",
    "DataSource",
    "DiskError",
    "Event",
    "Failed",
    "FeditError",
    "Finished",
    "HubError",
    "ModelError",
    "NoRoomError",
    "Observation",
    "Preferences",
    "Progress",
    "Record",
    "RecordSource",
    "TaskChangedError",
    "Template",
    "TrainEvent",
    "TrainJob",
    "Turn",
    "UnagreedError",
    "UnreachableError",
    "WrongServerError",
    "agreement",
    "checked_model",
    "describe",
    "events",
    "load_records",
    "lora_config",
    "run_training",
    "to_json",
    "write_personal",
]

_HOMES = {
    "edge_client.client": (
        "AwayError",
        "Client",
        "Event",
        "agreement",
        "describe",
        "events",
        "to_json",
        "write_personal",
    ),
    "edge_client.data": ("AbsentError", "DataSource", "Record", "RecordSource", "Template", "Turn", "load_records"),
    "edge_client.hub": ("HubError",),
    "edge_client.rounds": ("TaskChangedError", "UnagreedError"),
    "edge_client.state": ("BusyError", "DiskError", "Preferences"),
    "edge_client.training": (
        "AdapterError",
        "CrowdedError",
        "Failed",
        "Finished",
        "ModelError",
        "NoRoomError",
        "Progress",
        "TrainEvent",
        "TrainJob",
        "checked_model",
        "lora_config",
        "run_training",
    ),
    "edge_client.transport": ("ClockError", "UnreachableError", "WrongServerError"),
    "edge_client.yielding": ("Observation",),
    "fedit_shared.errors": ("FeditError",),
}


def __getattr__(name: str) -> Any:
    """The export ``name``, from the part that it lives in."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(home), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
