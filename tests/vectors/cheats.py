"""Dealers that cheat one member, and what it reports; the packets are sealed once and kept."""

from typing import Any

from cohorts_in_full import Cohort
from reference import bodies, ring, sharing
from reference.ring import P, words4
from writing import Case, accepted, plain

DEALER = 2


def build(c: Cohort, kept: dict[str, Any]) -> tuple[dict[str, Any], list[Case]]:
    """What the file gives (by name of the cheat its packet with proof, and its receipt), and the cases."""
    k, n = c.shape.shown[0], c.shape.members
    honest = c.plaintexts[DEALER - 1][k - 1]
    words, blocks = ring.split4(honest), sharing.sizes(n)[3]
    info = bodies.packet_info(c.sid, c.identities[DEALER - 1], c.identities[k - 1])
    elsewhere = bodies.packet_info(c.sid, c.identities[DEALER - 1], c.identities[k % n])
    own, other = (c.devices[place].round_secret for place in (k - 1, k % n))
    # name → plaintext, the round secret and info that it is sealed for, whether the member can use it
    made = {
        "a share that is p0": (words4([P[0], *words[1:]]), own, info, False),
        "a share mod p1 that is p1": (words4([*words[:blocks], P[1], *words[blocks + 1 :]]), own, info, False),
        "a check word that is p1": (words4([*words[:-1], P[1]]), own, info, False),
        "a packet to somebody else": (honest, own, elsewhere, False),
        "a packet to another key": (honest, other, info, False),
        "a share that is off by one": (words4([(words[0] + 1) % P[0], *words[1:]]), own, info, True),
    }
    given, cases = {}, []
    for name, (plaintext, secret, bound, usable) in made.items():
        packet = _packet(plaintext, secret, bound, kept.get(name))
        leaves = list(c.leaves[DEALER])
        leaves[k - 1] = sharing.leaf(k, c.identities[k - 1], packet)
        receipt = c.receipt(DEALER, leaves)
        given[name] = plain({"entry": packet + sharing.proof(leaves, k), "receipt": receipt})
        cases += _cases(c, name, receipt, ring.split4(plaintext) if usable else None)
    return given, cases


def _packet(plaintext: bytes, secret: bytes, info: bytes, kept: dict[str, Any] | None) -> bytes:
    key = bodies.round_key(secret[:64], secret[64:])
    if kept:
        packet = bytes.fromhex(kept["entry"])[: len(plaintext) + 1136]
        if bodies.unseal(packet, key, info) == plaintext:
            return packet
    return bodies.seal(plaintext, bodies.round_key_bytes(secret[:64], secret[64:]), info)


def _cases(c: Cohort, name: str, receipt: dict[str, bytes], words: list[int] | None) -> list[Case]:
    k, everybody = c.shape.shown[0], list(c.places)
    shown = [receipt if i == DEALER else c.receipts[i] for i in everybody]
    entries = [{"of": f"cheats.{name}.entry" if i == DEALER else f"packets.{k}.{i - 1}"} for i in everybody]
    prepare: dict[str, Any] = {"member": k, "shown": shown, "entries": entries}
    wholes = {i: r["deal"] + r["signature"] for i, r in zip(everybody, shown, strict=True)}
    said: dict[int, list[int] | None] = {i: c.checks(i, k) for i in everybody if i != k}
    said[DEALER] = None if words is None else sharing.check_values(words, receipt["deal"])
    report = bodies.report({c.identities[i - 1]: (wholes[i], values) for i, values in said.items()})
    out = {"report": report, "signature": c.sign_report(k, report)}
    cases = [accepted(f"a report on {name}", "report", out, **prepare)]
    chosen = bodies.survivors({c.identities[i - 1]: wholes[i] for i in everybody})
    voters = everybody[: sharing.sizes(len(everybody))[0]]
    given = {**prepare, "survivors": chosen, "certificate": c.certificate(voters, chosen)}
    if words is None:
        silence = {"words": None, "signature": None}
        cases.append(accepted(f"no answer over {name}", "answer", silence, **given))
    return cases
