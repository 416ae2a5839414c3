"""This project's secure aggregation, measured."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, TemporaryFile

import numpy as np
from numpy.typing import NDArray

from fedit_shared.parameters import DEGREE, PRIMES
from fedit_shared.quantize import Mean, read_mean
from fedit_shared.secagg import Aggregator, Contribution, Update, VectorSum, warm
from fedit_shared.secagg.masking import masked_rows
from fedit_shared.secagg.prg import key_from
from fedit_shared.secagg.sealing import seal
from fedit_shared.secagg.session import Session
from fedit_shared.secagg.sharing import lagrange

from .cohort import Device, synthetic, update
from .measure import Figure, peak, seconds
from .scenario import Scenario, survivors

SYSTEM = "ours"


def figures(scenario: Scenario) -> Iterator[Figure]:
    """Everything that is measured of ours."""
    warm()
    yield from _packets(scenario)
    for d in scenario.dimensions:
        yield from _client(scenario, d)
        yield from _server(scenario, d)


def quantize_and_mask(session: Session, device: Device, mine: Update) -> None:
    """What a client does to its vector, the result thrown away."""
    quantized = session.quantizer.prepare(mine.delta, mine.examples, mine.loss)
    key = key_from(device.randomness, session.sid)
    for _ in masked_rows(quantized, key, session.rows, device.randomness, session.sid):
        pass


def open_key(aggregator: Aggregator) -> NDArray[np.uint32]:
    """The key from the answers; nothing is kept from an earlier round."""
    lagrange.cache_clear()
    return next(aggregator.open_key()).key


def open_mean(aggregator: Aggregator, total: VectorSum, count: int) -> Mean:
    """The key from the answers, the sum of slots, the mean."""
    return read_mean(aggregator.session.quantizer, total.slots(open_key(aggregator), count), count)


def _packets(scenario: Scenario) -> Iterator[Figure]:
    """What does not depend on d: packets and the key."""
    figure, budget = partial(Figure, system=SYSTEM, unit="s", n=scenario.small), scenario.budget / 2
    cohort, mine = synthetic(scenario.small, 100), update(100)
    session, device = cohort.session, cohort.devices[0]
    contributions = [cohort.upload(each, mine)[1] for each in cohort.devices]
    size = len(contributions[0].packets) // scenario.small
    me, plain = device.key.public, bytes(4 * session.parameters.packet_words)
    seal_one = partial(seal, device.round_key.public, plain, session.sid, me, me)
    packet = seal_one()
    yield figure(
        "seal one packet", value=seconds(lambda: seal(device.round_key.public, plain, session.sid, me, me), budget)
    )
    yield figure("open one packet", value=seconds(partial(device.round_key.open, packet, session.sid, me, me), budget))
    yield figure("deal", value=seconds(lambda: cohort.contribute(device, mine, len), budget))
    yield figure("packets", value=size * scenario.small, unit="bytes")
    aggregator = cohort.answered(contributions)
    yield figure("open the key", value=seconds(lambda: open_key(aggregator), budget))


def _client(scenario: Scenario, d: int) -> Iterator[Figure]:
    figure = partial(Figure, system=SYSTEM, unit="s", d=d, n=scenario.small)
    cohort, mine = synthetic(scenario.small, d), update(d)
    device = cohort.devices[0]
    mask = partial(quantize_and_mask, cohort.session, device, mine)
    yield figure("client", value=seconds(mask, scenario.budget))
    yield figure("contribution", value=seconds(lambda: cohort.contribute(device, mine, len), scenario.budget))
    vector, _ = cohort.upload(device, mine)
    yield figure("upload", value=vector.nbytes / d, unit="bytes a parameter")
    total = VectorSum(cohort.session)
    yield figure("add", value=seconds(lambda: total.add(vector), scenario.budget))


def _server(scenario: Scenario, d: int) -> Iterator[Figure]:
    figure = partial(Figure, "unmask", SYSTEM, unit="s", d=d)
    for dropout, value in _unmask(scenario, scenario.small, d).items():
        yield figure(value=value, n=scenario.small, dropout=dropout)
    whole = d <= scenario.headline
    sizes = scenario.cohorts if whole else sorted(set(scenario.cohorts))
    times = [_unmask(scenario, size, d, combine=True) for size in sizes]
    for dropout in scenario.dropouts:
        parts = [
            (1 if whole else scenario.cohorts.count(n), time[dropout]) for n, time in zip(sizes, times, strict=True)
        ]
        yield figure(
            value=sum(count * time for count, time in parts),
            n=scenario.large,
            dropout=dropout,
            whole=whole,
            parts=f"{len(scenario.cohorts)} cohorts" if whole else _sum(parts),
        )


def _sum(parts: list[tuple[int, float]]) -> str:
    return " + ".join(f"{count} × {time:.3g} s" for count, time in parts)


def _unmask(scenario: Scenario, members: int, d: int, *, combine: bool = False) -> dict[float, float]:
    """Dropout → seconds to unmask a cohort, and (``combine``) to add its mean, weighted, to that of others."""
    cohort, mine = synthetic(members, d), update(d)
    total, contributions = VectorSum(cohort.session), list[Contribution]()
    over_cohorts = np.zeros(d if combine else 0, np.float32)
    times = {}
    for dropout in sorted(scenario.dropouts, reverse=True):
        left = survivors(members, dropout)
        for device in cohort.devices[len(contributions) : left]:
            vector, contribution = cohort.upload(device, mine)
            total.add(vector)
            contributions.append(contribution)
        aggregator = cohort.answered(contributions)

        def unmask(aggregator: Aggregator = aggregator, left: int = left) -> None:
            mean = open_mean(aggregator, total, left)
            if combine:
                np.multiply(mean.delta, mean.total_weight, out=mean.delta)
                np.add(over_cohorts, mean.delta, out=over_cohorts)

        times[dropout] = seconds(unmask, scenario.budget / 4 if combine else scenario.budget)
    return times


def peak_client(d: int) -> int:
    """Bytes that a contribution takes beside the update; the upload goes to a file."""
    warm()
    cohort, mine = synthetic(3, d), update(d)
    device = cohort.devices[0]
    _ = cohort.session
    with TemporaryFile() as file:
        return peak(lambda: cohort.contribute(device, mine, file.write))


def peak_server(d: int, members: int = 5) -> int:
    """Bytes that adding ``members`` uploads from files and unmasking their sum take."""
    warm()
    cohort, mine = synthetic(members, d), update(d)
    session, keys = cohort.session, np.zeros((2, DEGREE), np.uint64)
    with TemporaryDirectory() as folder:
        files = [Path(folder) / str(place) for place in range(members)]
        for path, device in zip(files, cohort.devices, strict=True):
            with path.open("wb") as file:
                cohort.contribute(device, mine, file.write)
            keys += key_from(device.randomness, session.sid)
        key = (keys % np.array(PRIMES, np.uint64)[:, None]).astype(np.uint32)
        return peak(lambda: _serve(session, files, key))


def _serve(session: Session, files: list[Path], key: NDArray[np.uint32]) -> Mean:
    total = VectorSum(session)
    for file in files:
        total.add(np.memmap(file, "<u4", "r", shape=(session.rows, 2, DEGREE)))
    slots = total.slots(key, len(files))
    del total
    return read_mean(session.quantizer, slots, len(files))
