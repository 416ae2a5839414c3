"""The cases of a cohort that is written out in full: what is said and computed, and what is refused."""

import dataclasses
import math
from typing import Any

import cheats
import msgspec
import server_cases
from cohorts_in_full import NOT_AFTER, SHAPES, Cohort
from reference import bodies, quantization, ring, sharing
from reference import strategies as rules
from reference.ring import P, sha
from writing import Case, accepted, change, digest, plain, refused, resize, seeded

HEAD, ENTRY = 154, 1322
IDENTITY, ROUND_KEY, FLOOR, UNTIL, SIGNATURE = 0, 32, 1248, 1250, 1258


def strategies(c: Cohort) -> list[Case]:
    """Sessions that sum a part of the adapter, and tasks that name none that there is."""
    factors = {"x.lora_A.weight": [4, 5], "x.lora_B.weight": [7, 4], "lora_A.y.lora_embedding_B": [9, 4]}
    cases = []

    def of(strategy: str, number: int, tensors: dict[str, list[int]]) -> dict[str, Any]:
        shown = [{"name": name, "shape": shape} for name, shape in tensors.items()]
        task = {"name": "vectors", "model": {"id": "tiny"}, "adapter_config": "{}", "tensors": shown, "training": {}}
        packed = msgspec.msgpack.encode(task | {"strategy": strategy, "max_weight": c.heaviest})
        settings = c.settings_with(clip=[0.01] * len(tensors))
        here = dataclasses.replace(c.round, task=packed, number=number, settings=settings)
        roster = here.roster([c.entry(device, here) for device in c.devices])
        given = {"task": packed, "settings": settings, "roster": roster, "roster_signature": c.sign_roster(roster)}
        return given | {"sid": here.sid(roster)}

    for strategy, number in (("fedavg", 7), ("ffa-lora", 8), ("rolora", 7), ("rolora", 8), ("shared-a", 7)):
        given = of(strategy, number, factors)
        taken = rules.summed(strategy, number, list(factors))
        d = sum(math.prod(shape) for shape, own in zip(factors.values(), taken, strict=True) if own)
        out = {"sid": given.pop("sid"), "members": 3, "threshold": 3, "floor": c.floor, "dimension": d}
        out |= {"rows": quantization.row_count(d, c.per), "levels": c.step}
        cases.append(accepted(f"the session of round {number} by {strategy}", "session", out, **given))
    odd = {"x.lora_A.weight": [4, 5], "head.weight": [2]}
    for name, strategy, tensors in (
        ("of a strategy that is none", "fedsum", factors),
        ("whose strategy does not fit its tensors", "rolora", odd),
        ("with rounds of nothing to sum", "ffa-lora", {"x.lora_A.weight": [4, 5]}),
    ):
        given = of(strategy, 7, tensors)
        del given["sid"]
        cases.append(refused(f"a task {name}", "session", "malformed", **given))
    return cases


def sessions(c: Cohort) -> list[Case]:
    n = c.shape.members
    out = {"sid": c.sid, "members": n, "threshold": 2 * n // 3 + 1, "floor": c.floor}
    out |= {"dimension": c.shape.dimension, "rows": quantization.row_count(c.shape.dimension, c.per), "levels": c.step}
    cases = [accepted("the session", "session", out)]

    def wrong(name: str, error: str, offset: int, data: bytes, size: int | None = None, **more: Any) -> None:
        """A roster with bytes changed, signed by the server."""
        raw = bytearray(c.roster)
        raw[offset : offset + len(data)] = data
        resized = bytes(raw[: size or len(raw)]).ljust(size or len(raw), b"\0")
        given = {"roster": change("roster", offset, data, size), "roster_signature": c.sign_roster(resized)} | more
        cases.append(refused(f"a roster {name}", "session", error, **given))

    if n == 3:
        cases += strategies(c)
    task = c.task.replace(b"vectors", b"another")
    cases.append(refused("a roster with another task than its own", "session", "forged", task=task))
    if n == 3:
        elsewhere = dataclasses.replace(
            c.round, federation=bodies.federation(bodies.identity(seeded("another server")))
        )
        roster = elsewhere.roster([c.entry(device, elsewhere) for device in c.devices])
        given = {"roster": roster, "roster_signature": c.sign_roster(roster)}
        cases.append(refused("a roster whose members mustered for another federation", "session", "forged", **given))
    first, second = (c.roster[HEAD + i * ENTRY : HEAD + (i + 1) * ENTRY] for i in (0, 1))
    for name, signature in (
        ("of another server", bodies.sign(seeded("another server"), "roster", c.roster)),
        ("signed as something else", bodies.sign(c.server_seed, "result", c.roster)),
    ):
        cases.append(refused(f"a roster {name}", "session", "forged", roster_signature=signature))
    wrong("of another federation", "forged", 0, seeded("other"))
    wrong("of another task", "forged", 32, seeded("other"))
    wrong("of another round", "forged", 64, bytes([8]))
    wrong("of another adapter", "forged", 88, seeded("other"))
    wrong("of other settings", "forged", 120, seeded("other"))
    wrong("that counts one too few", "malformed", 152, bytes([n - 1, 0]))
    wrong("of two", "malformed", 152, bytes([2, 0]), HEAD + 2 * ENTRY)
    wrong("with a byte too many", "malformed", 0, c.roster[:1], len(c.roster) + 1)
    wrong("in the wrong order", "malformed", HEAD, second + first)
    wrong("with a member twice", "malformed", HEAD + ENTRY, first)
    wrong("with a member of small order", "malformed", HEAD + IDENTITY, b"\x01" + bytes(31))
    wrong("with a member who did not muster", "forged", HEAD + SIGNATURE, second[SIGNATURE:])
    wrong("with another round key than was mustered", "forged", HEAD + ROUND_KEY, second[ROUND_KEY:FLOOR])
    wrong("with a lowered floor", "forged", HEAD + FLOOR, bytes([1, 0]))
    wrong("with a longer promise than was given", "forged", HEAD + UNTIL, bodies.le(NOT_AFTER + 1, 8))
    device = c.devices[0]
    low = device.round_key[:1184] + bytes(32)
    for name, error, key, floor, until in (
        ("with a member's own round key of low order", "malformed", low, device.floor, NOT_AFTER),
        ("with a floor above its members", "unsafe", device.round_key, n + 1, NOT_AFTER),
        ("with a promise that ends too early", "unsafe", device.round_key, device.floor, NOT_AFTER - 1),
        ("with a promise beyond all times", "malformed", device.round_key, device.floor, 2**40 + 1),
    ):
        signature = bodies.sign(device.seed, "muster", c.round.muster(key, floor, until))
        wrong(name, error, HEAD, bodies.Entry(device.identity, key, floor, until, signature).body())
    heavy = msgspec.msgpack.encode(msgspec.msgpack.decode(c.task) | {"max_weight": 4096})
    settings = c.settings_with(slot_bits=12, max_weight=4096)
    here = dataclasses.replace(c.round, task=heavy, settings=settings)
    roster = here.roster([c.entry(device, here) for device in c.devices])
    given = {"task": heavy, "settings": settings, "roster": roster, "roster_signature": c.sign_roster(roster)}
    cases.append(refused("a roster for settings whose slots overflow", "session", "malformed", **given))
    for name, error, changed in (
        ("of no layout", "malformed", {"slot_bits": 20}),
        ("without a clip range for each tensor", "malformed", {"clip": [0.01]}),
        ("with a clip range of 0", "malformed", {"clip": [0.01, 0.0]}),
        ("of another model", "malformed", {"model": "other"}),
        ("that reach beyond the members' promises", "unsafe", {"not_after": NOT_AFTER + 1}),
        ("with a larger weight than the task's", "unsafe", {"max_weight": 17}),
        ("with an unknown field", "malformed", {"more": 1}),
    ):
        settings = c.settings_with(**changed)
        wrong(f"for settings {name}", error, 120, sha(settings), settings=settings)
    return cases


def musters(c: Cohort) -> list[Case]:
    cases = []
    device = c.devices[0]
    for name, key, floor, until in (
        ("", device.round_key, device.floor, NOT_AFTER),
        (" with another floor", device.round_key, device.floor + 1, NOT_AFTER),
        (" with another round key", c.devices[1].round_key, device.floor, NOT_AFTER),
        (" with another end", device.round_key, device.floor, NOT_AFTER + 1),
    ):
        given = {"member": 1, "muster": c.round.muster(key, floor, until)}
        made = refused(f"own muster{name}", "own entry", "unsafe", **given)
        cases.append(made if name else accepted("own muster", "own entry", **given))
    return cases


def contributions(c: Cohort) -> list[Case]:
    cases = []
    for k in c.places:
        upload = c.uploads[k - 1]
        out = {
            "s": [digest(half) for half in c.secret_sum([k])],
            "upload": digest(ring.split4(upload)),
            "upload_hash": sha(upload),
            "clipped": c.clipped(k),
            "plaintexts": [sha(plaintext) for plaintext in c.plaintexts[k - 1]],
        }
        cases.append(accepted(f"contribution {k}", "contribute", out, dealer=k))
        receipt = c.receipts[k]
        out = {"root": sharing.tree(c.leaves[k])[-1][0], "deal": receipt["deal"], "signature": receipt["signature"]}
        out["receipt_hash"] = sha(c.whole(k))
        given = {"dealer": k, "leaves": c.leaves[k], "upload_hash": sha(upload)}
        cases.append(accepted(f"deal {k}", "deal", out, **given))
    own, other = c.receipts[1], c.receipts[2]
    foreign = seeded("another sid") + own["deal"][32:]
    borrowed = own["deal"][:32] + c.identities[1] + own["deal"][64:]

    def signed(deal: bytes) -> dict[str, bytes]:
        return {"deal": deal, "signature": bodies.sign(c.devices[0].seed, "deal", deal)}

    given = {"dealer": 1, "deal": own["deal"], "signature": own["signature"]}
    cases.append(accepted("a deal, taken", "take deal", **given))
    for name, error, changed in (
        ("of another device", "forged", {"deal": other["deal"], "signature": other["signature"]}),
        ("whose signature is another's", "forged", {"signature": other["signature"]}),
        ("of another session", "forged", signed(foreign)),
        (
            "that names another",
            "forged",
            {"deal": borrowed, "signature": bodies.sign(c.devices[0].seed, "deal", borrowed)},
        ),
        ("with a byte too many", "malformed", {"deal": own["deal"] + b"\0"}),
    ):
        cases.append(refused(f"a deal {name}", "take deal", error, **{**given, **changed}))
    last = 2 * ring.N * quantization.row_count(c.shape.dimension, c.per) - 1
    for name, changed in (
        ("p0 among the residues mod p0", {"changes": [[7, P[0]]]}),
        ("p1 among the residues mod p1", {"changes": [[last, P[1]]]}),
        ("no row", {"changes": [], "rows": 0}),
        ("a row too many", {"changes": [], "rows": 3}),
    ):
        cases.append(refused(f"an upload with {name}", "upload", "malformed", dealer=1, **changed))
    return [*cases, accepted("an upload with p1 among the residues mod p0", "upload", dealer=1, changes=[[0, P[1]]])]


def splitting(c: Cohort) -> list[Case]:
    """Only where the file holds all packets."""
    if len(c.shape.shown) < c.shape.members:
        return []
    size = len(c.packets[1, 1])
    sealed: list[Any] = [resize(f"packets.{k}.0", size) for k in c.places]
    given = {"dealer": 1, "deal": c.receipts[1]["deal"], "signature": c.receipts[1]["signature"]}
    out = {"entries": [sha(c.packets[1, k] + c.proof(1, k)) for k in c.places]}
    cases = [accepted("a deal's packets", "split", out, **given, sealed=sealed)]
    flipped = bytes([c.packets[1, 1][40] ^ 1])
    for name, error, changed in (
        ("one of them changed", "forged", [change("packets.1.0", 40, flipped, size), *sealed[1:]]),
        ("in another order", "forged", [sealed[1], sealed[0], *sealed[2:]]),
        ("one missing", "malformed", sealed[:-1]),
        ("a byte too many", "malformed", [*sealed, "00"]),
    ):
        cases.append(refused(f"a deal's packets, {name}", "split", error, **given, sealed=changed))
    return cases


def prepares(c: Cohort) -> list[Case]:
    """What a member makes of the packets it gets."""
    cases = []
    for k in c.shape.shown:
        report = c.report(k)
        out = {"report": report, "signature": c.sign_report(k, report)}
        cases.append(accepted(f"report {k}", "report", out, member=k))
        for dealer in c.places:
            packet = c.packets[dealer, k]
            out = {"plaintext_hash": sha(c.plaintexts[0][k - 1]) if dealer == 1 else None}
            who = {"dealer": c.identities[0], "to": c.identities[k - 1]}
            given = {"secret": c.devices[k - 1].round_secret, "sid": c.sid, **who}
            name = f"packet of {dealer} to {k}, opened as of 1"
            cases.append(
                accepted(name, "open packet", out, **given, packet=resize(f"packets.{k}.{dealer - 1}", len(packet)))
            )
    return cases + bad_prepares(c)


def bad_prepares(c: Cohort) -> list[Case]:
    """What a member refuses, since the server and not a dealer must have done it."""
    k, n = c.shape.shown[0], c.shape.members
    second = c.packets[2, k] + c.proof(2, k)
    size, length = len(c.packets[2, k]), len(second)
    entries: list[Any] = [{"of": f"packets.{k}.{i}"} for i in range(n)]
    shown = [plain(c.receipts[i]) for i in c.places]
    foreign = seeded("another sid") + c.receipts[2]["deal"][32:]
    resigned = plain({"deal": foreign, "signature": bodies.sign(c.devices[1].seed, "deal", foreign)})
    stranger = shown[0] | plain({"identity": bodies.identity(seeded("stranger"))})

    def flipped(at: int) -> dict[str, Any]:
        return packet(change(f"packets.{k}.1", at, bytes([second[at] ^ 1])))

    def packet(value: Any) -> dict[str, Any]:
        return {"entries": [entries[0], value, *entries[2:]]}

    def receipt(**changed: Any) -> dict[str, Any]:
        return {"shown": [shown[0], shown[1] | changed, *shown[2:]]}

    return [
        refused(f"prepared with {name}", "report", error, member=k, **changed)
        for name, error, changed in (
            ("a changed packet", "forged", flipped(0)),
            ("a changed tag", "forged", flipped(size - 1)),
            ("a bad proof", "forged", flipped(size)),
            ("misplaced packets", "forged", {"entries": [entries[1], entries[0], *entries[2:]]}),
            ("a packet too long", "malformed", packet(resize(f"packets.{k}.1", length + 1))),
            ("a packet cut off", "malformed", packet(resize(f"packets.{k}.1", length - 1))),
            ("a proof too short", "malformed", packet(resize(f"packets.{k}.1", length - 32))),
            ("a packet missing", "malformed", {"entries": entries[:-1]}),
            ("receipts in the wrong order", "malformed", {"shown": [shown[1], shown[0], *shown[2:]]}),
            ("a receipt twice", "malformed", {"shown": [shown[0], shown[0], *shown[2:]]}),
            ("a forged receipt", "forged", receipt(signature=shown[0]["signature"])),
            ("a receipt of another session", "forged", receipt(**resigned)),
            ("a receipt of nobody here", "malformed", {"shown": [stranger], "entries": entries[:1]}),
            ("a receipt with a byte too many", "malformed", receipt(deal=shown[1]["deal"] + "00")),
        )
    ]


def votes(c: Cohort) -> list[Case]:
    k, n = c.shape.shown[0], c.shape.members
    everybody, fewest = list(c.places), list(c.places)[: c.floor]
    cases = []
    lists = {"everybody": c.survivors(everybody), "nobody": b"", "as few as may be": c.survivors(fewest)}
    for name, chosen in lists.items():
        out = {"survivors_hash": sha(chosen), "signature": c.vote(k, chosen)}
        cases.append(accepted(f"a vote for {name}", "vote", out, member=k, survivors=chosen))
    whole = lists["everybody"]
    swapped = whole[64:128] + whole[:64] + whole[128:]
    for name, error, chosen in (
        ("fewer than the floor", "unsafe", c.survivors(everybody[: c.floor - 1])),
        ("one alone", "unsafe", whole[:64]),
        ("a receipt that was not shown", "forged", whole[:32] + seeded("receipt") + whole[64:]),
        ("the wrong order", "malformed", swapped),
        ("somebody twice", "malformed", whole[:64] + whole),
        ("a byte too many", "malformed", whole + b"\0"),
    ):
        cases.append(refused(f"a vote for {name}", "vote", error, member=k, survivors=chosen))
    entries = [{"of": f"packets.{k}.{i}"} for i in range(n - 1)]
    shown = {"shown": [c.receipts[i] for i in everybody[:-1]], "entries": entries}
    cases.append(refused("a vote for more than was shown", "vote", "forged", member=k, survivors=whole, **shown))
    return cases + certificates(c, k, whole)


def certificates(c: Cohort, k: int, whole: bytes) -> list[Case]:
    n = c.shape.members
    r, everybody = sharing.sizes(n)[0], list(c.places)
    voters, dealers = everybody[-r:], everybody
    certificate = c.certificate(voters, whole)
    words = c.answer(k, dealers)
    out = {"words": digest(words), "signature": c.sign_answer(k, whole, words)}
    given = {"member": k, "survivors": whole, "certificate": certificate}
    cases = [
        accepted("a certificate", "certificate", {"certificate": certificate}, survivors=whole, voters=voters),
        accepted("a certificate, read", "read certificate", survivors=whole, certificate=certificate),
        accepted("an answer", "answer", out, **given),
    ]
    small = c.survivors(everybody[: c.floor])
    words = c.answer(k, everybody[: c.floor])
    out = {"words": digest(words), "signature": c.sign_answer(k, small, words)}
    fewer = {"member": k, "survivors": small, "certificate": c.certificate(voters, small)}
    cases.append(accepted("an answer for as few as may be", "answer", out, **fewer))
    stranger = seeded("stranger")
    vote = bodies.identity(stranger) + bodies.sign(stranger, "vote", bodies.vote(c.sid, whole))
    lines = sorted([vote, *(certificate[i : i + 96] for i in range(0, 96 * (r - 1), 96))])
    elsewhere = bodies.sign(c.devices[voters[0] - 1].seed, "vote", bodies.vote(seeded("another sid"), whole))
    for name, error, wrong in (
        ("with a vote too few", "forged", certificate[:-96]),
        ("without votes", "forged", b""),
        ("for another list", "forged", c.certificate(voters, small if small != whole else whole[64:])),
        ("for the empty list", "forged", c.certificate(voters, b"")),
        ("with a vote from another session", "forged", certificate[:32] + elsewhere + certificate[96:]),
        ("with a forged vote", "forged", certificate[:-1] + bytes([certificate[-1] ^ 1])),
        ("with a stranger's vote", "malformed", b"".join(lines)),
        ("in the wrong order", "malformed", certificate[96:192] + certificate[:96] + certificate[192:]),
        ("with a member twice", "malformed", certificate[:96] + certificate),
        ("with a byte too many", "malformed", certificate + b"\0"),
    ):
        inputs = {"survivors": whole, "certificate": wrong}
        cases.append(refused(f"a certificate {name}", "read certificate", error, **inputs))
        cases.append(refused(f"an answer to a certificate {name}", "answer", error, member=k, **inputs))
    for name, chosen in (("nobody", b""), ("fewer than the floor", c.survivors(everybody[: c.floor - 1]))):
        inputs = {"survivors": chosen, "certificate": c.certificate(voters, chosen)}
        cases.append(refused(f"an answer for {name}", "answer", "unsafe", member=k, **inputs))
    return cases


def build(name: str, kept: dict[str, Any] | None) -> dict[str, Any]:
    """The file's content; ``kept``: as it was."""
    c = Cohort(SHAPES[name], kept)
    given: dict[str, Any] = plain(c.given())
    cases = [case for part in (sessions, musters, contributions, splitting, prepares, votes) for case in part(c)]
    cases += server_cases.build(c)
    if c.shape.members == 10:
        given["cheats"], found = cheats.build(c, (kept or {}).get("given", {}).get("cheats", {}))
        cases += found
    about = (
        f"A cohort of {c.shape.members} in full: {48 // c.shape.bits} slots to a coefficient; what it says and refuses"
    )
    return {"about": about, "given": given, "cases": cases}
