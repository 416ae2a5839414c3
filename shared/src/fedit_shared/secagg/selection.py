"""Which survivors can be summed, seen from the reports: a graph with an edge (member, dealer) for every packet that the
member could not use. Wanted: a set U of dealers and r members without an edge into U."""

from collections import Counter
from collections.abc import Mapping, Sequence, Set

import numpy as np

from fedit_shared.parameters import CHECKS, CohortParameters

from .bodies import Finding
from .decoding import off_places

Edges = set[tuple[bytes, bytes]]


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
    liars: set[bytes] = set()
    for dealer, values in by_dealer.items():
        members = sorted(values)
        suspects = {place for place, member in enumerate(members) if member in liars}
        off = _off_polynomial(parameters, [indices[m] for m in members], [values[m] for m in members], suspects)
        if off is None:
            broken.add(dealer)
        else:
            edges |= {(members[place], dealer) for place in off}
            liars |= {members[place] for place in off}
    return edges, broken


def select(
    members: Sequence[bytes], dealers: Sequence[bytes], edges: Edges, *, threshold: int, floor: int
) -> list[bytes] | None:
    """U, rising, with at least ``floor`` dealers and ``threshold`` members that have no edge into it; else None.

    Greedy: as long as too few members are clean, the vertex with most edges goes; on a tie a member, since writing off
    a member costs no update.
    """
    chosen, willing = set(dealers), set(members)
    while True:
        live = {(member, dealer) for member, dealer in edges if member in willing and dealer in chosen}
        clean = willing - {member for member, _ in live}
        if len(chosen) < floor or len(willing) < threshold:
            return None
        if len(clean) >= threshold:
            return sorted(chosen)
        by_member = Counter(member for member, _ in live)
        by_dealer = Counter(dealer for _, dealer in live)
        worst_member = max(sorted(willing), key=by_member.__getitem__)
        worst_dealer = max(sorted(chosen), key=by_dealer.__getitem__)
        if len(willing) > threshold and by_member[worst_member] >= by_dealer[worst_dealer]:
            willing.remove(worst_member)
        else:
            chosen.remove(worst_dealer)


def _off_polynomial(
    parameters: CohortParameters, points: Sequence[int], values: Sequence[tuple[int, ...]], suspects: Set[int]
) -> set[int] | None:
    """Places whose check values are off; empty where nothing can be told; None if there is no sharing to be found."""
    threshold = parameters.threshold
    if len(points) <= threshold:
        return set()
    off: set[int] = set()
    for prime in range(2):
        words = np.ascontiguousarray(np.array(values, np.uint32)[:, prime * CHECKS : (prime + 1) * CHECKS])
        wrong = off_places(points, words, threshold, prime, suspects)
        if wrong is None:
            return None
        off |= wrong
    return off if 2 * len(off) <= len(points) - threshold else None
