"""Cases of single steps: parameters, streams, quantization, keys, bodies, trees."""

import math
import struct
from typing import Any

from reference import bodies, quantization, ring, sharing
from reference.ring import N, sha
from writing import Case, accepted, digest, float32, refused, seeded

KEY = bytes(range(16))
SID, RANDOMNESS = seeded("sid"), seeded("randomness")
ORDER = 2**252 + 27742317777372353535851937790883648493
FIELD = 2**255 - 19


def parameters() -> list[Case]:
    cases = [accepted("the roots", "roots", {"psi": [ring.psi(0), ring.psi(1)]})]
    for n in (3, 4, 5, 7, 10, 64, 255):
        r, t, width, blocks = sharing.sizes(n)
        sizes = {"threshold": r, "corrupt": t, "packing": width, "blocks": blocks, "floor": bodies.floor(n, [])}
        sizes |= {"answer_words": 2 * blocks, "packet_words": 2 * blocks + 8}
        cases.append(accepted(f"a cohort of {n}", "cohort", sizes, members=n))
    for n in (0, 2, 256):
        cases.append(refused(f"no cohort has {n} members", "cohort", "malformed", members=n))
    for n, bits, heaviest, d in (
        (64, 16, 16, 4_194_304),
        (3, 24, 16, 8190),
        (255, 16, 128, 12285),
        (5, 12, 409, 16382),
    ):
        m = 48 // bits
        out = {"levels": quantization.levels(bits, n, heaviest), "rows": quantization.row_count(d, m)}
        out["upload_bytes"] = out["rows"] * N * 8
        name = f"slots of {bits} bits for {n} members"
        cases.append(accepted(name, "layout", out, members=n, slot_bits=bits, max_weight=heaviest, parameters=d))
    for name, n, bits, heaviest in (
        ("slots that overflow", 64, 12, 32),
        ("slots that overflow by one", 5, 12, 410),
        ("no layout of version 1", 5, 20, 16),
        ("a weight of nothing", 5, 16, 0),
    ):
        inputs = {"members": n, "slot_bits": bits, "max_weight": heaviest, "parameters": 100}
        cases.append(refused(name, "layout", "malformed", **inputs))
    return cases


def streams() -> list[Case]:
    cases = []
    for name, prime, row, count, places in (
        ("no word is rejected", 0, 1, 16, [0, 15]),
        ("two words of a row are rejected: in rising order", 0, 27, N, [1687, 3488, 4095]),
        ("two words of a row are rejected mod the other prime", 1, 52, N, [1963, 2112, 4095]),
        ("the first spare word is rejected too", 0, 232240, N, [1048]),
        ("the first spare word is rejected too, mod the other prime", 1, 52805, N, [2944]),
    ):
        words = ring.uniform(KEY, prime, row, count)
        out = {"words": digest(words), "at": [words[place] for place in places]}
        cases.append(accepted(name, "uniform", out, key=KEY, prime=prime, row=row, count=count, places=places))
    for row in (0, 1, 70000):
        a = ring.public_element(SID, row)
        out = {"key": sha(b"fedit/1/a\0" + SID)[:16], "a": [digest(half) for half in a]}
        cases.append(accepted(f"the public element of row {row}", "public", out, sid=SID, row=row))
    out = {
        "keys": {use: ring.prg(RANDOMNESS, SID, use) for use in ("s", "e", "rounding", "share")},
        "s": [digest(half) for half in ring.secret(RANDOMNESS, SID)],
    }
    return [*cases, accepted("keys and secret", "secrets", out, sid=SID, randomness=RANDOMNESS)]


def quantizing() -> list[Case]:
    """Each layout; values at, beyond and just inside the clip range; 0.1 is clipped: as float32 it lies above 0.1.
    Tensors with too many values beyond their range, which are scaled down, and with just as many as may be."""
    wild = [0.0, -0.0, 0.1, -0.1, 0.09999999, 1e30, -1e30, 1e-45, 3.4e38, 0.05, -0.025]
    cases = []
    for name, n, bits, heaviest, sizes, clip, examples, loss in (
        ("three to a coefficient", 5, 16, 16, [11, 9], [0.1, 0.003], 100, 2.5),
        ("four to a coefficient, one step", 10, 12, 204, [20], [0.1], 6400, 17.0),
        ("two to a coefficient, two rows", 3, 24, 16, [11, 8179], [0.1, 0.2], 1, 0.0),
        ("two rows, the extra slots across them", 3, 24, 16, [11, 8180], [0.1, 0.2], 10**9, 15.999),
        ("a negative loss counts as none", 5, 16, 16, [20], [1e-30], 33, -1.0),
        ("a range beyond all values", 5, 16, 16, [20], [1e30], 32, 1.0),
        ("one value in a hundred beyond its range", 5, 16, 16, [100], [0.0501], 320, 1.0),
        ("two values in a hundred beyond their range", 5, 16, 16, [100, 100], [0.0499, 1e-300], 320, 1.0),
    ):
        m, d = 48 // bits, sum(sizes)
        pattern = struct.pack("<20f", *(wild + [0.001 * (k - 4) for k in range(9)]))
        if "hundred" in name:
            pattern = struct.pack("<100f", *(0.0005 * k * (-1) ** k for k in range(1, 102) if k != 50))
        values = list(struct.unpack(f"<{d}f", (pattern * (4 * d // len(pattern) + 1))[: 4 * d]))
        tensors = list(zip(sizes, clip, strict=True))
        step, w = quantization.levels(bits, n, heaviest), quantization.weight(examples, heaviest)
        count = quantization.row_count(d, m)
        words = [word for row in range(count) for word in ring.rounding_words(RANDOMNESS, SID, row, m)]
        slots = quantization.slots(values, tensors, loss, w, step, words)
        rows = quantization.pack(slots, bits, m)
        out = {
            "weight": w,
            "clipped": quantization.outside(values, tensors),
            "slots": digest(slots + [0] * (count * N * m - len(slots))),
            "messages": [digest(row, "Q") for row in rows],
            "errors": [digest(ring.errors(RANDOMNESS, SID, row), "i") for row in range(count)],
        }
        given: dict[str, Any] = {"sizes": sizes, "clip": clip, "slot_bits": bits, "members": n, "max_weight": heaviest}
        given |= {"sid": SID, "randomness": RANDOMNESS, "delta": {"repeat": pattern.hex(), "size": 4 * d}}
        cases.append(accepted(name, "quantize", out, **given, examples=examples, loss=loss))
    small = {"sizes": [2], "clip": [0.1], "slot_bits": 16, "members": 5, "max_weight": 16, "sid": SID}
    small |= {"randomness": RANDOMNESS, "examples": 32, "loss": 1.0, "delta": bytes(8)}
    for name, changed in (
        ("a vector with NaN", {"delta": struct.pack("<2f", 0, math.nan)}),
        ("a vector with infinity", {"delta": struct.pack("<2f", -math.inf, 0)}),
        ("a vector that is too long", {"delta": bytes(12)}),
        ("a loss that is NaN", {"loss": "nan"}),
        ("a loss that is infinite", {"loss": "inf"}),
        ("an update from no examples", {"examples": 0}),
    ):
        cases.append(refused(name, "quantize", "usage", **{**small, **changed}))
    return cases


def means() -> list[Case]:
    given: dict[str, Any] = {"sizes": [2, 2], "clip": [0.01, 3.0], "slot_bits": 16, "members": 5, "max_weight": 16}
    step, survivors, total = quantization.levels(16, 5, 16), 4, 37
    top = 2 * step * total
    sums = [0, top, step * total, 12345, total, top // 3, 7]
    mean = quantization.mean(sums, [0.01, 0.01, 3.0, 3.0], step, survivors, 16)
    out = {"mean": digest(float32(mean), "f"), "total_weight": total, "loss": 16 * (top // 3) / top, "clipped": 7 / top}
    cases = [accepted("a mean", "mean", out, **given, survivors=survivors, sums=ring.words4(sums))]
    for name, place, value in (
        ("weights of less than the survivors", 4, 3),
        ("weights of more than the survivors can have", 4, 65),
        ("a value beyond the bound", 3, top + 1),
        ("a loss beyond the bound", 5, top + 1),
        ("more clipped than there are", 6, top + 1),
    ):
        spoilt = ring.words4([*sums[:place], value, *sums[place + 1 :]])
        cases.append(refused(name, "mean", "sum", **given, survivors=survivors, sums=spoilt))
    return cases


def keys() -> list[Case]:
    seed = seeded("signer")
    own = bodies.identity(seed)
    signature = bodies.sign(seed, "vote", b"body")
    cases = [
        accepted("a key", "key", key=own),
        accepted("a federation's name", "federation", {"federation": bodies.federation(own)}, key=own),
        refused("a federation without a key", "federation", "malformed", key=bytes(32)),
        accepted("a signature", "signature", key=own, purpose="vote", body=b"body", signature=signature),
    ]
    for purpose in "enrol request checkin muster roster deal report vote answer result".split():
        out = {"key": own, "signature": bodies.sign(seed, purpose, b"body")}
        cases.append(
            accepted(f"a signature of purpose {purpose}", "sign", out, seed=seed, purpose=purpose, body=b"body")
        )
    eight = bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05")
    height = int.from_bytes(eight, "little")
    for name, y in (
        ("of order 1", 1),
        ("of order 1, with a sign", 1 | 1 << 255),
        ("of order 2", FIELD - 1),
        ("of order 4", 0),
        ("of order 8", height),
        ("of order 8, the other", FIELD - height),
        ("that is not canonical: 2^255 − 19", FIELD),
        ("that is not canonical: 2^255 − 16", FIELD + 3),
        ("off the curve", 2),
    ):
        raw = y.to_bytes(32, "little")
        cases.append(refused(f"a key {name}", "key", "malformed", key=raw))
    cases.append(refused("a key that is cut off", "key", "malformed", key=own[:-1]))
    order8 = {"key": eight, "purpose": "vote", "body": b"body", "signature": eight + bytes(32)}
    cases.append(refused("a signature under a key of order 8", "signature", "malformed", **order8))
    high = signature[:32] + (int.from_bytes(signature[32:], "little") + ORDER).to_bytes(32, "little")
    for name, changed in (
        ("of another body", {"body": b"bodY"}),
        ("of another purpose", {"purpose": "answer"}),
        ("of another key", {"key": bodies.identity(seeded("another"))}),
        ("with an s beyond the group's order", {"signature": high}),
        ("that is cut off", {"signature": signature[:-1]}),
    ):
        given = {"key": own, "purpose": "vote", "body": b"body", "signature": signature} | changed
        cases.append(refused(f"a signature {name}", "signature", "forged", **given))
    return cases


def trees() -> list[Case]:
    """Trees of every shape up to 10 leaves, and what does not lead to their roots."""
    cases = []
    for n in (1, 2, 3, 4, 5, 6, 7, 10):
        identities = sorted(seeded("identity", k) for k in range(n))
        packets = [seeded("packet", n, k, size=40) for k in range(n)]
        leaves = [sharing.leaf(k + 1, to, p) for k, (to, p) in enumerate(zip(identities, packets, strict=True))]
        proofs = [sharing.proof(leaves, k + 1) for k in range(n)]
        root = sharing.tree(leaves)[-1][0]
        out = {"leaves": leaves, "root": root, "proofs": proofs}
        cases.append(accepted(f"a tree of {n}", "tree", out, identities=identities, packets=packets))
        last = {"index": n, "count": n, "leaf": leaves[-1], "proof": proofs[-1]}
        cases.append(accepted(f"a proof of the last of {n}", "proof", {"root": root}, **last))
    deals = [seeded("deal", size=128), sha(b"deal 387") * 4]
    for name, deal in zip(("", ": the first draw of c = 4 mod p1 is rejected"), deals, strict=True):
        rho = [sharing.rho(deal, prime, c) for prime in (0, 1) for c in (1, 2, 3, 4)]
        cases.append(accepted(f"the points of check values{name}", "challenges", {"rho": rho}, deal=deal))
    return cases


FILES = {
    "parameters": ("Parameters, streams, quantization and the mean", [parameters, streams, quantizing, means]),
    "keys": ("Ed25519 keys and signatures, Merkle trees, check points", [keys, trees]),
}
