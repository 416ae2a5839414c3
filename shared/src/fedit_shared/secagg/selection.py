"""Which survivors can be summed, seen from the reports: a graph with an edge (member, dealer) for every packet that the
member could not use. Wanted: a set U of dealers and r members without an edge into U."""

from collections.abc import Mapping, Sequence

import numpy as np

from fedit_shared.parameters import CHECKS, CohortParameters

from .bodies import Finding
from .decoding import off_places

Edges = set[tuple[bytes, bytes]]

SEARCH = 4096
"""Steps that the search for survivors may take: milliseconds in a cohort of 16, 0.2 s in one of 255."""


def edges_of(
    parameters: CohortParameters,
    indices: Mapping[bytes, int],
    dealers: Sequence[bytes],
    reports: Mapping[bytes, Sequence[Finding]],
) -> tuple[Edges, set[bytes]]:
    """(member, dealer) pairs, and dealers whose deal is no sharing at all.

    Packets that did not open are edges; so are members whose check values are off the polynomial of the others. A
    dealer with more than r reports that cannot be decoded is dropped; with r or fewer only openings count.
    """
    edges: Edges = set()
    broken: set[bytes] = set()
    by_dealer: dict[bytes, dict[bytes, tuple[int, ...]]] = {dealer: {} for dealer in dealers}
    for member, findings in reports.items():
        for finding in findings:
            if finding.checks is None:
                edges.add((member, finding.dealer))
            else:
                by_dealer[finding.dealer][member] = finding.checks
    for dealer, values in by_dealer.items():
        members = sorted(values)
        off = _off_polynomial(parameters, [indices[m] for m in members], [values[m] for m in members])
        if off is None:
            broken.add(dealer)
        else:
            edges |= {(members[place], dealer) for place in off}
    return edges, broken


def select(
    members: Sequence[bytes], dealers: Sequence[bytes], edges: Edges, *, threshold: int, floor: int
) -> list[bytes] | None:
    """U, rising, with at least ``floor`` dealers and ``threshold`` members that have no edge into it; else None.

    As many dealers as can be, found by branch and bound: wanted are ``threshold`` members whose edges lead to the
    fewest dealers (minimum k-union, NP-hard). After ``SEARCH`` steps the best found so far has to do.
    """
    bits = {dealer: 1 << place for place, dealer in enumerate(dealers)}
    masks = dict.fromkeys(members, 0)
    for member, dealer in edges:
        if member in masks:
            masks[member] |= bits.get(dealer, 0)
    dropped = _least_union([masks[member] for member in sorted(masks)], threshold)
    if dropped is None or len(bits) - dropped.bit_count() < floor:
        return None
    return sorted(dealer for dealer, bit in bits.items() if not dropped & bit)


def _least_union(masks: Sequence[int], count: int) -> int | None:
    """The union of those ``count`` of ``masks`` that have the smallest one; None if there are too few."""
    best: int | None = None
    open_nodes = [(0, list(masks), count)]
    for _ in range(SEARCH):
        if not open_nodes:
            break
        union, pool, wanted = open_nodes.pop()
        added = sorted(((mask & ~union).bit_count(), mask) for mask in pool)
        free = sum(1 for cost, _ in added if not cost)  # what adds nothing is always taken
        wanted, added = wanted - free, added[free:]
        if wanted > len(added):
            continue
        least = union.bit_count() + (added[wanted - 1][0] if wanted > 0 else 0)
        if best is not None and least >= best.bit_count():
            continue
        if wanted <= 0:
            best = union
            continue
        first, *others = (mask for _, mask in added)
        open_nodes += [(union, others, wanted), (union | first, others, wanted - 1)]
    return best


def _off_polynomial(
    parameters: CohortParameters, points: Sequence[int], values: Sequence[tuple[int, ...]]
) -> set[int] | None:
    """Places whose check values are off; empty where nothing can be told; None if there is no sharing to be found."""
    threshold = parameters.threshold
    if len(points) <= threshold:
        return set()
    off: set[int] = set()
    for prime in range(2):
        words = np.array(values, np.uint32)[:, prime * CHECKS : (prime + 1) * CHECKS]
        wrong = off_places(points, words, threshold, prime)
        if wrong is None:
            return None
        off |= wrong
    return off if 2 * len(off) <= len(points) - threshold else None
