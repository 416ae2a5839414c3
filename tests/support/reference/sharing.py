"""Sharing, packets' plaintexts, the Merkle tree and check values: written from docs/protocol.md alone."""

from reference.ring import Element, N, P, prg, secret, sha, uniform, words4

CHECKS = 4


def sizes(n: int) -> tuple[int, int, int, int]:
    """r, T, ℓ and blocks of a cohort of n."""
    if not 3 <= n <= 255:
        raise ValueError("cohort")
    r, t = 2 * n // 3 + 1, n // 3
    return r, t, r - t, -(-N // (r - t))


def lagrange(places: list[int], x: int, p: int) -> list[int]:
    """The factors with which the values at places give the value at x."""
    factors = []
    for a in places:
        factor = 1
        for b in places:
            if b != a:
                factor = factor * (x - b) * pow(a - b, -1, p) % p
        factors.append(factor)
    return factors


def _at(rows: list[list[int]], factors: list[int], p: int) -> list[int]:
    return [sum(f * v for f, v in zip(factors, row, strict=True)) % p for row in rows]


def plaintexts(seed: bytes, sid: bytes, n: int) -> list[bytes]:
    """What the packets of members 1 … n hold."""
    r, t, width, blocks = sizes(n)
    key, s = prg(seed, sid, "share"), secret(seed, sid)
    places = [-i for i in range(1, r + 1)]
    shares: list[list[list[int]]] = [[], []]
    for i in (0, 1):
        padded = s[i] + [0] * (blocks * width - N)
        known = [padded[b * width : (b + 1) * width] + uniform(key, i, b, t) for b in range(blocks)]
        known += [uniform(key, i, blocks + c, r) for c in range(CHECKS)]
        shares[i] = [_at(known, lagrange(places, k, P[i]), P[i]) for k in range(1, n + 1)]
    return [
        words4(a[:blocks] + b[:blocks] + a[blocks:] + b[blocks:]) for a, b in zip(shares[0], shares[1], strict=True)
    ]


# Merkle tree


def leaf(k: int, to: bytes, packet: bytes) -> bytes:
    return sha(b"\x00" + k.to_bytes(4, "little") + to + sha(packet))


def tree(leaves: list[bytes]) -> list[list[bytes]]:
    """All levels, the leaves first, the root last."""
    levels = [leaves]
    while len(levels[-1]) > 1:
        pairs = [levels[-1][i : i + 2] for i in range(0, len(levels[-1]), 2)]
        levels.append([sha(b"\x01" + b"".join(pair)) if len(pair) == 2 else pair[0] for pair in pairs])
    return levels


def proof(leaves: list[bytes], k: int) -> bytes:
    place, siblings = k - 1, b""
    for level in tree(leaves)[:-1]:
        siblings += b"".join(level[place ^ 1 : (place ^ 1) + 1])
        place //= 2
    return siblings


# Check values


def rho(deal: bytes, prime: int, c: int) -> int:
    counter = 0
    while True:
        data = b"fedit/1/check\0" + deal + bytes([prime, c]) + counter.to_bytes(4, "little")
        value = int.from_bytes(sha(data)[:4], "little") % 2**31
        if 1 <= value < P[prime]:
            return value
        counter += 1


def check_values(plaintext: list[int], deal: bytes) -> list[int]:
    """A member's eight values of one dealer, from its packet's words: c = 1 … 4 mod p0, then mod p1."""
    blocks = len(plaintext) // 2 - CHECKS
    values = []
    for i in (0, 1):
        shares, own = plaintext[i * blocks :][:blocks], plaintext[2 * blocks + i * CHECKS :][:CHECKS]
        for c in range(1, CHECKS + 1):
            point = rho(deal, i, c)
            total, power = own[c - 1], 1
            for share in shares:
                power = power * point % P[i]
                total += power * share
            values.append(total % P[i])
    return values


# Opening


def answer_words(packets: list[list[int]], n: int) -> list[int]:
    """The sum over the dealers of U of one member's shares; packets holds the words of each plaintext."""
    blocks = sizes(n)[3]
    return [sum(packet[x] for packet in packets) % P[x >= blocks] for x in range(2 * blocks)]


def interpolate(answers: dict[int, list[int]], n: int) -> Element:
    """S in NTT order from exactly r answers by place k; ValueError where the padding does not come out 0."""
    r, _, width, blocks = sizes(n)
    places = sorted(answers)
    if len(places) != r:
        raise ValueError("answers")
    opened: list[list[int]] = [[], []]
    for i in (0, 1):
        factors = [lagrange(places, -x, P[i]) for x in range(1, width + 1)]
        columns = [[answers[k][i * blocks + b] for k in places] for b in range(blocks)]
        values = [_at([column], f, P[i])[0] for column in columns for f in factors]
        if any(values[N:]):
            raise ValueError("padding")
        opened[i] = values[:N]
    return opened[0], opened[1]
