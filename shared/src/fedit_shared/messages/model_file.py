"""``fedit.json`` beside an adapter: which base model it is for, as JSON that a person can read."""

import msgspec

from fedit_shared.errors import ProtocolError

from .codec import UNREADABLE
from .task import ModelRef

MODEL_FILE = "fedit.json"


def write_model_file(model: ModelRef) -> bytes:
    """``model`` as JSON, hashes in hex."""
    value = {"id": model.id, "revision": model.revision, "files": {name: h.hex() for name, h in model.files.items()}}
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def read_model_file(data: bytes) -> ModelRef:
    """The model that :func:`write_model_file` wrote down. Raises ProtocolError for anything else."""
    try:
        value = msgspec.json.decode(data)
        files = {name: bytes.fromhex(h) for name, h in value["files"].items()}
        return msgspec.convert({**value, "files": files}, ModelRef)
    except (*UNREADABLE, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(f"{MODEL_FILE} does not describe a model: {error}.") from error
