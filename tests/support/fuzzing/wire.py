"""Decoders of what travels: messages, tasks, settings, signed bodies, requests, links."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from agg_server.web.auth import Gate
from fedit_shared.errors import FeditError
from fedit_shared.identity import JoinLink, SigningKey, public_key, sign_request, verify_request
from fedit_shared.messages import (
    ClientMessage,
    ModelRef,
    RoundSettings,
    ServerMessage,
    TaskSpec,
    TensorSpec,
    TrainingSettings,
    decode,
    decode_settings,
    decode_task,
    encode,
)
from fedit_shared.secagg import bodies, merkle
from fedit_shared.strategies import STRATEGIES

from .forms import BYTES, MSGPACK, TEXT
from .samples import cases, inputs, samples
from .target import Read, Target, stable, taken

_KEY, _FEDERATION, _NOW, _PATH = SigningKey(bytes(range(32))), bytes(32), 1_900_000_000, "/v1/poll?x=1"


def _message(side: Any, name: str) -> tuple[Read, Sequence[bytes]]:
    def read(data: bytes) -> None:
        message = stable(data, partial(decode, kind=side), encode)
        assert decode(encode(message), type(message)) is not None

    return read, inputs("wire", "message", "raw", side=name)


def _task() -> tuple[Read, Sequence[bytes]]:
    def read(data: bytes) -> None:
        task = stable(data, decode_task, encode)
        for round_ in (0, 1, 2, 2**63):
            assert 0 <= task.turn(round_).dimension <= task.most_summed

    lora = {"a.lora_A.weight": (2, 3), "a.lora_B.weight": (4, 2)}
    tasks = [
        TaskSpec(
            name="t",
            model=ModelRef(id="tiny", files={"config.json": bytes(32)}),
            adapter_config="{}",
            tensors=tuple(TensorSpec(name=name, shape=shape) for name, shape in lora.items()),
            training=TrainingSettings(steps=3, epochs=None),
            strategy=strategy,
        )
        for strategy in STRATEGIES
    ]
    return read, [*inputs("wire", "settings", "task"), *map(encode, tasks)]


def _settings() -> tuple[Read, Sequence[bytes]]:
    [task, *_] = inputs("wire", "settings", "task")
    return lambda data: stable(data, partial(decode_settings, task=decode_task(task)), encode), [
        *inputs("wire", "settings", "settings"),
        *map(encode, samples(RoundSettings)),
    ]


def _one_encoding(
    decode_body: Callable[[bytes], Any], encode_body: Callable[[Any], bytes], seeds: Sequence[bytes]
) -> tuple[Read, Sequence[bytes]]:
    """What is signed has one encoding: no second one may decode to it."""

    def read(data: bytes) -> None:
        assert encode_body(decode_body(data)) == data

    return read, seeds


def _body(kind: Any) -> tuple[Read, Sequence[bytes]]:
    return _one_encoding(kind.decode, kind.encode, [bytes(kind.LAYOUT.size), bytes(range(256))[: kind.LAYOUT.size]])


def _list(name: str, decode_list: Any, encode_list: Any) -> tuple[Read, Sequence[bytes]]:
    return _one_encoding(decode_list, encode_list, inputs("bodies", "read list", "raw", list=name))


def _roster() -> tuple[Read, Sequence[bytes]]:
    return _one_encoding(
        bodies.RosterBody.decode, bodies.RosterBody.encode, inputs("bodies", "read list", "raw", list="roster")
    )


def _proof() -> tuple[Read, Sequence[bytes]]:
    """A leaf of 1 to 64 has one proof of the root; index, count, then the proof."""

    def read(data: bytes) -> None:
        count = 1 + (data[1] if len(data) > 1 else 0) % 64
        index = 1 + (data[0] if data else 0) % count
        leaves = [merkle.leaf(k, bytes(32), b"") for k in range(1, count + 1)]
        proof = data[2:].ljust(merkle.proof_size(index, count), b"\0")[: merkle.proof_size(index, count)]
        found = merkle.root_from(index, count, leaves[index - 1], proof)
        assert (found == merkle.root(leaves)) is (proof == merkle.proofs(leaves)[index - 1])

    leaves = [merkle.leaf(k, bytes(32), b"") for k in range(1, 8)]
    return read, [bytes([k, 6]) + proof for k, proof in enumerate(merkle.proofs(leaves))]


def _request() -> tuple[Read, Sequence[bytes]]:
    """The Authorization header, as a server reads it, first without and then with the request's body."""

    def read(data: bytes) -> None:
        header = data.decode("utf-8", "surrogateescape")
        gate = Gate(_FEDERATION, lambda: {bytes(_KEY.public)}, lambda: float(_NOW))
        told: list[bytes] = []
        try:
            told.append(gate.require_known(header))
            gate.require_signed(header, "POST", _PATH, b"body")
        except FeditError:
            told.clear()
            raise
        finally:
            token = verify_request(header, _FEDERATION, "POST", _PATH, b"body", now=_NOW)
            assert told == [token.identity]

    good = sign_request(_KEY, _FEDERATION, "POST", _PATH, b"body", time=_NOW, nonce=bytes(16))
    others = [str(case["in"]["header"]) for case in cases("wire") if case["kind"] == "read request"]
    return read, [text.encode(errors="surrogateescape") for text in (good, *others)]


def _link() -> tuple[Read, Sequence[bytes]]:
    def read(data: bytes) -> None:
        link = JoinLink.parse(data.decode("utf-8", "surrogateescape"))
        with taken():
            assert JoinLink.parse(str(link)) == link
        assert str(link).isprintable(), "an address that a terminal would obey"

    links = [str(case["in"]["link"]) for case in cases("wire") if case["kind"] == "link"]
    return read, [text.encode(errors="surrogateescape") for text in links]


def _key() -> tuple[Read, Sequence[bytes]]:
    def read(data: bytes) -> None:
        assert public_key(data) == data

    return read, inputs("keys", "key", "key")


TARGETS = [
    Target("message-of-client", partial(_message, ClientMessage, "client"), MSGPACK),
    Target("message-of-server", partial(_message, ServerMessage, "server"), MSGPACK),
    Target("task", _task, MSGPACK),
    Target("round-settings", _settings, MSGPACK),
    *(
        Target(f"body-{kind.__name__.removesuffix('Body').lower()}", partial(_body, kind), longest=200, cases=40)
        for kind in bodies._Body.__subclasses__()
    ),
    Target("list-roster", _roster, longest=8192),
    Target("list-survivors", partial(_list, "survivors", bodies.decode_survivors, bodies.encode_survivors)),
    Target("list-certificate", partial(_list, "certificate", bodies.decode_certificate, bodies.encode_certificate)),
    Target("list-report", partial(_list, "report", bodies.decode_report, bodies.encode_report)),
    Target("merkle-proof", _proof, BYTES, longest=300),
    Target("request-token", _request, TEXT, longest=400),
    Target("join-link", _link, TEXT, longest=600),
    Target("public-key", _key, longest=40),
]
