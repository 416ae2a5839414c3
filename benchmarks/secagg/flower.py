"""Flower's SecAgg+ by its own functions. Runs in an environment of its own, since its pins differ from ours:

build/flower/bin/python -m benchmarks.secagg.flower SCENARIO        prints figures as JSON
build/flower/bin/python -m benchmarks.secagg.flower peak client D   prints bytes
build/flower/bin/python -m benchmarks.secagg.flower version         of flwr
"""

import logging
import os
import sys
from collections.abc import Iterator
from functools import partial
from importlib.metadata import version
from types import SimpleNamespace

import numpy as np
from flwr.common import bytes_to_ndarray, ndarray_to_bytes
from flwr.common.secure_aggregation.crypto.shamir import combine_shares, create_shares
from flwr.common.secure_aggregation.crypto.symmetric_encryption import generate_shared_key
from flwr.common.secure_aggregation.ndarrays_arithmetic import (
    factor_combine,
    get_parameters_shape,
    parameters_addition,
    parameters_mod,
    parameters_multiply,
    parameters_subtraction,
)
from flwr.common.secure_aggregation.quantization import dequantize, quantize
from flwr.common.secure_aggregation.secaggplus_utils import pseudo_rand_gen

from . import scenario as scenarios
from .flower_round import MODULUS, TARGET, Round, Vector, client_mod
from .measure import Figure, dump, once, peak, seconds
from .scenario import CLIP, SPREAD, WEIGHT, Scenario, safe_neighbours, survivors

SYSTEM = "flower"
UNSAFE = 10
"""The k that its users take; kept as the comparison that favours it."""


def figures(scenario: Scenario) -> Iterator[Figure]:
    """Everything that is measured of Flower."""
    costs = {n: _sharing(scenario, n) for n in (scenario.small, scenario.large)}
    for n, cost in costs.items():
        plan, figure = safe_neighbours(n), partial(Figure, system=SYSTEM, unit="s", n=n)
        yield figure("split two secrets", k=plan.count, value=cost.split)
        yield figure("open a seed", k=plan.count, value=cost.seed[scenario.dropouts[0]])
        yield figure("open a key", k=plan.count, value=cost.key[scenario.dropouts[0]])
    for d in scenario.dimensions:
        yield from _client(scenario, d)
        yield from _server(scenario, d, costs)
    yield from _whole_round(scenario)


def update(d: int) -> Vector:
    """One array, as a client's model."""
    delta = np.random.default_rng(d).standard_normal(d, np.float32)
    delta *= SPREAD
    return [delta]


def quantize_and_mask(mine: Vector, masks: int) -> Vector:
    """The steps of ``_collect_masked_vectors`` that work on the vector; ``masks``: its own and one per neighbour."""
    quantized = factor_combine(TARGET, quantize(parameters_multiply(mine, 1.0), CLIP, TARGET))
    for place in range(masks):
        mask = pseudo_rand_gen(os.urandom(32), MODULUS, get_parameters_shape(quantized))
        quantized = (parameters_addition if place % 2 else parameters_subtraction)(quantized, mask)
    masked: Vector = parameters_mod(quantized, MODULUS)
    return masked


def _client(scenario: Scenario, d: int) -> Iterator[Figure]:
    mine = update(d)
    figure = partial(Figure, system=SYSTEM, d=d)
    few, more = (seconds(partial(quantize_and_mask, mine, masks), scenario.budget) for masks in (1, 5))
    mask = (more - few) / 4
    for n, k in (
        (None, UNSAFE),
        (scenario.small, safe_neighbours(scenario.small).count),
        (scenario.large, safe_neighbours(scenario.large).count),
    ):
        if (k + 1) * d <= scenario.whole:
            value = seconds(partial(quantize_and_mask, mine, k + 1), scenario.budget)
            yield figure("client", value=value, unit="s", n=n, k=k)
        else:
            parts = f"{few:.3g} s with one mask + {k} × {mask:.3g} s"
            yield figure("client", value=few + k * mask, unit="s", n=n, k=k, whole=False, parts=parts)
    masked = quantize_and_mask(mine, 1)
    sent = [ndarray_to_bytes(array) for array in masked]
    yield figure("upload", value=sum(map(len, sent)) / d, unit="bytes a parameter")
    total = quantize_and_mask(mine, 1)

    def add() -> None:
        parameters_addition(total, [bytes_to_ndarray(array) for array in sent])

    yield figure("add", value=seconds(add, scenario.budget), unit="s")


class Sharing(SimpleNamespace):
    """Seconds, for one n: ``split`` (both secrets of a client), and by dropout ``seed`` and ``key`` (open one), with
    as many shares as arrive; ``exchange``: one key agreement."""

    split: float
    seed: dict[float, float]
    key: dict[float, float]
    exchange: float


def _sharing(scenario: Scenario, n: int) -> Sharing:
    plan, seed = safe_neighbours(n), os.urandom(32)
    key, public = client_mod.generate_key_pairs()
    key_bytes, public_bytes = client_mod.private_key_to_bytes(key), client_mod.public_key_to_bytes(public)
    shares: dict[str, list[bytes]] = {}

    def split() -> None:
        shares["seed"] = create_shares(seed, plan.threshold, plan.count + 1)
        shares["key"] = create_shares(key_bytes, plan.threshold, plan.count + 1)

    def exchange() -> None:
        generate_shared_key(client_mod.bytes_to_private_key(key_bytes), client_mod.bytes_to_public_key(public_bytes))

    cost = Sharing(split=seconds(split, 0), seed={}, key={}, exchange=seconds(exchange, 0.2))
    for dropout in scenario.dropouts:
        arrive = (plan.count + 1) * survivors(n, dropout) // n  # it combines all that arrive, not t
        cost.seed[dropout] = seconds(partial(combine_shares, shares["seed"][:arrive]), 0)
        cost.key[dropout] = seconds(partial(combine_shares, shares["key"][:arrive]), 0)
    return cost


def _server(scenario: Scenario, d: int, costs: dict[int, Sharing]) -> Iterator[Figure]:
    total = quantize_and_mask(update(d), 1)

    def remove_mask() -> None:
        mask = pseudo_rand_gen(os.urandom(32), MODULUS, get_parameters_shape(total))
        parameters_subtraction(total, mask)

    mask = seconds(remove_mask, scenario.budget)
    finish = seconds(lambda: dequantize(parameters_mod(total, MODULUS), CLIP, TARGET), scenario.budget)
    yield Figure("one mask", SYSTEM, mask, "s", d=d)
    for n, cost in costs.items():
        plan = safe_neighbours(n)
        for dropout in scenario.dropouts:
            left = survivors(n, dropout)
            masks = left + (n - left) * plan.count
            opening = left * cost.seed[dropout] + (n - left) * cost.key[dropout]
            value = masks * mask + opening + (n - left) * plan.count * cost.exchange + finish
            figure = partial(Figure, system=SYSTEM, unit="s", d=d, n=n, k=plan.count, dropout=dropout, whole=False)
            parts = (
                f"{masks} masks × {mask:.3g} s + {left} seeds × {cost.seed[dropout]:.3g} s"
                f" + {n - left} keys × {cost.key[dropout]:.3g} s"
            )
            yield figure("unmask", value=value, parts=parts)
            yield figure("unmask, masks alone", value=masks * mask, parts=f"{masks} masks × {mask:.3g} s")


def _whole_round(scenario: Scenario) -> Iterator[Figure]:
    """One unmasking measured whole, at the smallest d, to check units × counts; and that it gives the mean."""
    n, d, dropout = scenario.small, scenario.dimensions[0], scenario.dropouts[1]
    plan, mine, left = safe_neighbours(n), update(d), survivors(n, dropout)
    cohort = Round(n, plan)
    figure = partial(Figure, system=SYSTEM, d=d, n=n, k=plan.count)
    yield figure("packets", value=sum(len(packet) for _, packet in cohort.dealt[1]), unit="bytes")
    alive = set(range(1, left + 1))
    total: Vector | None = None
    for nid in alive:
        vector = cohort.upload(nid, mine, WEIGHT)
        total = vector if total is None else parameters_addition(total, vector)
    mean: Vector = []
    time = once(lambda: mean.extend(cohort.unmask(total or [], alive)))
    yield figure("unmask, one whole run", value=time, unit="s", dropout=dropout)
    worst = float(np.abs(mean[0] - np.clip(mine[0], -CLIP, CLIP)).max())
    if worst > 2 * CLIP / TARGET * 1.01:
        raise RuntimeError(f"Flower's mean is off by {worst}.")


def main(arguments: list[str]) -> None:
    """See the module's docstring."""
    logging.disable(logging.INFO)
    if arguments[0] == "peak":
        mine = update(int(arguments[2]))
        quantize_and_mask(update(1), 2)
        masked = quantize_and_mask(mine, 1) if arguments[1] == "server" else []

        def serve() -> None:
            shape = get_parameters_shape(masked)
            total = parameters_subtraction(masked, pseudo_rand_gen(os.urandom(32), MODULUS, shape))
            dequantize(parameters_mod(total, MODULUS), CLIP, TARGET)

        print(peak(serve if arguments[1] == "server" else lambda: quantize_and_mask(mine, UNSAFE + 1)))
    elif arguments[0] == "version":
        print(version("flwr"))
    else:
        print(dump(list(figures(getattr(scenarios, arguments[0])))))


if __name__ == "__main__":
    main(sys.argv[1:])
