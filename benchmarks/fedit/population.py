"""The simulated clients: the data set is read, some of it held out, the rest dealt."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_client.data import DataSource, Record, load_records
from fedit_shared.errors import UserError

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
    def trained_on(self) -> int:
        """How many records of the evaluation are, word for word, among those that were dealt: a data set may hold a
        record twice."""
        known = {_words(record) for record in self.records}
        return sum(_words(record) in known for record in self.evaluation)

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
        more = _read(experiment.data, experiment.evaluation.file)
        _refuse_trained_on(own, more, experiment.evaluation.file)
        evaluation += more
    return Population(tuple(own), dealt, tuple(evaluation))


def _refuse_trained_on(dealt: Sequence[Record], more: Sequence[Record], file: str) -> None:
    known = {_words(record) for record in dealt}
    if found := [record.line for record in more if _words(record) in known]:
        raise UserError(
            f"{len(found)} of {len(more)} records of {file} are among those that clients train on, the first in line "
            f"{found[0]}: they would judge what was learned by heart.",
            advice="Name a file of other records with --evaluation, or take these out of one of the two.",
        )


def _words(record: Record) -> tuple[object, ...]:
    """What makes a record the same as another one, wherever it stands."""
    return record.instruction, record.context, record.response, record.earlier


def _read(data: Data, name: str) -> Sequence[Record]:
    return load_records(DataSource(path=name, format=data.format, fields=data.fields)).records
