"""A hash tree over a deal's packets, so that a member can hold its packet against the dealer's one receipt.

Leaf: SHA256(0x00 ‖ index4 ‖ to32 ‖ SHA256(packet)); node: SHA256(0x01 ‖ left ‖ right); the last node of an odd level
goes up as it is. ``index`` is the member's 1-based place in the roster.
"""

from collections.abc import Sequence
from hashlib import sha256

NODE = 32


def leaves(members: Sequence[bytes], packets: Sequence[bytes]) -> list[bytes]:
    """The leaves of a deal: one packet for each of ``members``, in order of the roster."""
    return [leaf(k, to, packet) for k, (to, packet) in enumerate(zip(members, packets, strict=True), start=1)]


def leaf(index: int, to: bytes, packet: bytes) -> bytes:
    """The leaf of one packet."""
    return sha256(b"\0" + index.to_bytes(4, "little") + to + sha256(packet).digest()).digest()


def root(nodes: Sequence[bytes]) -> bytes:
    """The root over leaves."""
    return _levels(nodes)[-1][0]


def proofs(nodes: Sequence[bytes]) -> list[bytes]:
    """For each leaf its siblings, bottom up, joined."""
    levels = _levels(nodes)[:-1]
    joined = []
    for start in range(len(nodes)):
        place, proof = start, b""
        for level in levels:
            sibling = place ^ 1
            proof += level[sibling] if sibling < len(level) else b""
            place //= 2
        joined.append(proof)
    return joined


def proof_size(index: int, count: int) -> int:
    """Bytes of the proof of the ``index``-th (1-based) of ``count`` leaves."""
    place, size = index - 1, 0
    while count > 1:
        size += NODE if place ^ 1 < count else 0
        place, count = place // 2, (count + 1) // 2
    return size


def root_from(index: int, count: int, node: bytes, proof: bytes) -> bytes:
    """The root that leaf ``node`` and its ``proof`` lead to; ``proof`` has :func:`proof_size` bytes."""
    place, at = index - 1, 0
    while count > 1:
        if place ^ 1 < count:
            sibling = proof[at : at + NODE]
            at += NODE
            node = _node(sibling, node) if place % 2 else _node(node, sibling)
        place, count = place // 2, (count + 1) // 2
    return node


def _levels(nodes: Sequence[bytes]) -> list[list[bytes]]:
    levels = [list(nodes)]
    while len(levels[-1]) > 1:
        level = levels[-1]
        pairs = [_node(level[i], level[i + 1]) for i in range(0, len(level) - 1, 2)]
        levels.append(pairs + level[len(pairs) * 2 :])
    return levels


def _node(left: bytes, right: bytes) -> bytes:
    return sha256(b"\1" + left + right).digest()
