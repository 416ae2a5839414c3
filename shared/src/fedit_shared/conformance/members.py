"""Kinds of case: what a member of a cohort says, and what it refuses. Inputs of every case: see :mod:`.cohorts`.

``prepare`` stands for three inputs: ``member`` (k), ``shown`` (receipts: identity, deal, signature) and ``entries``
(for each of them the packet to this member, followed by its Merkle proof); without ``shown`` all ``receipts`` of the
file, without ``entries`` all ``packets`` to that member.
"""

from hashlib import sha256

from fedit_shared.identity import SigningKey
from fedit_shared.messages import Prepare, Receipt
from fedit_shared.secagg import Member, merkle, require_own_entry, split_packets
from fedit_shared.secagg.bodies import (
    DealBody,
    MusterBody,
    ResultBody,
    encode_certificate,
    receipt_hash,
)
from fedit_shared.secagg.member import check_certificate
from fedit_shared.secagg.prg import key_from

from .cohorts import contributed, device_of, session_of
from .signed import ACCEPTED
from .values import Inputs, Result, digest, words


def session(given: Inputs) -> Result:
    """in: nothing more. out: sid, members, threshold, floor, dimension (d), rows, levels (L)."""
    opened = session_of(given)
    return {
        "sid": opened.sid,
        "members": opened.parameters.members,
        "threshold": opened.parameters.threshold,
        "floor": opened.floor,
        "dimension": opened.dimension,
        "rows": opened.rows,
        "levels": opened.quantizer.levels,
    }


def own_entry(given: Inputs) -> Result:
    """in: member, muster (the body that it signed). out: accepted, if the roster carries it just so."""
    opened = session_of(given)
    identity = opened.identities[given.integer("member") - 1]
    require_own_entry(opened, MusterBody.decode(given.raw("muster")), identity)
    return ACCEPTED


def contribute(given: Inputs) -> Result:
    """in: dealer. out: s (digests), upload (digest), upload_hash, clipped, plaintexts (the SHA-256 of each)."""
    place = given.integer("dealer")
    device, made = device_of(given, place), contributed(given, place)
    return {
        "s": [digest(half) for half in key_from(device.randomness, session_of(given).sid)],
        "upload": digest(made.upload),
        "upload_hash": DealBody.decode(made.contribution.deal).vector_hash,
        "clipped": made.contribution.clipped,
        "plaintexts": [sha256(plaintext).digest() for plaintext in made.plaintexts],
    }


def deal(given: Inputs) -> Result:
    """in: dealer, leaves (of its packets), upload_hash. out: root, deal, signature, receipt_hash."""
    opened, device = session_of(given), device_of(given, given.integer("dealer"))
    root = merkle.root(given.raws("leaves"))
    body = DealBody(opened.sid, device.key.public, given.raw("upload_hash"), root).encode()
    signature = device.key.sign("deal", body)
    return {"root": root, "deal": body, "signature": signature, "receipt_hash": receipt_hash(body, signature)}


def split(given: Inputs) -> Result:
    """in: dealer, deal, signature, sealed (its packets). out: entries: the SHA-256 of what each member is to get."""
    opened = session_of(given)
    identity = opened.identities[given.integer("dealer") - 1]
    packets = b"".join(given.raws("sealed"))
    entries = split_packets(opened, identity, given.raw("deal"), given.raw("signature"), packets)
    return {"entries": [sha256(entry).digest() for entry in entries]}


def report(given: Inputs) -> Result:
    """in: prepare. out: report, signature."""
    made, signature = _member(given).report(_prepare(given))
    return {"report": made, "signature": signature}


def vote(given: Inputs) -> Result:
    """in: prepare, survivors (U). out: survivors_hash, signature."""
    survivors = given.raw("survivors")
    signature = _member(given).vote(_prepare(given), survivors)
    return {"survivors_hash": sha256(survivors).digest(), "signature": signature}


def certificate(given: Inputs) -> Result:
    """in: survivors, voters (places). out: certificate, of these members' votes."""
    opened, survivors = session_of(given), given.raw("survivors")
    votes = {}
    for place in given.integers("voters"):
        signer = device_of(given, place).key
        votes[bytes(signer.public)] = signer.sign("vote", opened.sid + sha256(survivors).digest())
    return {"certificate": encode_certificate(votes)}


def read_certificate(given: Inputs) -> Result:
    """in: survivors, certificate. out: accepted."""
    check_certificate(session_of(given), given.raw("survivors"), given.raw("certificate"))
    return ACCEPTED


def answer(given: Inputs) -> Result:
    """in: prepare, survivors, certificate. out: words (digest), signature; both null where it keeps silent."""
    answered = _member(given).answer(_prepare(given), given.raw("survivors"), given.raw("certificate"))
    if answered is None:
        return {"words": None, "signature": None}
    return {"words": digest(words(answered[0])), "signature": answered[1]}


def result(given: Inputs) -> Result:
    """in: server_seed, survivors, round, outcome (0, 1, 2), current (the adapter's hash), total_weight. out: result,
    signature."""
    survivors = sha256(given.raw("survivors")).digest()
    body = ResultBody(
        session_of(given).sid,
        given.integer("round"),
        given.integer("outcome"),
        survivors,
        given.raw("current"),
        given.integer("total_weight"),
    ).encode()
    return {"result": body, "signature": SigningKey(given.raw("server_seed")).sign("result", body)}


def _member(given: Inputs) -> Member:
    device = device_of(given, given.integer("member"))
    return Member(session_of(given), device.key, device.round_key)


def _prepare(given: Inputs) -> Prepare:
    receipts = [
        Receipt(identity=r.raw("identity"), body=r.raw("deal"), signature=r.raw("signature"))
        for r in given.parts("shown" if "shown" in given else "receipts")
    ]
    place = str(given.integer("member"))
    entries = given.raws("entries") if "entries" in given else given.part("packets").raws(place)
    return Prepare(receipts=receipts, packets=entries)


KINDS = {
    "session": session,
    "own entry": own_entry,
    "contribute": contribute,
    "deal": deal,
    "split": split,
    "report": report,
    "vote": vote,
    "certificate": certificate,
    "read certificate": read_certificate,
    "answer": answer,
    "result": result,
}
