"""Quantization, packing and the mean in plain integers and Python floats: written from docs/protocol.md alone."""

import math

from reference.ring import N


def levels(bits: int, n: int, heaviest: int) -> int:
    level = (2**bits - 1) // (2 * n * heaviest)
    if level < 1:
        raise ValueError("L < 1")
    return level


def weight(examples: int, heaviest: int) -> int:
    return max(1, min(heaviest, -(-examples // 32)))


def spread(tensors: list[tuple[int, float]]) -> list[float]:
    """The clip range of each value, from each tensor's size and range."""
    return [c for size, c in tensors for _ in range(size)]


def outside(values: list[float], tensors: list[tuple[int, float]]) -> float:
    return sum(abs(x) > c for x, c in zip(values, spread(tensors), strict=True)) / len(values)


def ranges(values: list[float], tensors: list[tuple[int, float]]) -> list[float]:
    """What each value is divided by: max(c, q) of its tensor."""
    found, start = [], 0
    for size, c in tensors:
        sizes = sorted((abs(x) for x in values[start : start + size]), reverse=True)
        found += [max(c, sizes[size // 100])] * size
        start += size
    return found


def slots(
    values: list[float], tensors: list[tuple[int, float]], loss: float, w: int, level: int, words: list[int]
) -> list[int]:
    """The d + 3 slots. values are float32 numbers; tensors: size and clip range of each."""
    if not all(map(math.isfinite, values)):
        raise ValueError("not finite")
    u = [word / 2**32 for word in words]
    top = w * level
    found = []
    for k, (x, c) in enumerate(zip(values, ranges(values, tensors), strict=True)):
        v = max(-float(top), min(float(top), x * (float(top) / c)))
        found.append(min(math.floor(v + u[k]), top) + top)
    d = len(values)
    clipped = outside(values, tensors)
    found.append(w)
    found.append(min(math.floor(2 * top * min(max(loss, 0.0), 16.0) / 16 + u[d + 1]), 2 * top))
    found.append(min(math.floor(2 * top * clipped + u[d + 2]), 2 * top))
    return found


def row_count(d: int, m: int) -> int:
    return -(-(d + 3) // (N * m))


def pack(found: list[int], bits: int, m: int) -> list[list[int]]:
    rows = [[0] * N for _ in range(row_count(len(found) - 3, m))]
    for k, slot in enumerate(found):
        inside = k % (N * m)
        rows[k // (N * m)][inside % N] += slot << (bits * (inside // N))
    return rows


def unpack(rows: list[list[int]], bits: int, m: int) -> list[int]:
    """All rows·4096·m sums, padding included."""
    return [(row[i] >> (bits * place)) % 2**bits for row in rows for place in range(m) for i in range(N)]


def mean(sums: list[int], clips: list[float], level: int, survivors: int, heaviest: int) -> list[float]:
    """ValueError where the server must not publish."""
    d = len(clips)
    total = sums[d]
    if not survivors <= total <= survivors * heaviest:
        raise ValueError("weight")
    if max(sums[:d] + sums[d + 1 : d + 3]) > 2 * level * total or any(sums[d + 3 :]):
        raise ValueError("bounds")
    return [(slot - level * total) * (c / (level * total)) for slot, c in zip(sums[:d], clips, strict=True)]
