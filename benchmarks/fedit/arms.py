"""The arms: base model, federation, and one learner alone, be it a client or all data in one place.

Every arm trains on as many tokens as the federation, round by round, to half a batch. A federation's clients begin each
round with a new optimizer, as in the field; one learner alone keeps its own from begin to end, which is how it would
train: each arm is what its owner would do.
"""

import time
from collections.abc import Generator, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from msgspec.structs import replace

from agg_server.adapters.publishing import publish
from agg_server.summing.clipping import first_ranges, lone_share, next_ranges
from edge_client.disk import Disk
from edge_client.training.batches import Schedule
from fedit_shared.errors import UserError
from fedit_shared.messages import TaskSpec
from fedit_shared.secagg import Update

from .crew import Crew
from .drive import Arm, drive
from .jobs import Advance, Advanced, Judge, Order, Reply, Scored, Train, Trained, vector_of
from .journal import BASE, CENTRALIZED, FEDERATED, Entry, Judged, Later, federated_arm, local_arm
from .lab import Lab
from .population import EVERYBODY
from .selection import select
from .summing import Round, add, first_bits
from .worker import Work

_Result = TypeVar("_Result")
Asking = Generator[Sequence[Order], Sequence[Reply], _Result]
"""A part of an arm: it yields orders and is sent their replies."""
_PART = 64
"""Records of the evaluation that are one job."""


class Stop(NamedTuple):
    """Where an arm's round ends: steps and tokens since the arm's start."""

    steps: int
    tokens: int


class Plan(NamedTuple):
    """Known before anything is trained: each round's clients, and each arm's stops."""

    selected: list[list[int]]
    stops: dict[str, list[Stop]]

    @property
    def steps(self) -> int:
        """Of all arms."""
        return sum(stops[-1].steps for stops in self.stops.values())


def make_plan(lab: Lab) -> Plan:
    """What each arm will do."""
    experiment = lab.experiment
    selected = select(experiment.clients, experiment.federation.rounds, experiment.run.seed)
    federated, at = [], Stop(0, 0)
    for number, clients in enumerate(selected, 1):
        for client in clients:
            schedule = lab.schedule(client, _client_work(lab, FEDERATED, lab.task, number, client))
            steps = schedule.steps or 0
            at = Stop(at.steps + steps, at.tokens + sum(_tokens(schedule, step) for step in range(steps)))
        federated.append(at)
    stops = dict.fromkeys(_federations(lab), federated)
    for arm, client in _alone(lab).items():
        stops[arm] = _stops(lab, client, [stop.tokens for stop in federated])
    return Plan(selected, stops)


def run_arms(lab: Lab, plan: Plan, crew: Crew, judge: Sequence[str] = ()) -> None:
    """Every arm to its end, from where the journal says that it is; then the arms named in ``judge`` are judged after
    each round in which they were not. Raises UserError."""
    if strangers := [arm for arm in judge if arm not in plan.stops]:
        raise UserError(f"There is no arm {strangers[0]!r} here.", advice=f"There are: {', '.join(plan.stops)}.")
    done = [(arm, last) for arm in plan.stops if (last := lab.journal.last(arm))]
    lab.view.expect(plan.steps, sum(plan.stops[arm][last.round - 1].steps for arm, last in done))
    federated = [_federate(lab, plan, arm, task) for arm, task in _federations(lab).items()]
    alone = [_train_alone(lab, arm, client, plan.stops[arm]) for arm, client in _alone(lab).items()]
    # Who learns alone has one job after the other, a federation many at a time: these fill the gaps that those leave.
    arms = [*federated, *alone] if crew.size == 1 else [*alone, *federated]
    drive([_judge_base(lab), *arms], crew, lab.replies, lab.view)
    drive([_judge_later(lab, arm) for arm in judge], crew, lab.replies, lab.view)
    Disk().remove(lab.work)


def _judge_base(lab: Lab) -> Arm:
    if lab.journal.last(BASE) is None:
        judged = yield from _judged(lab, BASE, 0, None)
        _finish(lab, Entry(arm=BASE, round=0, judged=judged))


def _judge_later(lab: Lab, arm: str) -> Arm:
    for entry in [entry for entry in lab.journal.entries if entry.arm == arm and entry.judged is None]:
        lab.finish_judging(Later(arm=arm, round=entry.round, judged=(yield from _judged_round(lab, entry))))


def _federate(lab: Lab, plan: Plan, arm: str, task: TaskSpec) -> Arm:
    last = lab.journal.last(arm) or Entry(arm=arm, round=0, adapter=lab.start.hex(), clip=first_ranges(task))
    for number in range(last.round + 1, lab.experiment.federation.rounds + 1):
        last = yield from _round(lab, plan, task, last, number)


def _round(lab: Lab, plan: Plan, task: TaskSpec, before: Entry, number: int) -> Asking[Entry]:
    """Selection, local work, the sum, the server's step."""
    clients, version, arm = plan.selected[number - 1], bytes.fromhex(before.adapter), before.arm
    turn, works = task.turn(number), [_client_work(lab, arm, task, number, client) for client in clients]
    own = [before.private.get(str(client)) for client in clients]
    starts = [version if name is None else lab.with_private(version, turn, name) for name in own]
    replies = yield [
        Order(
            arm=arm,
            round=number,
            job=Train(version=start, client=client, work=work),
            what=f"{arm}, round {number}, client {place} of {len(clients)}",
            steps=lab.schedule(client, work).steps or 0,
        )
        for place, (client, work, start) in enumerate(zip(clients, works, starts, strict=True), 1)
    ]
    trained = [reply for reply in replies if isinstance(reply, Trained)]
    began = time.monotonic()
    private = before.private | {
        str(client): lab.write_private(vector_of(reply.private))
        for client, reply in zip(clients, trained, strict=True)
        if reply.private
    }
    updates = [Update(vector_of(reply.delta), reply.examples, reply.loss) for reply in trained]
    bits = before.slot_bits or first_bits(lab.experiment.federation, len(clients))
    at = Round(number, before.clip, version, lab.experiment.run.seed, bits)
    summed = add(updates, task, lab.experiment.federation, at)
    lone = lone_share(len(updates), summed.total_weight, lab.experiment.federation.max_weight)
    published = publish(lab.blobs, task, number, version, summed.update, lab.experiment.server_step)
    seconds = time.monotonic() - began + sum(reply.seconds for reply in trained)
    stop = plan.stops[arm][number - 1]
    entry = Entry(
        arm=arm,
        round=number,
        adapter=published.adapter.hex(),
        clients=tuple(clients),
        tokens=stop.tokens,
        steps=stop.steps,
        training_loss=summed.loss,
        update_norm=published.update_norm,
        clip=next_ranges(task, turn, before.clip, summed.update, summed.clipped, lone),
        slot_bits=summed.bits,
        clipped=summed.clipped,
        quantization_error=summed.error,
        uploaded=before.uploaded + summed.upload * len(clients),
        seconds=seconds,
        private=private,
        conditions=tuple(sorted({reply.conditions for reply in trained})),
    )
    entry = yield from _judged_if_due(lab, entry)
    _finish(lab, entry, works)
    return entry


def _train_alone(lab: Lab, arm: str, client: int, stops: list[Stop]) -> Arm:
    last = lab.journal.last(arm)
    done = last.round if last else 0
    work = _lone_work(lab, client, stops[-1].steps)
    seconds = sum(entry.seconds for entry in lab.journal.entries if entry.arm == arm)
    for number in range(done + 1, len(stops) + 1):
        stop, before = stops[number - 1], stops[number - 2].steps if number > 1 else 0
        [reply] = yield [
            Order(
                arm=arm,
                round=number,
                job=Advance(version=lab.start, client=client, work=work, until=stop.steps),
                what=f"{arm}, round {number}",
                steps=stop.steps - before,
                before=before,
            )
        ]
        assert isinstance(reply, Advanced)
        version = lab.write(vector_of(reply.adapter))
        entry = Entry(
            arm=arm,
            round=number,
            adapter=version.hex(),
            clients=() if client == EVERYBODY else (client,),
            tokens=stop.tokens,
            steps=stop.steps,
            training_loss=reply.loss,
            seconds=max(0.0, reply.seconds - seconds),
            conditions=(reply.conditions,),
        )
        entry = yield from _judged_if_due(lab, entry)
        seconds = reply.seconds
        _finish(lab, entry, [work] if number == len(stops) else [])


def _judged_if_due(lab: Lab, entry: Entry) -> Asking[Entry]:
    return replace(entry, judged=(yield from _judged_round(lab, entry))) if lab.is_due(entry.round) else entry


def _judged_round(lab: Lab, entry: Entry) -> Asking[Judged]:
    return (yield from _judged(lab, entry.arm, entry.round, *_versions(lab, entry)))


def _versions(lab: Lab, entry: Entry) -> list[bytes]:
    """What a round is judged by: the adapter that it led to, with clients' own tensors in it where they have any."""
    version = bytes.fromhex(entry.adapter)
    if not entry.private:
        return [version]
    return lab.personal(version, _federations(lab)[entry.arm].turn(entry.round), entry.private)


def _judged(lab: Lab, arm: str, number: int, *versions: bytes | None) -> Asking[Judged]:
    """Each record's loss, its mean over ``versions``. In parts of a fixed size: which records go through the model
    together, and so the last bit of their losses, does not depend on the number of workers."""
    count, length = len(lab.population.evaluation), lab.experiment.evaluation.max_length
    replies = yield [
        Order(
            arm=arm,
            round=number,
            job=Judge(version=version, first=first, last=min(first + _PART, count), max_length=length),
            what=f"judging {arm}" + (f", round {number}" if number else ""),
        )
        for version in versions
        for first in range(0, count, _PART)
    ]
    parts = [reply.judged for reply in replies if isinstance(reply, Scored)]
    losses = np.array([loss for part in parts for loss in part.losses]).reshape(len(versions), count)
    tokens = tuple(tokens for part in parts for tokens in part.tokens)
    conditions = tuple(sorted({one for part in parts for one in part.conditions}))
    return Judged(losses=tuple(losses.mean(axis=0).tolist()), tokens=tokens[:count], conditions=conditions)


def _finish(lab: Lab, entry: Entry, works: Sequence[Work] = ()) -> None:
    lab.finish(entry, works)
    judged = entry.judged
    loss = "" if judged is None else f", held-out loss {sum(judged.losses) / max(1, sum(judged.tokens)):.4f}"
    lab.view.say(f"{entry.arm}, round {entry.round}: {entry.tokens} tokens, {entry.seconds:.0f} s{loss}")


def _federations(lab: Lab) -> dict[str, TaskSpec]:
    """The federated arms, and the task of each."""
    main = lab.experiment.federation.strategy
    return {
        federated_arm(strategy, main): replace(lab.task, strategy=strategy) for strategy in lab.experiment.strategies
    }


def _alone(lab: Lab) -> dict[str, int]:
    """The arms of one learner, and whose records it has."""
    arms = lab.experiment.arms
    alone = {CENTRALIZED: EVERYBODY} if arms.centralized else {}
    return alone | {local_arm(client): client for client in arms.local}


def _client_work(lab: Lab, arm: str, task: TaskSpec, number: int, client: int) -> Work:
    return Work(
        key=lab.work_key(arm, number, client),
        seed=lab.seed(3, number, client),
        proximal=task.proximal,
        strategy=task.strategy,
        round=number,
    )


def _lone_work(lab: Lab, client: int, steps: int) -> Work:
    records = steps * lab.task.training.batch_size
    return Work(key=lab.work_key("alone", client), seed=lab.seed(4, client + 1), records=records)


def _stops(lab: Lab, client: int, targets: list[int]) -> list[Stop]:
    """After which step a lone learner has seen as many tokens as each of ``targets``, as nearly as steps allow."""
    schedule = Schedule(lab.examples(client), lab.task.training.batch_size, None, _lone_work(lab, client, 1).seed)
    at, stops = Stop(0, 0), []
    for target in targets:
        while (following := at.tokens + _tokens(schedule, at.steps)) - target <= target - at.tokens or not at.steps:
            at = Stop(at.steps + 1, following)
        stops.append(at)
    return stops


def _tokens(schedule: Schedule, step: int) -> int:
    return sum(len(example.tokens) for example in schedule.step(step))
