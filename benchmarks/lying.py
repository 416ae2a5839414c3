"""What lies cost: how good the search for survivors is in random trials, and how long lies in turn keep a server busy.

    python -m benchmarks.lying [--trials N] [--out FILE]

A trial: each of up to a third of the members claims, of each dealer with one probability, that its packet does not
open; each of up to a third of the dealers seals, with another, packets that do not. Both are drawn anew. The search is
held against trying every set of r members (n ≤ 16) or against ten times the steps, and against taking away who has
most edges, one after the other. The figures stand in docs/threat-model.md.
"""

import argparse
import json
import platform
import random
import time
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from unittest.mock import patch

import numpy as np

from fedit_shared.parameters import CHECKS, PRIMES, CohortParameters
from fedit_shared.secagg import selection
from fedit_shared.secagg.bodies import Finding
from fedit_shared.secagg.selection import Edges, edges_of, select

SMALL, MIDDLE, LARGE = (3, 4, 5, 6, 7, 10, 13, 16), (20, 24), (32, 64, 128)


def names(size: int) -> list[bytes]:
    """Identities that rise."""
    return [k.to_bytes(32, "big") for k in range(size)]


def tangled(size: int, rng: random.Random) -> Edges:
    """The edges of one trial."""
    everybody = names(size)
    liars, cheats = (rng.sample(everybody, rng.randint(0, size // 3)) for _ in range(2))
    claimed, sealed = rng.random(), rng.random()
    edges = {(liar, d) for liar in liars for d in everybody if d != liar and rng.random() < claimed}
    return edges | {(m, cheat) for cheat in cheats for m in everybody if m != cheat and rng.random() < sealed}


def searched(size: int, edges: Edges, steps: int = selection.SEARCH) -> int:
    """How many survivors the search finds; 0 if it gives the cohort up."""
    numbers = CohortParameters(size)
    with patch.object(selection, "SEARCH", steps):
        found = select(names(size), names(size), edges, threshold=numbers.threshold, floor=numbers.floor)
    return len(found or ())


def by_trying_all(size: int, edges: Edges) -> int:
    """The most survivors that there can be; 0 if the cohort has to be given up."""
    numbers, masks = CohortParameters(size), union_masks(size, edges)
    fewest = size
    for chosen in combinations(masks, numbers.threshold):
        union = 0
        for mask in chosen:
            union |= mask
        fewest = min(fewest, union.bit_count())
    return size - fewest if size - fewest >= numbers.floor else 0


def greedily(size: int, edges: Edges) -> int:
    """Takes away whoever, as a member or as a dealer, has most edges left, until r members have none."""
    numbers, left = CohortParameters(size), set(edges)
    members, dealers = set(names(size)), set(names(size))
    while len(members - {member for member, _ in left}) < numbers.threshold:
        counts: dict[tuple[int, bytes], int] = {}
        for edge in left:
            for side in (0, 1):
                counts[side, edge[side]] = counts.get((side, edge[side]), 0) + 1
        if not counts:
            return 0
        side, worst = max(counts, key=lambda who: (counts[who], who))
        (dealers if side else members).discard(worst)
        left = {edge for edge in left if edge[side] != worst}
        if len(members) < numbers.threshold or len(dealers) < numbers.floor:
            return 0
    return len(dealers)


def union_masks(size: int, edges: Edges) -> list[int]:
    """For each member the dealers that it has edges to, a bit each."""
    masks = dict.fromkeys(names(size), 0)
    for member, dealer in edges:
        masks[member] |= 1 << int.from_bytes(dealer, "big")
    return list(masks.values())


def trials(count: int) -> Iterator[dict[str, float]]:
    """For each size: trials in which the search, and the greedy way, did worse than the best that is known."""
    for size in (*SMALL, *MIDDLE, *LARGE):
        rng, worse, short, lost, gave_up = random.Random(size), 0, 0, 0, 0
        runs = count // 10 if size in LARGE else count
        for _ in range(runs):
            edges = tangled(size, rng)
            found, greedy = searched(size, edges), greedily(size, edges)
            best = by_trying_all(size, edges) if size in SMALL else searched(size, edges, 10 * selection.SEARCH)
            best = max(best, greedy)
            worse, short = worse + (found < best), max(short, best - found)
            lost, gave_up = lost + (0 < greedy < best), gave_up + (greedy == 0 < best)
        yield {
            "members": size,
            "trials": runs,
            "search_worse": worse,
            "search_short_by": short,
            "greedy_lost_updates": lost,
            "greedy_gave_up": gave_up,
        }


def lies_in_turn(size: int, rng: random.Random) -> float:
    """CPU seconds to decode the reports of a cohort of which a third contradict the dealers in turn, as many at a time
    as can be decoded, so that nothing is lost and no two dealers look the same."""
    numbers, everybody = CohortParameters(size), names(size)
    bound = (size - 1 - numbers.threshold) // 2
    reports: dict[bytes, list[Finding]] = {name: [] for name in everybody}
    for dealer in everybody:
        liars = set(rng.sample(everybody[-numbers.corrupt :], bound))
        for name in everybody:
            if name != dealer:
                values = tuple(rng.randrange(min(PRIMES)) if name in liars else 0 for _ in range(2 * CHECKS))
                reports[name].append(Finding(dealer, bytes(32), values))
    begun = time.process_time()
    edges_of(numbers, {name: k for k, name in enumerate(everybody, 1)}, everybody, reports)
    return time.process_time() - begun


def longest_search(size: int, rng: random.Random, count: int) -> float:
    """The longest of so many searches, in CPU seconds."""
    taken = []
    for _ in range(count):
        edges = tangled(size, rng)
        begun = time.process_time()
        searched(size, edges)
        taken.append(time.process_time() - begun)
    return max(taken)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the figures, or keep them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trials", type=int, default=1000)
    parser.add_argument("--out", type=Path)
    wanted = parser.parse_args(arguments)
    lies_in_turn(7, random.Random(0))  # compiles
    result = {
        "versions": f"Python {platform.python_version()}, numpy {np.__version__}",
        "trials": list(trials(wanted.trials)),
        "cpu seconds": [
            {
                "members": size,
                "decoding lies in turn": round(lies_in_turn(size, random.Random(size)), 3),
                "longest search": round(longest_search(size, random.Random(size), 20), 3),
            }
            for size in (64, 128, 255)
        ],
    }
    text = json.dumps(result, indent=1) + "\n"
    print(text)
    if wanted.out:
        wanted.out.write_text(text)


if __name__ == "__main__":
    main()
