"""Kinds of case: parameters, streams, quantization, the mean. Byte strings of numbers are little-endian.

A ``quantizer`` stands for five inputs: ``sizes`` (values of each tensor), ``clip`` (range of each), ``slot_bits``,
``members`` (n, which gives L) and ``max_weight`` (W).
"""

import numpy as np

from fedit_shared.parameters import (
    DEGREE,
    MESSAGE_BITS,
    MODULUS,
    PRIMES,
    CohortParameters,
    levels,
    rows,
    upload_size,
)
from fedit_shared.quantize import Quantizer, read_mean, read_slots
from fedit_shared.secagg.kernels import root
from fedit_shared.secagg.masking import masked_rows
from fedit_shared.secagg.prg import Stream, key_from, public_key, public_rows, secret_key

from .values import Inputs, Result, digest, words


def cohort(given: Inputs) -> Result:
    """in: members. out: threshold (r), corrupt (T), packing (ℓ), blocks, answer_words, packet_words, floor."""
    sizes = CohortParameters(given.integer("members"))
    return {
        "threshold": sizes.threshold,
        "corrupt": sizes.corrupt,
        "packing": sizes.packing,
        "blocks": sizes.blocks,
        "answer_words": sizes.words,
        "packet_words": sizes.packet_words,
        "floor": sizes.floor,
    }


def layout(given: Inputs) -> Result:
    """in: members, slot_bits, max_weight, parameters (d). out: levels (L), rows, upload_bytes."""
    bits, dimension = given.integer("slot_bits"), given.integer("parameters")
    return {
        "levels": levels(given.integer("members"), bits, given.integer("max_weight")),
        "rows": rows(dimension, bits),
        "upload_bytes": upload_size(dimension, bits),
    }


def roots(given: Inputs) -> Result:
    """in: nothing. out: psi, of both primes."""
    return {"psi": [root(prime) for prime in PRIMES]}


def uniform(given: Inputs) -> Result:
    """in: key, prime (0 or 1), row, count, places. out: words (digest), at: the words at these places."""
    out = np.empty(given.size("count"), np.uint32)
    Stream(given.raw("key")).uniform(out, given.integer("prime"), given.integer("row"))
    return {"words": digest(out), "at": [int(out[place]) for place in given.integers("places")]}


def public(given: Inputs) -> Result:
    """in: sid, row. out: key, a: mod p0, mod p1 (digests of NTT order)."""
    out = np.empty((1, 2, DEGREE), np.uint32)
    public_rows(Stream(public_key(given.raw("sid"))), given.integer("row"), out)
    return {"key": public_key(given.raw("sid")), "a": [digest(half) for half in out[0]]}


def secrets(given: Inputs) -> Result:
    """in: sid, randomness. out: the AES keys by use, s: mod p0, mod p1 (digests of NTT order)."""
    randomness, sid = given.raw("randomness"), given.raw("sid")
    return {
        "keys": {use: secret_key(randomness, sid, use) for use in ("s", "e", "rounding", "share")},
        "s": [digest(half) for half in key_from(randomness, sid)],
    }


def quantize(given: Inputs) -> Result:
    """in: quantizer, delta (float32), examples, loss, sid, randomness (for the rounding and e). out: weight, clipped,
    slots (digest, 4 bytes, padding included), messages (M, digest by rows, 8 bytes), errors (e, digest by rows)."""
    quantizer = _quantizer(given)
    delta = np.frombuffer(given.raw("delta"), "<f4")
    quantized = quantizer.prepare(delta, given.integer("examples"), given.number("loss"))
    count = rows(quantizer.dimension, quantizer.slot_bits)
    messages, errors = [], []
    # Under the key 0 a mask is nothing but t·e + M.
    unmasked = masked_rows(
        quantized, np.zeros((2, DEGREE), np.uint32), count, given.raw("randomness"), given.raw("sid")
    )
    for row in np.concatenate([batch.copy() for batch in unmasked]):
        value = _lift(row)
        errors.append((value >> MESSAGE_BITS).astype(np.int32))
        messages.append((value & ((1 << MESSAGE_BITS) - 1)).astype(np.uint64))
    slots = np.empty(count * quantizer.row_slots, np.uint32)
    read_slots(quantizer, 0, np.stack(messages), slots)
    return {
        "weight": quantizer.weight(given.integer("examples")),
        "clipped": quantized.clipped,
        "slots": digest(slots),
        "messages": [digest(message) for message in messages],
        "errors": [digest(error) for error in errors],
    }


def mean(given: Inputs) -> Result:
    """in: quantizer, survivors (how many), sums (all d + 3, as words). out: mean (digest, float32), total_weight, loss,
    clipped."""
    found = read_mean(_quantizer(given), words(given.raw("sums")), given.integer("survivors"))
    return {
        "mean": digest(found.delta),
        "total_weight": found.total_weight,
        "loss": found.loss,
        "clipped": found.clipped,
    }


def _quantizer(given: Inputs) -> Quantizer:
    bits, weight = given.integer("slot_bits"), given.integer("max_weight")
    step = levels(given.integer("members"), bits, weight)
    clip = tuple(float(c) for c in given.value("clip"))
    return Quantizer(tuple(given.sizes("sizes")), clip, bits, step, weight)


def _lift(row: np.ndarray) -> np.ndarray:
    """Residues uint32 (2, N) to the integers in (−q/2, q/2) that have them: int64 (N,)."""
    low = [int(value) for value in row[0]]
    inverse = pow(PRIMES[0], -1, PRIMES[1])
    whole = [a + PRIMES[0] * ((int(b) - a) * inverse % PRIMES[1]) for a, b in zip(low, row[1], strict=True)]
    return np.array([value - MODULUS if value > MODULUS // 2 else value for value in whole], np.int64)


KINDS = {
    "cohort": cohort,
    "layout": layout,
    "roots": roots,
    "uniform": uniform,
    "public": public,
    "secrets": secrets,
    "quantize": quantize,
    "mean": mean,
}
