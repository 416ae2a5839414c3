"""How many devices, how large an update, who vanishes."""

from typing import NamedTuple


class Scenario(NamedTuple):
    """``devices`` take part in ``rounds`` rounds, in cohorts of up to ``cohort_max``; an update has ``dimension``
    values. One in ``vanish`` of a cohort vanishes, half of them before their receipt, half after it; 0: nobody does.
    ``contribute_window``: seconds for uploads; whoever has vanished is waited for until it is over. ``busy``: devices
    that mask and upload at the same time: what they hold in memory is the benchmark's own."""

    devices: int
    rounds: int
    dimension: int
    cohort_max: int = 64
    vanish: int = 5
    contribute_window: int = 150
    busy: int = 16

    @property
    def cohorts(self) -> int:
        """Cohorts that the server makes of them."""
        return -(-self.devices // self.cohort_max)


LOAD = Scenario(devices=1000, rounds=3, dimension=1_000_000)
SOAK = Scenario(devices=64, rounds=50, dimension=100_000, contribute_window=8)
QUICK = Scenario(devices=12, rounds=2, dimension=20_000, cohort_max=6, contribute_window=4)
