"""Kinds of case: keys, signatures, bodies, lists, messages, links, the Merkle tree, what is sealed to a round key.

``accepted: true`` is the result where there is nothing to return.
"""

import dataclasses
from collections.abc import Iterable
from hashlib import sha256
from typing import Any

import msgspec

from fedit_shared.identity import (
    JoinLink,
    SigningKey,
    federation_id,
    public_key,
    sign_request,
    verify,
    verify_request,
)
from fedit_shared.messages import ClientMessage, ServerMessage, decode, decode_settings, decode_task
from fedit_shared.secagg import RoundKey, merkle
from fedit_shared.secagg.bodies import (
    AnswerBody,
    DealBody,
    EnrolBody,
    MusterBody,
    OfferBody,
    ReportBody,
    ResultBody,
    RosterBody,
    VoteBody,
    decode_certificate,
    decode_report,
    decode_survivors,
    receipt_hash,
)
from fedit_shared.secagg.checks import challenge
from fedit_shared.secagg.sealing import check_round_key

from .values import Inputs, Result

ACCEPTED: Result = {"accepted": True}
_BODIES: dict[str, Any] = {
    "enrol": EnrolBody,
    "checkin": OfferBody,
    "muster": MusterBody,
    "deal": DealBody,
    "report": ReportBody,
    "vote": VoteBody,
    "answer": AnswerBody,
    "result": ResultBody,
}
_LISTS: dict[str, Any] = {
    "roster": lambda raw: _fields(RosterBody.decode(raw).entries),
    "survivors": lambda raw: _fields(decode_survivors(raw)),
    "report": lambda raw: _fields(decode_report(raw)),
    "certificate": lambda raw: [
        {"identity": identity, "signature": signature} for identity, signature in decode_certificate(raw).items()
    ],
}


def key(given: Inputs) -> Result:
    """in: key. out: accepted."""
    public_key(given.raw("key"))
    return ACCEPTED


def federation(given: Inputs) -> Result:
    """in: key (the server's). out: federation."""
    return {"federation": federation_id(given.raw("key"))}


def sign(given: Inputs) -> Result:
    """in: seed, purpose, body. out: key, signature."""
    signer = SigningKey(given.raw("seed"))
    return {"key": signer.public, "signature": signer.sign(given.value("purpose"), given.raw("body"))}


def signature(given: Inputs) -> Result:
    """in: key, purpose, body, signature. out: accepted."""
    verify(given.raw("key"), given.value("purpose"), given.raw("body"), given.raw("signature"))
    return ACCEPTED


def body(given: Inputs) -> Result:
    """in: purpose, fields (in the order of the layout; whole numbers, or bytes). out: body."""
    kind = _BODIES[given.text("purpose")]
    fields = given.part("fields")
    values = [
        fields.integer(field.name) if field.type is int else fields.raw(field.name)
        for field in dataclasses.fields(kind)
    ]
    return {"body": kind(*values).encode()}


def read_body(given: Inputs) -> Result:
    """in: purpose, body. out: fields."""
    return {"fields": dataclasses.asdict(_BODIES[given.text("purpose")].decode(given.raw("body")))}


def read_list(given: Inputs) -> Result:
    """in: list (roster, survivors, report or certificate), raw. out: entries."""
    return {"entries": _LISTS[given.text("list")](given.raw("raw"))}


def request(given: Inputs) -> Result:
    """in: seed, federation, method, path, body, time, nonce. out: header."""
    header = sign_request(
        SigningKey(given.raw("seed")),
        given.raw("federation"),
        given.text("method"),
        given.text("path"),
        given.raw("body"),
        time=given.integer("time"),
        nonce=given.raw("nonce"),
    )
    return {"header": header}


def read_request(given: Inputs) -> Result:
    """in: header, federation, method, path, body, now. out: identity, time, nonce."""
    token = verify_request(
        given.text("header"),
        given.raw("federation"),
        given.text("method"),
        given.text("path"),
        given.raw("body"),
        now=given.integer("now"),
    )
    return token._asdict()


def link(given: Inputs) -> Result:
    """in: link. out: address, federation, token, pin (null if there is none)."""
    parsed = JoinLink.parse(given.text("link"))
    return {"address": parsed.address, "federation": parsed.federation, "token": parsed.token, "pin": parsed.pin}


def message(given: Inputs) -> Result:
    """in: side (who says it: client or server), raw. out: fields."""
    union: Any = {"client": ClientMessage, "server": ServerMessage}[given.text("side")]
    return {"fields": msgspec.to_builtins(decode(given.raw("raw"), union), builtin_types=(bytes,))}


def settings(given: Inputs) -> Result:
    """in: task, settings (as they travel). out: task, settings: their fields."""
    task = decode_task(given.raw("task"))
    fields: Result = msgspec.to_builtins({"task": task, "settings": decode_settings(given.raw("settings"), task)})
    return fields


def tree(given: Inputs) -> Result:
    """in: identities, packets, in order of the roster. out: leaves, root, proofs."""
    leaves = merkle.leaves(given.raws("identities"), given.raws("packets"))
    return {"leaves": leaves, "root": merkle.root(leaves), "proofs": merkle.proofs(leaves)}


def proof(given: Inputs) -> Result:
    """in: index (from 1), count, leaf, proof. out: root."""
    index, count = given.integer("index"), given.integer("count")
    return {"root": merkle.root_from(index, count, given.raw("leaf"), given.raw("proof"))}


def receipt(given: Inputs) -> Result:
    """in: deal, signature. out: hash."""
    return {"hash": receipt_hash(given.raw("deal"), given.raw("signature"))}


def challenges(given: Inputs) -> Result:
    """in: deal. out: rho: c = 1 … 4 mod p0, then mod p1."""
    return {"rho": [challenge(given.raw("deal"), prime, check) for prime in range(2) for check in range(4)]}


def round_key(given: Inputs) -> Result:
    """in: secret (ML-KEM seed64, X25519 key32). out: key."""
    return {"key": RoundKey(given.raw("secret")).public}


def read_round_key(given: Inputs) -> Result:
    """in: key. out: accepted."""
    check_round_key(given.raw("key"))
    return ACCEPTED


def open_packet(given: Inputs) -> Result:
    """in: secret, packet, sid, dealer, to. out: plaintext_hash (null if it does not open)."""
    opener = RoundKey(given.raw("secret"))
    plaintext = opener.open(given.raw("packet"), given.raw("sid"), given.raw("dealer"), given.raw("to"))
    return {"plaintext_hash": None if plaintext is None else sha256(plaintext).digest()}


def _fields(entries: Iterable[Any]) -> list[Any]:
    return [dataclasses.asdict(entry) for entry in entries]


KINDS = {
    "key": key,
    "federation": federation,
    "sign": sign,
    "signature": signature,
    "body": body,
    "read body": read_body,
    "read list": read_list,
    "request": request,
    "read request": read_request,
    "link": link,
    "message": message,
    "settings": settings,
    "tree": tree,
    "proof": proof,
    "receipt": receipt,
    "challenges": challenges,
    "round key": round_key,
    "read round key": read_round_key,
    "open packet": open_packet,
}
