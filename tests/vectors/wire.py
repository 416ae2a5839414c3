"""Cases of what goes over the wire: bodies, lists, messages, signed requests, join links, round keys."""

import base64
from typing import Any

import msgspec
from reference import bodies
from reference.ring import sha
from writing import Case, accepted, change, refused, resize, seeded

FEDERATION, TASK, ADAPTER, SETTINGS = seeded("federation"), b"task", b"adapter", b"settings"
COHORT, SID = seeded("cohort", size=16), seeded("sid")
SEED = seeded("device")
WHO = bodies.identity(SEED)
NOW, NONCE, TOKEN = 1_900_000_000, seeded("nonce", size=16), seeded("token", size=16)
ROUND = bodies.Round(FEDERATION, TASK, 7, COHORT, ADAPTER, SETTINGS)


def single_bodies() -> list[Case]:
    chosen, words, round_key = seeded("U", size=128), [1, 2, 3, 4], seeded("key", size=1216)
    packed = b"".join(word.to_bytes(4, "little") for word in words)
    common: dict[str, Any] = {"federation": FEDERATION, "identity": WHO}
    offered = {"task_hash": sha(TASK), "round": 7, "adapter": sha(ADAPTER)}
    made: dict[str, tuple[bytes, dict[str, Any]]] = {
        "enrol": (bodies.enrol(FEDERATION, WHO, TOKEN, NOW), common | {"token_hash": sha(TOKEN), "time": NOW}),
        "checkin": (
            bodies.checkin(FEDERATION, WHO, TASK, 7, ADAPTER, NOW, NOW + 86400),
            common | offered | {"train_until": NOW, "not_after": NOW + 86400},
        ),
        "muster": (
            ROUND.muster(round_key, 3, NOW),
            {"federation": FEDERATION, **offered, "round_key_hash": sha(round_key), "floor": 3, "not_after": NOW},
        ),
        "deal": (
            bodies.deal(SID, WHO, b"y", seeded("root")),
            {"sid": SID, "dealer": WHO, "vector_hash": sha(b"y"), "root": seeded("root")},
        ),
        "report": (
            bodies.report_body(SID, WHO, b"report"),
            {"sid": SID, "member": WHO, "report_hash": sha(b"report")},
        ),
        "vote": (bodies.vote(SID, chosen), {"sid": SID, "survivors_hash": sha(chosen)}),
        "answer": (
            bodies.answer(SID, chosen, 255, words),
            {"sid": SID, "survivors_hash": sha(chosen), "index": 255, "words_hash": sha(packed)},
        ),
        "result": (
            bodies.result(SID, 7, 2, b"", ADAPTER, 4080),
            {"sid": SID, "round": 7, "outcome": 2, "survivors_hash": sha(b""), "adapter": sha(ADAPTER)}
            | {"total_weight": 4080},
        ),
    }
    cases = []
    for purpose, (body, fields) in made.items():
        cases.append(accepted(f"the body of {purpose}", "body", {"body": body}, purpose=purpose, fields=fields))
        cases.append(
            accepted(f"a body of {purpose}, read", "read body", {"fields": fields}, purpose=purpose, body=body)
        )
        for name, size in (("with a byte too many", len(body) + 1), ("that is cut off", len(body) - 1)):
            spoilt = {"purpose": purpose, "whole": body, "body": resize("whole", size)}
            cases.append(refused(f"a body of {purpose} {name}", "read body", "malformed", **spoilt))
    for purpose, times in (("enrol", 1), ("checkin", 2), ("muster", 1)):
        body, fields = made[purpose]
        names = list(fields)[-times:]
        for place, name in enumerate(names):
            for time in (2**40, 2**40 + 1):
                given = {"purpose": purpose, "body": change_time(body, place - times, time)}
                told = f"a body of {purpose} whose {name} is 2^40"
                if time == 2**40:
                    cases.append(accepted(told, "read body", {"fields": fields | {name: time}}, **given))
                else:
                    cases.append(refused(f"{told} + 1", "read body", "malformed", **given))
    deal, signature = made["deal"][0], bodies.sign(SEED, "deal", made["deal"][0])
    cases.append(
        accepted("a receipt's hash", "receipt", {"hash": sha(deal + signature)}, deal=deal, signature=signature)
    )
    return cases


def change_time(body: bytes, place: int, time: int) -> bytes:
    """``body``, the last fields of which are times, with another one at this place from its end."""
    at = len(body) + 8 * place
    return body[:at] + bodies.le(time, 8) + body[at + 8 :]


def twice(fields: dict[str, Any], name: str) -> bytes:
    """msgpack of a short map in which ``name`` stands twice."""
    packed = msgspec.msgpack.encode(fields)
    assert packed[0] >> 4 == 8, "a short map"
    return bytes([packed[0] + 1]) + packed[1:] + msgspec.msgpack.encode(name) + msgspec.msgpack.encode(fields[name])


def lists() -> list[Case]:
    people = sorted(seeded("person", k) for k in range(4))
    receipts = {who: seeded("receipt", who, size=192) for who in people}
    checks = list(range(1, 9))
    entries = [bodies.Entry(who, seeded("key", who, size=1216), 3, NOW, seeded("sig", who, size=64)) for who in people]
    votes = {who: seeded("vote", who, size=64) for who in people}
    report = bodies.report({who: (receipts[who], checks if k else None) for k, who in enumerate(people)})
    kinds: dict[str, tuple[bytes, int, int, list[dict[str, Any]]]] = {
        "survivors": (
            bodies.survivors(receipts),
            0,
            64,
            [{"identity": who, "receipt_hash": sha(receipts[who])} for who in people],
        ),
        "certificate": (
            bodies.certificate(votes),
            0,
            96,
            [{"identity": who, "signature": votes[who]} for who in people],
        ),
        "report": (
            report,
            0,
            97,
            [
                {"dealer": who, "receipt_hash": sha(receipts[who]), "checks": checks if k else None}
                for k, who in enumerate(people)
            ],
        ),
        "roster": (
            ROUND.roster(entries),
            154,
            1322,
            [
                {"identity": e.identity, "round_key": e.key, "floor": 3, "not_after": NOW, "signature": e.signature}
                for e in entries
            ],
        ),
    }
    cases = []
    for kind, (raw, head, step, out) in kinds.items():
        given = {"list": kind, "whole": raw}
        cases.append(accepted(f"a {kind}, read", "read list", {"entries": out}, list=kind, raw=raw))
        first, second = raw[head : head + step], raw[head + step : head + 2 * step]
        for name, wrong in (
            ("in the wrong order", change("whole", head, second + first)),
            ("with somebody twice", change("whole", head + step, first)),
            ("with a byte too many", resize("whole", len(raw) + 1)),
            ("that is cut off", resize("whole", len(raw) - 1)),
        ):
            cases.append(refused(f"a {kind} {name}", "read list", "malformed", **given, raw=wrong))
    for kind, step in (("survivors", 64), ("certificate", 96)):
        cases.append(accepted(f"an empty {kind}", "read list", {"entries": []}, list=kind, raw=b""))
        large = b"".join(k.to_bytes(32, "big") + bytes(step - 32) for k in range(256))
        cases.append(refused(f"a {kind} of 256", "read list", "malformed", list=kind, raw=large))
    roster, count = kinds["roster"][0], 152
    given = {"list": "roster", "whole": roster}
    for name, wrong in (
        ("that counts one too few", change("whole", count, bytes([3, 0]))),
        ("of two", change("whole", count, bytes([2, 0]), 154 + 2 * 1322)),
        ("without its head", resize("whole", 100)),
        ("with a promise beyond all times", change("whole", 154 + 32 + 1216 + 2, bodies.le(2**40 + 1, 8))),
    ):
        cases.append(refused(f"a roster {name}", "read list", "malformed", **given, raw=wrong))
    given = {"list": "report", "whole": report}
    for name, wrong in (
        ("that says neither edge nor values", change("whole", 64, b"\x02")),
        ("with values beside an edge", change("whole", 65, b"\x01")),
    ):
        cases.append(refused(f"a report {name}", "read list", "malformed", **given, raw=wrong))
    return cases


def messages() -> list[Case]:
    """One of each, as msgpack maps of their fields, and what is not read."""
    signature, sealed = bytes(range(64)), bytes(100)
    receipt = {"type": "receipt", "identity": WHO, "body": bytes(128), "signature": signature}
    client: list[dict[str, Any]] = [
        {"type": "enrol", "identity": WHO, "token": TOKEN, "time": NOW, "signature": signature},
        {"type": "checkin", "client_version": "1", "accelerator": "cpu", "memory_gib": 8, "wait": 30},
        {"type": "muster", "body": bytes(146), "round_key": bytes(1216), "signature": signature},
        {"type": "poll", "round": 7, "cohort": None, "after": "mustered", "wait": 0},
        {"type": "deal", "cohort": COHORT, "body": bytes(128), "signature": signature, "packets": sealed},
        {"type": "report", "cohort": COHORT, "report": bytes(97), "signature": signature},
        {"type": "vote", "cohort": COHORT, "survivors_hash": SID, "signature": signature},
        {"type": "answer", "cohort": COHORT, "survivors_hash": SID, "words": bytes(64), "signature": signature},
        {"type": "leave"},
    ]
    server: list[dict[str, Any]] = [
        {"type": "enrolled", "server_key": WHO, "federation_name": "Föderation"},
        {"type": "accepted"},
        {"type": "wait", "reason": "Others train.", "seconds": 1.5, "present": 2, "expected": 5, "until": NOW},
        {"type": "closed", "reason": "Too late."},
        {"type": "offer", "task": TASK, "round": 7, "adapter": SID, "adapter_size": 2**33}
        | {"train_until": NOW, "not_after": NOW, "signature": signature},
        {"type": "roster", "cohort": COHORT, "body": b"roster", "settings": SETTINGS, "signature": signature}
        | {"contribute_until": NOW},
        {"type": "prepare", "receipts": [receipt], "packets": [sealed]},
        {"type": "survivors", "survivors": b""},
        {"type": "certificate", "survivors": bytes(64), "certificate": bytes(96)},
        {"type": "result", "cohort": COHORT, "round": 7, "outcome": "published", "survivors": bytes(64)}
        | {"certificate": b"", "adapter": SID, "total_weight": 9, "mean_loss": 2.5, "signature": signature},
        {"type": "chunksheld", "held": b"\x03"},
        {"type": "refused", "code": "conflict", "message": "Not now.", "advice": "", "server_time": None},
    ]
    cases = []
    for side, said in (("client", client), ("server", server)):
        for fields in said:
            kind, raw = fields["type"], msgspec.msgpack.encode(fields)
            cases.append(accepted(f"the {side}'s {kind}", "message", {"fields": fields}, side=side, raw=raw))
            longer = {"side": side, "whole": raw, "raw": resize("whole", len(raw) + 1)}
            cases.append(refused(f"the {side}'s {kind} with a byte too many", "message", "malformed", **longer))
            unknown = msgspec.msgpack.encode(fields | {"more": 1})
            name = f"the {side}'s {kind} with an unknown field"
            cases.append(refused(name, "message", "malformed", side=side, raw=unknown))
    wrong: list[tuple[str, str, Any]] = [
        ("an unknown message", "client", {"type": "hello"}),
        ("a message without a type", "client", {"after": "voted", "round": 1}),
        ("the server's message from a client", "client", {"type": "accepted"}),
        ("an identity of 31 bytes", "client", client[0] | {"identity": WHO[:-1]}),
        ("a negative round", "client", client[3] | {"round": -1}),
        ("a step that does not exist", "client", client[3] | {"after": "slept"}),
        ("text where bytes belong", "client", client[0] | {"token": "sixteen letters!"}),
        ("a signature of 65 bytes", "client", client[6] | {"signature": bytes(65)}),
        ("a list instead of a map", "client", ["vote", COHORT]),
        ("a message that lacks a field", "client", {"type": "vote", "cohort": COHORT}),
    ]
    cases += [refused(name, "message", "malformed", side=s, raw=msgspec.msgpack.encode(v)) for name, s, v in wrong]
    for fields in (client[3], server[3]):
        side = "client" if fields is client[3] else "server"
        for name in ("type", list(fields)[1]):
            given = {"side": side, "raw": twice(fields, name)}
            cases.append(refused(f"the {side}'s {fields['type']} with {name} twice", "message", "malformed", **given))
    size = 2**16 + 1
    head = msgspec.msgpack.encode({"type": "report", "cohort": COHORT, "signature": signature, "report": bytes(size)})
    oversize = {"side": "client", "whole": head[:-size], "raw": resize("whole", len(head))}
    cases.append(refused("a report that is too large", "message", "malformed", **oversize))
    return cases


def settings() -> list[Case]:
    """A task and a round's settings with nothing but what they must have: the rest is as here."""
    task: dict[str, Any] = {"name": "t", "model": {"id": "tiny"}, "adapter_config": "{}", "training": {}}
    task["tensors"] = [{"name": "a", "shape": [2, 3]}, {"name": "b", "shape": [4]}]
    chosen: dict[str, Any] = {"model": "tiny", "clip": [0.5, 1.0], "not_after": NOW}
    training = {"learning_rate": 3e-4, "batch_size": 16, "steps": None, "epochs": 1.0, "minutes": None}
    training |= {"max_length": 512, "train_on_inputs": False, "weight_decay": 0.0, "max_grad_norm": 1.0}
    training |= {"warmup_steps": 0, "quantization": ["int8"]}
    model = {"id": "tiny", "revision": "", "files": {}}
    out = {
        "task": task | {"model": model, "training": training},
        "settings": chosen | {"slot_bits": 16, "max_weight": 1},
    }

    def packed(**changed: dict[str, Any]) -> dict[str, bytes]:
        parts = {"task": task, "settings": chosen}
        return {name: msgspec.msgpack.encode(part | changed.get(name, {})) for name, part in parts.items()}

    cases = [accepted("a task and settings, read", "settings", out, **packed())]
    for name, changed in (
        ("a task with two measures of work", {"task": {"training": {"steps": 3}}}),
        ("a task without a measure of work", {"task": {"training": {"epochs": None}}}),
        ("a task with an unknown field", {"task": {"more": 1}}),
        ("a task without tensors", {"task": {"tensors": []}}),
        ("a task with two tensors of one name", {"task": {"tensors": [task["tensors"][0]] * 2}}),
        ("a task with a weight of 4097", {"task": {"max_weight": 4097}}),
        ("settings of another model", {"settings": {"model": "other"}}),
        ("settings with a clip range too many", {"settings": {"clip": [1.0, 1.0, 1.0]}}),
        ("settings with an infinite clip range", {"settings": {"clip": [1.0, float("inf")]}}),
        ("settings with a clip range that is too small", {"settings": {"clip": [1.0, 5e-324]}}),
        ("settings with slots of 20 bits", {"settings": {"slot_bits": 20}}),
        ("settings with a weight of 4097", {"settings": {"max_weight": 4097}}),
    ):
        cases.append(refused(name, "settings", "malformed", **packed(**changed)))
    both = packed()
    name, files = "model.safetensors", {"model.safetensors": SID}
    hashed = inside(task["model"] | {"files": files}, "files", twice(files, name))
    for name, raws in (
        ("a task with its name twice", {"task": twice(task, "name")}),
        ("a task with its model's id twice", {"task": inside(task, "model", twice(task["model"], "id"))}),
        ("a task with a measure of work twice", {"task": inside(task, "training", twice({"epochs": 2.0}, "epochs"))}),
        ("a task with a file's hash twice", {"task": inside(task, "model", hashed)}),
        (
            "a task with a tensor's shape twice",
            {"task": inside(task, "tensors", b"\x92" + both_tensors(task["tensors"]))},
        ),
        ("settings with max_weight twice", {"settings": twice(chosen | {"max_weight": 1}, "max_weight")}),
    ):
        cases.append(refused(name, "settings", "malformed", **(both | raws)))
    return [*cases, long_config(task, both["settings"])]


def inside(fields: dict[str, Any], name: str, value: bytes) -> bytes:
    """msgpack of a short map whose last field is ``name``, with the bytes of its value."""
    others = msgspec.msgpack.encode({other: fields[other] for other in fields if other != name})
    return bytes([others[0] + 1]) + others[1:] + msgspec.msgpack.encode(name) + value


def both_tensors(tensors: list[dict[str, Any]]) -> bytes:
    return msgspec.msgpack.encode(tensors[0]) + twice(tensors[1], "shape")


def long_config(task: dict[str, Any], settings: bytes) -> Case:
    """An adapter_config of few enough characters, and too many bytes."""
    letter, count = "é".encode(), 2**15 + 1
    size = len(letter) * count
    head = inside(task, "adapter_config", b"\xdb" + size.to_bytes(4, "big"))
    if len(head) % 2:
        head = inside(task | {"name": "tt"}, "adapter_config", b"\xdb" + size.to_bytes(4, "big"))
    given = {
        "letters": {"repeat": letter.hex(), "size": len(head) + size},
        "task": {"of": "letters", "put": [[0, head.hex()]]},
        "settings": settings,
    }
    return refused("a task whose adapter_config has 65538 bytes", "settings", "malformed", **given)


def requests() -> list[Case]:
    given: dict[str, Any] = {"federation": FEDERATION, "method": "POST", "path": "/v1/poll?x=1", "body": b"body"}
    raw = WHO + bodies.le(NOW, 8) + NONCE
    raw += bodies.sign(SEED, "request", bodies.request(FEDERATION, WHO, NOW, NONCE, "POST", "/v1/poll?x=1", b"body"))
    header = "Fedit " + base64.urlsafe_b64encode(raw).decode()
    out = {"identity": WHO, "time": NOW, "nonce": NONCE}
    cases = [accepted("a request, signed", "request", {"header": header}, seed=SEED, time=NOW, nonce=NONCE, **given)]
    for age in (-120, 0, 120):
        cases.append(accepted(f"a request {age} s old", "read request", out, **given, header=header, now=NOW + age))
    for name, changed in (
        ("of another method", {"method": "PUT"}),
        ("of another path", {"path": "/v1/poll?x=2"}),
        ("of another body", {"body": b"bodY"}),
        ("of another federation", {"federation": SID}),
        ("121 s old", {"now": NOW + 121}),
        ("from 121 s ahead", {"now": NOW - 121}),
        ("without a scheme", {"header": header.removeprefix("Fedit ")}),
        ("of another scheme", {"header": header.replace("Fedit", "Bearer")}),
        ("that is cut off", {"header": header[:-4]}),
        ("with bytes too many", {"header": header + "AAAA"}),
        ("without a token", {"header": ""}),
        ("under a key of small order", {"header": "Fedit " + "A" * 160}),
    ):
        inputs = {**given, "header": header, "now": NOW} | changed
        cases.append(refused(f"a request {name}", "read request", "unauthorized", **inputs))
    return cases


def links() -> list[Case]:
    def join(*parts: bytes) -> str:
        return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)

    address, pin = "https://fed.example:8443", seeded("pin")
    out = {"address": address, "federation": FEDERATION, "token": TOKEN, "pin": pin}
    whole = f"{address}/join#1.{join(FEDERATION, TOKEN, pin)}"
    public = f"{address}/join#1.{join(FEDERATION, TOKEN)}"
    cases = [
        accepted("a link", "link", out, link=whole),
        accepted("a link without a pin", "link", out | {"pin": None}, link=public),
    ]
    for name, text in (
        ("that is cut off", whole[:-1]),
        ("without a token", f"{address}/join#1.{join(FEDERATION)}"),
        ("of version 2", whole.replace("#1.", "#2.")),
        ("without a version", whole.replace("#1.", "#")),
        ("that is not encrypted", whole.replace("https", "http")),
        ("to another page", whole.replace("/join", "/")),
        ("with a user", whole.replace("fed.", "me@fed.")),
        ("with padding", whole + "="),
        ("with a part too many", whole + ".AAAA"),
    ):
        cases.append(refused(f"a link {name}", "link", "usage", link=text))
    return cases


def round_keys() -> list[Case]:
    secret = seeded("round key", size=96)
    key = bodies.round_key_bytes(secret[:64], secret[64:])
    cases = [
        accepted("a round key", "round key", {"key": key}, secret=secret),
        refused("a round key's secret that is cut off", "round key", "malformed", secret=secret[:-1]),
        accepted("a round key that is valid", "read round key", key=key),
    ]
    order8 = bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800")
    for name, wrong in (
        ("whose X25519 part is 0", change("whole", 1184, bytes(32))),
        ("whose X25519 part is 1", change("whole", 1184, b"\x01" + bytes(31))),
        ("whose X25519 part is of order 8", change("whole", 1184, order8)),
        ("whose ML-KEM part is out of range", change("whole", 0, b"\xff" * 1152)),
        ("that is cut off", resize("whole", 1215)),
        ("with a byte too many", resize("whole", 1217)),
    ):
        cases.append(refused(f"a round key {name}", "read round key", "malformed", whole=key, key=wrong))
    return cases


FILES = {
    "bodies": ("Bodies that are signed, lists, round keys", [single_bodies, lists, round_keys]),
    "wire": ("Messages, tasks and settings, signed requests, join links", [messages, settings, requests, links]),
}
