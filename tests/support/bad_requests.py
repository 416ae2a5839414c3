"""Every route of a server, a valid request to each, and everything that can be wrong with a message."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import msgspec
from msgspec import inspect
from peers import Peer

from fedit_shared.identity import SigningKey, sign_request
from fedit_shared.messages import (
    CHUNK_SIZE,
    ROUTES,
    Answer,
    CheckIn,
    Deal,
    Enrol,
    Leave,
    Muster,
    Poll,
    Report,
    Vote,
    adapter_path,
    chunk_path,
    encode,
)
from fedit_shared.secagg.bodies import DealBody, MusterBody

COHORT, HASH, SIGNATURE = bytes(range(16)), bytes(range(32)), bytes(range(64))


@dataclass(frozen=True)
class Entry:
    """A route: a path on it, how large its bodies may be, whose message it takes (None: no message). ``page``: anybody
    may read it, and no body is looked at."""

    path: str
    limit: int
    message: msgspec.Struct | None = None
    signed: bool = True
    page: bool = False

    @property
    def body(self) -> bytes:
        """A valid one."""
        return encode(self.message) if self.message is not None else b""


def _message(message: msgspec.Struct, *, signed: bool = True) -> Entry:
    route = ROUTES[type(message)]
    return Entry(route.path, route.limit, message, signed)


ENTRIES: dict[tuple[str, str], Entry] = {
    ("POST", "/v1/enrol"): _message(
        Enrol(identity=HASH, token=bytes(16), time=1_900_000_000, signature=SIGNATURE), signed=False
    ),
    ("POST", "/v1/checkin"): _message(CheckIn(client_version="test", accelerator="cpu", memory_gib=1)),
    ("POST", "/v1/muster"): _message(
        Muster(
            body=MusterBody(HASH, HASH, 1, HASH, sha256(bytes(1216)).digest(), 3, 2_000_000_000).encode(),
            round_key=bytes(1216),
            signature=SIGNATURE,
        )
    ),
    ("POST", "/v1/poll"): _message(Poll(round=1, cohort=COHORT, after="contributed")),
    ("POST", "/v1/deal"): _message(
        Deal(cohort=COHORT, body=DealBody(HASH, HASH, HASH, HASH).encode(), signature=SIGNATURE, packets=bytes(100))
    ),
    ("POST", "/v1/report"): _message(Report(cohort=COHORT, report=bytes(97), signature=SIGNATURE)),
    ("POST", "/v1/vote"): _message(Vote(cohort=COHORT, survivors_hash=HASH, signature=SIGNATURE)),
    ("POST", "/v1/answer"): _message(
        Answer(cohort=COHORT, survivors_hash=HASH, words=bytes(4096), signature=SIGNATURE)
    ),
    ("POST", "/v1/leave"): _message(Leave()),
    ("PUT", "/v1/cohorts/{cohort}/chunks/{index}"): Entry(chunk_path(COHORT, 0), CHUNK_SIZE),
    ("GET", "/v1/cohorts/{cohort}/chunks"): Entry(chunk_path(COHORT), 0),
    ("GET", "/v1/adapters/{adapter}"): Entry(adapter_path(HASH), 0),
    ("GET", "/join"): Entry("/join", 0, signed=False, page=True),
    ("GET", "/healthz"): Entry("/healthz", 0, signed=False, page=True),
    ("GET", "/readyz"): Entry("/readyz", 0, signed=False, page=True),
}

Token = Callable[[Peer, str, str, bytes], str]
"""The Authorization header of a peer for a method, path and body."""


def _token(peer: Peer, method: str, path: str, body: bytes, *, skew: int = 0, key: SigningKey | None = None) -> str:
    now = int(time.time()) + skew
    return sign_request(key or peer.key, peer.link.federation, method, path, body, time=now, nonce=os.urandom(16))


def _of_another_federation(peer: Peer, method: str, path: str, body: bytes) -> str:
    return sign_request(peer.key, bytes(32), method, path, body, time=int(time.time()), nonce=os.urandom(16))


_STRANGER = SigningKey(sha256(b"a stranger").digest())
TOKENS: dict[str, Token] = {
    "none": lambda peer, method, path, body: "",
    "another scheme": lambda peer, method, path, body: "Bearer " + _token(peer, method, path, body).split()[1],
    "no base64": lambda peer, method, path, body: "Fedit ²²²",
    "cut off": lambda peer, method, path, body: _token(peer, method, path, body)[:-8],
    "a stranger's": lambda peer, method, path, body: _token(peer, method, path, body, key=_STRANGER),
    "for another path": lambda peer, method, path, body: _token(peer, method, path + "x", body),
    "for another query": lambda peer, method, path, body: _token(peer, method, path + "?a=b", body),
    "for another method": lambda peer, method, path, body: _token(peer, "PATCH", path, body),
    "for another body": lambda peer, method, path, body: _token(peer, method, path, body + b"x"),
    "of another federation": _of_another_federation,
    "too old": lambda peer, method, path, body: _token(peer, method, path, body, skew=-1000),
    "of the future": lambda peer, method, path, body: _token(peer, method, path, body, skew=1000),
}


def beyond(message: msgspec.Struct) -> Iterator[tuple[str, Any]]:
    """What is no such message, one fault at a time: a name, and the message's fields."""
    fields = msgspec.msgpack.decode(encode(message))
    yield "an unknown field", fields | {"extra": 1}
    yield "another tag", fields | {"type": "other"}
    yield "no tag", {key: value for key, value in fields.items() if key != "type"}
    yield "a list", [fields]
    for field in inspect.type_info(type(message)).fields:  # type: ignore[attr-defined]
        name = field.encode_name
        if field.required:
            yield f"no {name}", {key: value for key, value in fields.items() if key != name}
        for value in _bounds(field.type)[1]:
            yield f"{name} = {value!r:.30}", fields | {name: value}


def at_bounds(message: msgspec.Struct) -> Iterator[tuple[str, Any]]:
    """The message with one field at a bound that it may have. None waits."""
    fields = msgspec.msgpack.decode(encode(message))
    for field in inspect.type_info(type(message)).fields:  # type: ignore[attr-defined]
        for value in _bounds(field.type)[0] if field.encode_name != "wait" else ():
            yield f"{field.encode_name} = {value!r:.30}", fields | {field.encode_name: value}


def _bounds(kind: Any) -> tuple[list[Any], list[Any]]:
    """Values that just may be, and such that may not."""
    match kind:
        case inspect.UnionType():
            [inner] = [part for part in kind.types if not isinstance(part, inspect.NoneType)]
            allowed, refused = _bounds(inner)
            return [None, *allowed], [value for value in refused if value is not None]
        case inspect.IntType():
            return [kind.ge, kind.le], [kind.ge - 1, kind.le + 1, 2**64 - 1, 1.5, "1", None]
        case inspect.BytesType():
            least, most = kind.min_length or 0, kind.max_length
            shorter = [bytes(least - 1)] if least else []
            return [bytes(least), b"\xff" * most], [*shorter, bytes(most + 1), "text", None]
        case inspect.StrType():
            most = kind.max_length
            return ["", "x" * most], ["x" * (most + 1), "\x1b[2J", "\u202e", 1, None]
        case inspect.LiteralType():
            return list(kind.values), ["other", "", 1, None]
    raise TypeError(f"no bounds of {kind} are known here")
