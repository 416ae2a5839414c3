"""Compiled loops. Of the rest of the package a kernel uses constants of ``parameters`` alone: see ``compiled``.

Ring elements are held as residues, uint32 (2, N): row 0 mod p₀, row 1 mod p₁, all below the prime. In NTT order,
position i holds the value at ψ^(2i+1); in coefficient order, position i holds the coefficient of X^i.

The inverse transform is Gentleman–Sande with Shoup's multiplication (Harvey 2014, "Faster arithmetic for
number-theoretic transforms"), laid out as 64 × 64: the first six stages work along one axis, a transposition, then six
along the other, so that every inner loop runs over 64 neighbours and the compiler can vectorize it.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fedit_shared.compiled import kernel
from fedit_shared.parameters import DEGREE, ERROR_HALF, MESSAGE_BITS, PRIMES

U32 = NDArray[np.uint32]

_SIDE = 64
_LOG_SIDE = 6
_P0, _P1 = PRIMES
_Q = _P0 * _P1
_HALF_Q = _Q // 2
_P0_INVERSE = pow(_P0, -1, _P1)
_P0_INVERSE_SHOUP = (_P0_INVERSE << 32) // _P1
_LOW31 = (1 << 31) - 1
_FOLD0, _FOLD1 = ((1 << 31) - p for p in PRIMES)
_LIFT0, _LIFT1 = (-(ERROR_HALF << MESSAGE_BITS) % p for p in PRIMES)
_MESSAGE_MASK = (1 << MESSAGE_BITS) - 1


class Tables(NamedTuple):
    """What the inverse transform mod one prime needs; each twiddle factor with its Shoup companion ⌊w·2³²/p⌋."""

    prime: np.uint32
    reversed: NDArray[np.int64]
    first: U32
    first_shoup: U32
    second: U32
    second_shoup: U32


def root(prime: int) -> int:
    """ψ: g^((p−1)/2N) for the smallest g ≥ 2 with g^((p−1)/2) = −1; so ψ^N = −1."""
    g = next(g for g in range(2, prime) if pow(g, (prime - 1) // 2, prime) == prime - 1)
    return pow(g, (prime - 1) // (2 * DEGREE), prime)


@cache
def tables(prime: int) -> Tables:
    """Twiddles of the inverse transform. ``first``: (6, 32, 64): stage, group, lane; ``second``: (64,): by stage."""
    inverse_root = pow(root(prime), -1, prime)
    power = [0] * DEGREE
    for k in range(DEGREE):
        power[k] = pow(inverse_root, _reverse(k, 2 * _LOG_SIDE), prime)
    first = np.zeros((_LOG_SIDE, _SIDE // 2, _SIDE), np.uint32)
    second = np.zeros(_SIDE, np.uint32)
    for stage in range(_LOG_SIDE):
        groups = _SIDE // (2 << stage)
        for group in range(groups):
            for lane in range(_SIDE):
                row = _reverse(lane, _LOG_SIDE)
                first[stage, group, lane] = power[(DEGREE >> (stage + 1)) + row * groups + group]
            second[groups + group] = power[groups + group]
    return Tables(
        np.uint32(prime),
        np.array([_reverse(i, _LOG_SIDE) for i in range(_SIDE)]),
        first,
        shoup(first, prime),
        second,
        shoup(second, prime),
    )


def shoup(values: U32, prime: int) -> U32:
    """⌊w·2³²/p⌋ for each w < p."""
    companion: U32 = ((values.astype(np.uint64) << np.uint64(32)) // np.uint64(prime)).astype(np.uint32)
    return companion


def _reverse(value: int, bits: int) -> int:
    return int(f"{value:0{bits}b}"[::-1], 2)


@kernel
def _add(left, right, prime):
    """left + right mod p, without a branch: both below the prime, so the sum fits 32 bits."""
    total = np.uint32(left + right)
    return min(total, np.uint32(total - prime))


@kernel
def _times(value, factor, companion, prime):
    """value·factor mod p for any uint32 value, by Shoup: ``companion`` = ⌊factor·2³²/p⌋."""
    quotient = np.uint32((np.uint64(value) * np.uint64(companion)) >> np.uint64(32))
    product = np.uint32(np.uint32(value * factor) - np.uint32(quotient * prime))
    return min(product, np.uint32(product - prime))


@kernel
def _inverse(work, out, reversed_, prime, first, first_shoup, second, second_shoup):
    """NTT order (work, destroyed) → coefficients (out), both uint32 (64, 64), times N: N⁻¹ is folded into the key."""
    for stage in range(6):
        half = 1 << stage
        for group in range(32 >> stage):
            for inner in range(half):
                low = reversed_[2 * half * group + inner]
                high = reversed_[2 * half * group + inner + half]
                for lane in range(64):
                    u, v = work[low, lane], work[high, lane]
                    work[low, lane] = _add(u, v, prime)
                    gap = np.uint32(np.uint32(u - v) + prime)
                    work[high, lane] = _times(gap, first[stage, group, lane], first_shoup[stage, group, lane], prime)
    for x in range(64):
        for y in range(64):
            out[reversed_[y], reversed_[x]] = work[x, y]
    for stage in range(6):
        half = 1 << stage
        for group in range(32 >> stage):
            factor, companion = second[(32 >> stage) + group], second_shoup[(32 >> stage) + group]
            for inner in range(half):
                low = 2 * half * group + inner
                high = low + half
                for lane in range(64):
                    u, v = out[low, lane], out[high, lane]
                    out[low, lane] = _add(u, v, prime)
                    out[high, lane] = _times(np.uint32(np.uint32(u - v) + prime), factor, companion, prime)


@kernel
def _public_times_key(public, key, key_shoup, tables, product, work):
    """product (64, 64) ← a·s in coefficient order. ``key`` carries N⁻¹ already. ``public`` < p, NTT order."""
    prime, reversed_, first, first_shoup, second, second_shoup = tables
    for x in range(64):
        for y in range(64):
            work[x, y] = _times(public[x, y], key[x, y], key_shoup[x, y], prime)
    _inverse(work, product, reversed_, prime, first, first_shoup, second, second_shoup)


@kernel
def _fold(value, prime, fold):
    """value mod p for value < 2⁵⁵, p = 2³¹ − fold, fold < 2¹⁷: twice high·2³¹ ≡ high·fold, then two subtractions."""
    value = (value & np.uint64(_LOW31)) + (value >> np.uint64(31)) * np.uint64(fold)
    small = np.uint32((value & np.uint64(_LOW31)) + (value >> np.uint64(31)) * np.uint64(fold))
    small = min(small, np.uint32(small - prime))
    return min(small, np.uint32(small - prime))


@kernel
def _excess(word):
    """popcount(low 32 bits) − popcount(high 32 bits) + 32 of a uint64, by parallel sums of bits (0…64)."""
    word = word ^ np.uint64(0xFFFFFFFF00000000)  # 32 − popcount(high) = popcount(¬high)
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (word * np.uint64(0x0101010101010101)) >> np.uint64(56)


@kernel
def keep_31_bits(words):
    """Take uint32 (count,) mod 2³¹, in place; returns the largest."""
    largest = np.uint32(0)
    for i in range(words.size):
        word = words[i] & np.uint32(_LOW31)
        words[i] = word
        largest = max(largest, word)
    return largest


@kernel
def mask_rows(messages, errors, publics, keys, keys_shoup, tables0, tables1, out):
    """y = a·s + t·e + M, row by row.

    messages, errors: uint64 (rows, N): M < t, and words whose bits make the errors; publics: uint32 (rows, 2, 64, 64),
    NTT order; keys, keys_shoup: uint32 (2, 64, 64), N⁻¹·s; out: uint32 (rows, 2, 64, 64).
    """
    work = np.empty((64, 64), np.uint32)
    for row in range(messages.shape[0]):
        _public_times_key(publics[row, 0], keys[0], keys_shoup[0], tables0, out[row, 0], work)
        _public_times_key(publics[row, 1], keys[1], keys_shoup[1], tables1, out[row, 1], work)
        y0, y1 = out[row, 0].reshape(DEGREE), out[row, 1].reshape(DEGREE)
        prime0, prime1 = tables0[0], tables1[0]
        for i in range(DEGREE):
            # t·(e + 32) + M is below 2^55 and positive; the 32·t too much are taken off mod p.
            lifted = messages[row, i] + (_excess(errors[row, i]) << np.uint64(MESSAGE_BITS))
            y0[i] = _add(_add(y0[i], _fold(lifted, prime0, _FOLD0), prime0), np.uint32(_LIFT0), prime0)
            y1[i] = _add(_add(y1[i], _fold(lifted, prime1, _FOLD1), prime1), np.uint32(_LIFT1), prime1)


@kernel
def open_rows(totals, publics, keys, keys_shoup, tables0, tables1, messages):
    """ΣM = (Σy − a·S) mod t, row by row; returns the largest |Σe| met.

    totals: uint32 (rows, 2, 64, 64), residues of Σy; publics, keys as in :func:`mask_rows` with S for s; messages:
    uint64 (rows, N), out.
    """
    work = np.empty((64, 64), np.uint32)
    product0 = np.empty((64, 64), np.uint32)
    product1 = np.empty((64, 64), np.uint32)
    largest = np.int64(0)
    for row in range(totals.shape[0]):
        _public_times_key(publics[row, 0], keys[0], keys_shoup[0], tables0, product0, work)
        _public_times_key(publics[row, 1], keys[1], keys_shoup[1], tables1, product1, work)
        prime0, prime1 = tables0[0], tables1[0]
        y0, y1 = totals[row, 0].reshape(DEGREE), totals[row, 1].reshape(DEGREE)
        m0, m1 = product0.reshape(DEGREE), product1.reshape(DEGREE)
        for i in range(DEGREE):
            z0 = _add(y0[i], np.uint32(prime0 - m0[i]), prime0)
            z1 = _add(y1[i], np.uint32(prime1 - m1[i]), prime1)
            # Chinese remainder: z = z0 + p0·((z1 − z0)·p0⁻¹ mod p1); z0 may exceed p1 by less than p1.
            gap = np.uint32(np.uint32(z1 - min(z0, np.uint32(z0 - prime1))) + prime1)
            k = _times(gap, np.uint32(_P0_INVERSE), np.uint32(_P0_INVERSE_SHOUP), prime1)
            z = np.int64(np.uint64(z0) + np.uint64(k) * np.uint64(_P0))
            z = z - np.int64(_Q) if z > np.int64(_HALF_Q) else z
            messages[row, i] = np.uint64(z & np.int64(_MESSAGE_MASK))
            largest = max(largest, abs(z >> np.int64(MESSAGE_BITS)))
    return largest


@kernel
def add_rows(totals, vector):
    """totals += vector mod p, both uint32 (rows, 2, N), residues below their primes."""
    for row in range(totals.shape[0]):
        for half in range(2):
            prime = np.uint32(_P0) if half == 0 else np.uint32(_P1)
            total, part = totals[row, half], vector[row, half]
            for i in range(DEGREE):
                total[i] = _add(total[i], part[i], prime)


@kernel
def below_primes(vector):
    """Whether all residues of uint32 (rows, 2, N) are below their primes."""
    for row in range(vector.shape[0]):
        for half in range(2):
            largest = np.uint32(0)
            part = vector[row, half]
            for i in range(DEGREE):
                largest = max(largest, part[i])
            if largest >= (_P0 if half == 0 else _P1):
                return False
    return True


@kernel
def matrix_product(left, right, prime):
    """left·right mod p: uint32 (a, b) and (b, c) → uint32 (a, c). Exact for b < 2³²: halves are summed apart."""
    rows, inner, columns = left.shape[0], left.shape[1], right.shape[1]
    out = np.empty((rows, columns), np.uint32)
    low = np.empty(columns, np.uint64)
    high = np.empty(columns, np.uint64)
    for i in range(rows):
        low[:] = np.uint64(0)
        high[:] = np.uint64(0)
        for k in range(inner):
            factor = np.uint64(left[i, k])
            for j in range(columns):
                product = factor * np.uint64(right[k, j])
                low[j] += product & np.uint64(0xFFFFFFFF)
                high[j] += product >> np.uint64(32)
        for j in range(columns):
            upper = ((high[j] % prime) << np.uint64(32)) % prime
            out[i, j] = np.uint32((upper + low[j] % prime) % prime)
    return out


@kernel
def add_words(totals, part, p0, p1):
    """totals += part mod p, uint32 (words,): the first half mod p₀, the second mod p₁."""
    half = totals.size // 2
    for i in range(totals.size):
        totals[i] = _add(totals[i], part[i], np.uint32(p0 if i < half else p1))


@kernel
def combine(words, rho, start, prime):
    """start + Σ_{B≥1} ρ^B·words[B−1] mod p, by Horner's rule."""
    total = np.uint64(0)
    for i in range(words.size - 1, -1, -1):
        total = (total + np.uint64(words[i])) % prime * rho % prime
    return (total + start) % prime
