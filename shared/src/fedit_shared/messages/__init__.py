"""Every message between a client and the server: one tagged union per direction, versioned, with a size limit.

Bodies are msgpack. What is signed travels inside as raw bytes of fixed layout (:mod:`fedit_shared.secagg.bodies`): a
signature never depends on how msgpack encodes.
"""

from .client import Answer, CheckIn, ClientMessage, Deal, Enrol, Leave, Muster, Poll, Report, Vote
from .codec import UNREADABLE, decode, decode_settings, decode_task, encode
from .model_file import MODEL_FILE, read_model_file, write_model_file
from .routes import (
    CHUNK_SIZE,
    MEDIA_TYPE,
    PIECE_SIZE,
    PROTOCOL_HEADER,
    PROTOCOL_VERSION,
    ROUTES,
    Route,
    adapter_path,
    chunk_path,
)
from .server import (
    Accepted,
    Certificate,
    ChunksHeld,
    Closed,
    Enrolled,
    Offer,
    Prepare,
    Receipt,
    Refused,
    Result,
    Roster,
    ServerMessage,
    Survivors,
    Wait,
)
from .task import ModelRef, RoundSettings, TaskSpec, TensorSpec, TrainingSettings

__all__ = [
    "CHUNK_SIZE",
    "MEDIA_TYPE",
    "MODEL_FILE",
    "PIECE_SIZE",
    "PROTOCOL_HEADER",
    "PROTOCOL_VERSION",
    "ROUTES",
    "UNREADABLE",
    "Accepted",
    "Answer",
    "Certificate",
    "CheckIn",
    "ChunksHeld",
    "ClientMessage",
    "Closed",
    "Deal",
    "Enrol",
    "Enrolled",
    "Leave",
    "ModelRef",
    "Muster",
    "Offer",
    "Poll",
    "Prepare",
    "Receipt",
    "Refused",
    "Report",
    "Result",
    "Roster",
    "RoundSettings",
    "Route",
    "ServerMessage",
    "Survivors",
    "TaskSpec",
    "TensorSpec",
    "TrainingSettings",
    "Vote",
    "Wait",
    "adapter_path",
    "chunk_path",
    "decode",
    "decode_settings",
    "decode_task",
    "encode",
    "read_model_file",
    "write_model_file",
]
