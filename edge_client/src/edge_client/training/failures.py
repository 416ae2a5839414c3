"""What can go wrong in a child and that a person can set right, or time. The ``code`` becomes that of the Failed event,
and that event one of these again."""

from edge_client.data import AbsentError
from edge_client.disk import DiskError
from edge_client.hub import HubError
from fedit_shared.errors import FeditError, UserError

from .events import Failed


class ModelError(UserError):
    """The base model cannot be found, is not the federation's, or cannot be loaded here."""

    code = "model"
    usual = "Name another model, or get its files anew: a hub id, or a folder with config.json and safetensors."


class AdapterError(UserError):
    """The adapter does not fit the base model or the task."""

    code = "adapter"
    usual = "Name a PEFT folder that was made for this model, with adapter_config.json and adapter_model.safetensors."


class NoRoomError(UserError):
    """It does not fit into the memory that it may use."""

    code = "memory"
    usual = "Give it more memory with --memory, or close other programs."


class CrowdedError(NoRoomError):
    """Others hold the memory that it may use."""

    exit_code = 3
    code = "crowded"
    usual = "Close other programs, or give it less memory with --memory."


ENDED = ("died", "stopped")
"""The child was ended from without: it goes on from its checkpoint."""
PASSING = frozenset(kind.code for kind in (HubError, CrowdedError, AbsentError))
"""What the same work may not meet the next time."""
_KINDS: tuple[type[FeditError], ...] = (
    ModelError, AdapterError, NoRoomError, CrowdedError, HubError, AbsentError, DiskError
)  # fmt: skip


def error_of(failed: Failed) -> FeditError:
    """The exception that says what ``failed`` says: UserError where a person can set it right."""
    if failed.code in ENDED or failed.code == "internal":
        return FeditError(failed.message, advice=failed.advice)
    kind = next((kind for kind in _KINDS if kind.code == failed.code), UserError)
    return kind(failed.message, advice=failed.advice)
