"""What sums of weights tell of one device: nothing where all count the same, everything where they count by records."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from simulated import Sim, Simulated

from agg_server.rounds.events import Mustered
from fedit_shared.secagg import Update

RECORDS = (40, 200, 330, 700)
WEIGHTS = [2, 7, 11, 16]
"""Their records by 32, at most 16."""


class Known(Simulated):
    """A federation whose devices have just so many records, the same in every round."""

    def make_muster(self, device: Sim, floor: int = 3, **changes: object) -> Mustered:
        made = super().make_muster(device, floor, **changes)
        assert device.update is not None
        records = RECORDS[self.devices.index(device)]
        device.update = Update(device.update.delta, records, device.update.loss)
        return made


def rounds_without_each(sim: Simulated) -> tuple[NDArray[np.float64], list[int]]:
    """One round without each of the devices: who was in its sum (a row of 0 and 1), and the sum of weights, as reports,
    the dashboard and every member's Result have them."""
    rows, sums = [], []
    for away in sim.devices:
        here = [device for device in sim.devices if device is not away]
        number = sim.round.number
        sim.muster(*here)
        sim.wait(sim.round.opened.rules.muster_window)
        for step in (sim.contribute, sim.report, sim.vote):
            step(*here)
        sim.answer(*here, settle=False)
        sim.settle()
        [cohort] = sim.finished(number).cohorts
        assert cohort.total_weight is not None
        rows.append([float(device.identity.hex() in cohort.survivors) for device in sim.devices])
        sums.append(cohort.total_weight)
    return np.array(rows), sums


def test_by_default_every_device_counts_the_same_and_no_sum_depends_on_how_many_records_it_has(tmp_path: Path) -> None:
    rows, sums = rounds_without_each(Known(tmp_path, count=4))
    assert sums == [3, 3, 3, 3]
    assert np.linalg.solve(rows, sums).tolist() == pytest.approx([1, 1, 1, 1])


def test_where_a_federation_weighs_by_records_rounds_that_differ_by_one_device_give_every_weight(
    tmp_path: Path,
) -> None:
    """What the pages and the client say that it gives away: if it were not so, they would have to be mended."""
    sim = Known(tmp_path, count=4, max_weight=16)
    assert msgspec.msgpack.decode(sim.round.opened.task)["max_weight"] == 16
    rows, sums = rounds_without_each(sim)
    assert np.linalg.solve(rows, sums).tolist() == pytest.approx(WEIGHTS)
