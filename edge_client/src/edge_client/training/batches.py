"""Which records a step trains on, and in which pieces they go through the model.

A step is always ``batch_size`` consecutive records of one endless order (every epoch a new permutation by the seed).
Only the pieces, the micro-batches, depend on the machine's memory; the loss is summed over all of a step's tokens and
divided once, so the pieces do not change the mathematics.
"""

from collections.abc import Sequence

import numpy as np

from edge_client.data.template import Example


class Schedule:
    """The steps of local work over ``examples``, at least one."""

    def __init__(self, examples: Sequence[Example], batch_size: int, records: int | None, seed: int) -> None:
        """``records``: how many to train on in all, repetitions counted; None: no end."""
        self._examples = examples
        self._batch_size = batch_size
        self._records = records
        self._seed = seed
        self._epoch: tuple[int, list[int]] = (-1, [])

    @property
    def steps(self) -> int | None:
        """How many steps there are; None: no end."""
        return None if self._records is None else -(-self._records // self._batch_size)

    def step(self, number: int) -> list[Example]:
        """The records of step ``number`` (from 0), longest first, so that memory runs out at the start if at all and
        micro-batches are of nearly equal lengths."""
        start = number * self._batch_size
        end = start + self._batch_size if self._records is None else min(start + self._batch_size, self._records)
        chosen = [self._examples[self._at(place)] for place in range(start, end)]
        return sorted(chosen, key=lambda example: -len(example.tokens))

    def seen(self, steps: int) -> int:
        """Distinct records in the first ``steps`` steps."""
        done = steps * self._batch_size
        return min(done if self._records is None else min(done, self._records), len(self._examples))

    def _at(self, place: int) -> int:
        epoch, within = divmod(place, len(self._examples))
        if self._epoch[0] != epoch:
            order = np.random.Generator(np.random.PCG64([self._seed, epoch])).permutation(len(self._examples))
            self._epoch = (epoch, [int(index) for index in order])
        return self._epoch[1][within]


def next_piece(examples: Sequence[Example], start: int, capacity: int, *, packed: bool) -> Sequence[Example]:
    """The micro-batch that begins at ``start`` of ``examples`` (longest first): as many as fit into ``capacity``
    tokens, padding counted unless they are ``packed``, but at least one."""
    if not packed:
        return examples[start : start + max(1, capacity // len(examples[start].tokens))]
    end, left = start + 1, capacity - len(examples[start].tokens)
    while end < len(examples) and len(examples[end].tokens) <= left:
        left -= len(examples[end].tokens)
        end += 1
    return examples[start:end]
