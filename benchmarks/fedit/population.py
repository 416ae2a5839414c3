"""The simulated clients: the data set is read, some of it held out, the rest dealt."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_client.data import DataSource, Record, load_records

from .partition import Places, deal, held_out, heterogeneity
from .settings import Data, Experiment

EVERYBODY = -1
"""In place of a client's number: all records that were dealt."""


@dataclass(frozen=True)
class Population:
    """``records``: all that is dealt; ``dealt``: of each client, its places among them; ``evaluation``: what nobody
    trains on."""

    records: tuple[Record, ...]
    dealt: Places
    evaluation: tuple[Record, ...]

    def of(self, client: int) -> tuple[Record, ...]:
        """One client's records, or EVERYBODY's."""
        if client == EVERYBODY:
            return self.records
        return tuple(self.records[place] for place in self.dealt[client])

    def holdings(self) -> list[dict[str, int]]:
        """Who holds what: each client's records by category."""
        return [
            dict(sorted(Counter(self.records[place].category for place in places).items())) for places in self.dealt
        ]

    @property
    def heterogeneity(self) -> float:
        """See :func:`.partition.heterogeneity`."""
        return heterogeneity([record.category for record in self.records], self.dealt)


def populate(experiment: Experiment) -> Population:
    """The population that the settings and their seed give. Raises UserError."""
    random = np.random.default_rng([experiment.run.seed, 0])
    records: list[Record] = []
    files: list[int] = []
    for number, name in enumerate(experiment.data.files):
        read = _read(experiment.data, name)
        records += read
        files += [number] * len(read)
    kept, out = held_out([record.category for record in records], experiment.data.held_out, random)
    limit = experiment.data.limit
    if limit is not None and limit < len(kept):
        kept = sorted(random.choice(kept, limit, replace=False).tolist())
    own = [records[place] for place in kept]
    dealt = deal(
        experiment.partition,
        [record.category for record in own],
        [files[place] for place in kept],
        experiment.clients.count,
        random,
    )
    evaluation = [records[place] for place in out]
    if experiment.evaluation.file is not None:
        evaluation += _read(experiment.data, experiment.evaluation.file)
    return Population(tuple(own), dealt, tuple(evaluation))


def _read(data: Data, name: str) -> Sequence[Record]:
    return load_records(DataSource(path=name, format=data.format, fields=data.fields)).records
