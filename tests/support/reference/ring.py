"""The ring, its streams and the mask, in plain integers: written from docs/protocol.md alone, to check the code by.

Slow on purpose. It imports nothing of fedit_shared and no numpy; `cryptography` gives AES, SHA-256 comes from hashlib.
A ring element is a pair of lists, residues mod P[0] and mod P[1].
"""

import functools
import hashlib
import struct

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

N = 4096
P = (2147377153, 2147352577)
Q = P[0] * P[1]
T48 = 2**48
ETA = 32
Element = tuple[list[int], list[int]]


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def words4(values: list[int]) -> bytes:
    return b"".join(value.to_bytes(4, "little") for value in values)


def split4(data: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(data) // 4}I", data))


# Streams


def prg(seed: bytes, sid: bytes, use: str) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt=sid, info=b"fedit/1/prg/" + use.encode()).derive(seed)


def stream(key: bytes, prime: int, row: int, size: int) -> bytes:
    first = bytes([prime, 0, 0, 0]) + row.to_bytes(4, "little") + bytes(8)
    return Cipher(algorithms.AES(key), modes.CTR(first)).encryptor().update(bytes(size))


def uniform(key: bytes, prime: int, row: int, count: int) -> list[int]:
    spare = 32  # one word in some ten thousand is rejected; running out raises StopIteration
    words = [word % 2**31 for word in split4(stream(key, prime, row, 4 * (count + spare)))]
    values, following = words[:count], iter(words[count:])
    for place, value in enumerate(values):
        while value >= P[prime]:
            value = next(following)
        values[place] = value
    return values


def public_element(sid: bytes, row: int) -> Element:
    """a_row in NTT order."""
    key = sha(b"fedit/1/a\0" + sid)[:16]
    return uniform(key, 0, row, N), uniform(key, 1, row, N)


def secret(seed: bytes, sid: bytes) -> Element:
    """s in NTT order."""
    key = prg(seed, sid, "s")
    return uniform(key, 0, 0, N), uniform(key, 1, 0, N)


def errors(seed: bytes, sid: bytes, row: int) -> list[int]:
    """e_row, coefficient order."""
    data = stream(prg(seed, sid, "e"), 0, row, 8 * N)
    return [a.bit_count() - b.bit_count() for a, b in zip(*[iter(split4(data))] * 2, strict=True)]


def rounding_words(seed: bytes, sid: bytes, row: int, per_coefficient: int) -> list[int]:
    return split4(stream(prg(seed, sid, "rounding"), 0, row, 4 * N * per_coefficient))


# Number theoretic transform


@functools.cache
def psi(prime: int) -> int:
    p = P[prime]
    generator = next(g for g in range(2, p) if pow(g, (p - 1) // 2, p) == p - 1)
    return pow(generator, (p - 1) // (2 * N), p)


def _dft(values: list[int], root: int, p: int) -> list[int]:
    """Values of the polynomial at root^0, root^1, …"""
    if len(values) == 1:
        return values
    even, odd = _dft(values[::2], root * root % p, p), _dft(values[1::2], root * root % p, p)
    low, high, power = [], [], 1
    for a, b in zip(even, odd, strict=True):
        low.append((a + power * b) % p)
        high.append((a - power * b) % p)
        power = power * root % p
    return low + high


def _twist(values: list[int], factor: int, by: int, p: int) -> list[int]:
    twisted = []
    for value in values:
        twisted.append(value * factor % p)
        factor = factor * by % p
    return twisted


def to_ntt(values: list[int], prime: int) -> list[int]:
    """Coefficients to the values at psi^(2i+1)."""
    p, root = P[prime], psi(prime)
    return _dft(_twist(values, 1, root, p), root * root % p, p)


def from_ntt(values: list[int], prime: int) -> list[int]:
    p, back = P[prime], pow(psi(prime), -1, P[prime])
    return _twist(_dft(values, back * back % p, p), pow(N, -1, p), back, p)


def times(a: Element, b: Element) -> Element:
    """Both in NTT order; the product in coefficient order."""
    products = [from_ntt([x * y % P[i] for x, y in zip(a[i], b[i], strict=True)], i) for i in (0, 1)]
    return products[0], products[1]


# Masking and unmasking


def mask(seed: bytes, sid: bytes, rows: list[list[int]]) -> bytes:
    """The upload y for the packed rows M."""
    s, upload = secret(seed, sid), b""
    for j, row in enumerate(rows):
        products, e = times(public_element(sid, j), s), errors(seed, sid, j)
        for i in (0, 1):
            upload += words4([(c + T48 * x + m) % P[i] for c, x, m in zip(products[i], e, row, strict=True)])
    return upload


def upload_rows(upload: bytes) -> list[Element]:
    """Raises ValueError for a wrong length or a word that is not below its prime."""
    if not upload or len(upload) % (8 * N):
        raise ValueError("length")
    words = split4(upload)
    rows = [(words[i : i + N], words[i + N : i + 2 * N]) for i in range(0, len(words), 2 * N)]
    if any(word >= P[i] for row in rows for i in (0, 1) for word in row[i]):
        raise ValueError("word")
    return rows


def unmask(sid: bytes, uploads: list[bytes], opened: Element) -> list[list[int]]:
    """ΣM by rows, from the uploads of U and S; ValueError where |Σe| > 12·σ·√|U|."""
    total = []
    for j, rows in enumerate(zip(*map(upload_rows, uploads), strict=True)):
        products, sums = times(public_element(sid, j), opened), []
        left = [[(sum(row[i][x] for row in rows) - products[i][x]) % P[i] for x in range(N)] for i in (0, 1)]
        for a, b in zip(*left, strict=True):
            value = (a * P[1] * pow(P[1], -1, P[0]) + b * P[0] * pow(P[0], -1, P[1])) % Q
            value -= Q if value > Q // 2 else 0
            packed = value % T48
            if ((value - packed) // T48) ** 2 > 48 * 48 * len(uploads):
                raise ValueError("tail")
            sums.append(packed)
        total.append(sums)
    return total
