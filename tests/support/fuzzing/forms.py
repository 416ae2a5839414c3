"""How inputs are built, so that they can be changed where it matters: as a tree, not only as bytes."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import msgspec


class Form(NamedTuple):
    """``open`` makes a tree (dicts, lists, scalars) of an input and ``close`` an input of a tree; both may raise.
    ``tokens``: bytes that mean something here."""

    open: Callable[[bytes], Any]
    close: Callable[[Any], bytes]
    tokens: tuple[bytes, ...] = ()


def _flat(data: bytes) -> Any:
    raise ValueError("no tree")


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode(errors="surrogatepass")


def _lines(data: bytes) -> list[Any]:
    return [json.loads(line) for line in data.splitlines()]


def _safetensors(data: bytes) -> list[Any]:
    size = int.from_bytes(data[:8], "little")
    return [json.loads(data[8 : 8 + size]), data[8 + size :]]


def _tensors(tree: list[Any]) -> bytes:
    header = _json(tree[0])
    return len(header).to_bytes(8, "little") + header + tree[1]


_NUMBERS = (b"9" * 5000, b"1e999", b"-1", b"NaN", b"18446744073709551616", b"0.1")
_TEXTS = (b'"\\ud800"', b'"\\u0000"', b"\xff", b"\xc2\x9b2J", b"\xe2\x80\xae", b"\x1b[2J", b"\n")
_JSON = (*_NUMBERS, *_TEXTS, b"[" * 5000, b'{"a":' * 5000, b"null", b"{}", b"[]", b"true")
_TOML = (*_NUMBERS, *_TEXTS, b"[[a]]\n", b"[training]\n", b"a = " + b"[" * 3000, b"a.b.c = 1\n", b"inf", b"1979-05-27")
_MSGPACK = (b"\x91" * 5000, b"\x81\xa1a" * 5000, b"\xc0", b"\xc1", b"\xdf\xff\xff\xff\xff", b"\xdd\x7f\xff\xff\xff")
_MSGPACK += (b"\xc6\x7f\xff\xff\xff", b"\xdb\x7f\xff\xff\xff", b"\xa1\xff", b"\xc7\x04\xff\x00\x00\x00\x00", b"\xcb")
_WORDS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x01\0\0\0\0\0\0\0", b"\xff" * 8, bytes(32))

BYTES = Form(_flat, _flat, _WORDS)
TEXT = Form(_flat, _flat, (*_TEXTS, "²".encode(), b"%2e", b"[", b"]", b"@", b":", b"//", b"\0"))
TOML = Form(_flat, _flat, _TOML)
JSON = Form(json.loads, _json, _JSON)
JSON_LINES = Form(_lines, lambda tree: b"\n".join(map(_json, tree)) + b"\n", _JSON)
MSGPACK = Form(msgspec.msgpack.decode, msgspec.msgpack.encode, _MSGPACK)
SAFETENSORS = Form(_safetensors, _tensors, (*_JSON, *_WORDS))
