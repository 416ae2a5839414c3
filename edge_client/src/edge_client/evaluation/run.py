"""Asks the model for what is not known yet: each arm's loss on each record, and its answers."""

from collections.abc import Awaitable, Callable, Iterable, Sequence

import numpy as np

from edge_client.data.source import Record
from edge_client.inference import InferenceProcess, Open
from edge_client.inference.client import Progress as Told

from .kept import Answer, Arm, Kept, Loss

Progress = Callable[[str, int, int], None]
"""What is done, how many of it are, and how many there are."""
_LOSSES = 64
_ANSWERS = 16
"""Records that one request is for: so much is lost by a kill."""


async def evaluate(
    settings: Open,
    arms: Sequence[Arm],
    records: Sequence[Record],
    kept: Kept,
    *,
    max_length: int,
    answered: Sequence[int] = (),
    max_new_tokens: int = 128,
    progress: Progress = lambda what, done, total: None,
    told: Told | None = None,
    then: Callable[[InferenceProcess], Awaitable[None]] | None = None,
) -> None:
    """Make ``kept`` complete: a loss for each arm and record, an answer for each arm and place in ``answered``.

    What is kept already is not asked again; if it is everything, no model is loaded. Requests are the same whatever
    ends a run in between, so that answers do not depend on it. ``then``: what else the same model is asked. Raises
    UserError and FeditError as InferenceProcess does."""
    names = {arm.name for arm in arms}
    scored = {(loss.arm, loss.place) for loss in kept.losses.values if loss.arm in names}
    said = {(answer.arm, answer.place) for answer in kept.answers.values if answer.arm in names}
    losses = list(_open(arms, range(len(records)), scored, _LOSSES))
    answers = list(_open(arms, sorted(answered, key=lambda p: (_length(records[p]), p)), said, _ANSWERS))
    if not losses and not answers and then is None:
        return
    async with InferenceProcess(settings, told) as model:
        done = len(scored)
        for arm, places in losses:
            progress("losses", done, len(arms) * len(records))
            found = await model.evaluate(arm.adapter, [records[place] for place in places], max_length=max_length)
            kept.losses.add(
                Loss(
                    arm=arm.name,
                    place=place,
                    category=records[place].category,
                    loss=record.loss_sum,
                    tokens=record.tokens,
                )
                for place, record in zip(places, found.records, strict=True)
            )
            done += len(places)
        if losses:
            progress("losses", done, len(arms) * len(records))
        done = len(said & {(name, place) for name in names for place in answered})
        for arm, places in answers:
            progress("answers", done, len(arms) * len(answered))
            asked = [records[place] for place in places]
            made = await model.generate(arm.adapter, asked, max_new_tokens=max_new_tokens)
            kept.answers.add(
                Answer(
                    arm=arm.name,
                    place=place,
                    record=records[place],
                    text=answer.text,
                    tokens=answer.tokens,
                    ended=answer.ended,
                )
                for place, answer in zip(places, made, strict=True)
            )
            done += len(places)
        if answers:
            progress("answers", done, len(arms) * len(answered))
        if then is not None:
            await then(model)


def choose(records: int, count: int, seed: int) -> list[int]:
    """``count`` places of ``records``, drawn by ``seed``, or all; in ascending order. A larger count adds to them."""
    order = np.random.Generator(np.random.PCG64(seed)).permutation(records)
    return sorted(int(place) for place in order[:count])


def _open(
    arms: Sequence[Arm], places: Iterable[int], known: set[tuple[str, int]], size: int
) -> Iterable[tuple[Arm, list[int]]]:
    """Each arm's places in groups of ``size``, less what is known."""
    every = list(places)
    for arm in arms:
        for first in range(0, len(every), size):
            group = [place for place in every[first : first + size] if (arm.name, place) not in known]
            if group:
                yield arm, group


def _length(record: Record) -> int:
    return len(record.instruction) + len(record.context)
