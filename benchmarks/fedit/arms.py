"""The arms: base model, federation, and one learner alone, be it a client or all data in one place.

Every arm trains on as many tokens as the federation, round by round, to half a batch. A federation's clients begin each
round with a new optimizer, as in the field; one learner alone keeps its own from begin to end, which is how it would
train: each arm is what its owner would do.
"""

import time
from typing import NamedTuple

from agg_server.clipping import first_ranges, next_ranges
from agg_server.publishing import combine, publish
from edge_client.training.batches import Schedule
from fedit_shared.secagg import Update

from .journal import BASE, CENTRALIZED, FEDERATED, Entry, local_arm
from .lab import EVERYBODY, Lab
from .selection import select
from .summing import Round, add
from .worker import Work


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
            schedule = lab.worker.schedule(lab.examples(client), _client_work(lab, number, client))
            steps = schedule.steps or 0
            at = Stop(at.steps + steps, at.tokens + sum(_tokens(schedule, step) for step in range(steps)))
        federated.append(at)
    stops = {FEDERATED: federated} if experiment.arms.federated else {}
    for arm, client in _alone(lab).items():
        stops[arm] = _stops(lab, client, [stop.tokens for stop in federated])
    return Plan(selected, stops)


def run_arms(lab: Lab, plan: Plan) -> None:
    """Every arm to its end, from where the journal says that it is. Raises UserError."""
    done = [(arm, last) for arm in plan.stops if (last := lab.journal.last(arm))]
    lab.view.expect(plan.steps, sum(plan.stops[arm][last.round - 1].steps for arm, last in done))
    if lab.journal.last(BASE) is None:
        lab.view.now("judging the base model")
        _finish(lab, Entry(arm=BASE, round=0, judged=lab.judge(None)))
    if FEDERATED in plan.stops:
        _federate(lab, plan)
    for arm, client in _alone(lab).items():
        _train_alone(lab, arm, client, plan.stops[arm])


def _federate(lab: Lab, plan: Plan) -> None:
    last = lab.journal.last(FEDERATED) or Entry(
        arm=FEDERATED, round=0, adapter=lab.start.hex(), clip=first_ranges(lab.task)
    )
    for number in range(last.round + 1, lab.experiment.federation.rounds + 1):
        last = _round(lab, plan, last, number)
        _finish(lab, last)


def _round(lab: Lab, plan: Plan, before: Entry, number: int) -> Entry:
    """Selection, local work, the sum, the server's step."""
    began, version = time.monotonic(), bytes.fromhex(before.adapter)
    clients, vector = plan.selected[number - 1], lab.read(version)
    updates = []
    for place, client in enumerate(clients, 1):
        lab.view.now(f"{FEDERATED}, round {number}, client {place} of {len(clients)}")
        done = lab.worker.train(vector, lab.examples(client), _client_work(lab, number, client), lab.view.event)
        updates.append(Update(done.delta, done.examples, done.loss))
    lab.view.now(f"{FEDERATED}, round {number}, sum")
    at = Round(number, before.clip, version, lab.experiment.run.seed)
    summed = add(updates, lab.task, lab.experiment.federation, at)
    mean = summed.mean
    update = combine([mean], vector.size, mean.total_weight)
    published = publish(lab.blobs, lab.task, version, update, lab.experiment.server_step)
    seconds = time.monotonic() - began
    stop = plan.stops[FEDERATED][number - 1]
    return Entry(
        arm=FEDERATED,
        round=number,
        adapter=published.adapter.hex(),
        clients=tuple(clients),
        tokens=stop.tokens,
        steps=stop.steps,
        training_loss=mean.loss,
        update_norm=published.update_norm,
        clip=next_ranges(lab.task, before.clip, mean.delta, mean.clipped),
        clipped=mean.clipped,
        quantization_error=summed.error,
        uploaded=before.uploaded + summed.upload * len(clients),
        seconds=seconds,
        judged=lab.judge(published.adapter) if lab.is_due(number) else None,
    )


def _train_alone(lab: Lab, arm: str, client: int, stops: list[Stop]) -> None:
    last = lab.journal.last(arm)
    work, start, examples = _lone_work(lab, client, stops[-1].steps), lab.read(lab.start), lab.examples(client)
    for number in range(last.round + 1 if last else 1, len(stops) + 1):
        began, stop = time.monotonic(), stops[number - 1]
        lab.view.now(f"{arm}, round {number}")
        stage = lab.worker.advance(start, examples, work, stop.steps, lab.view.event)
        version = lab.write(stage.vector)
        seconds = time.monotonic() - began
        last = Entry(
            arm=arm,
            round=number,
            adapter=version.hex(),
            clients=() if client == EVERYBODY else (client,),
            tokens=stop.tokens,
            steps=stop.steps,
            training_loss=stage.loss / stage.learned,
            seconds=seconds,
            judged=lab.judge(version) if lab.is_due(number) else None,
        )
        _finish(lab, last)


def _finish(lab: Lab, entry: Entry) -> None:
    lab.journal.add(entry)
    judged = entry.judged
    loss = "" if judged is None else f", held-out loss {sum(judged.losses) / max(1, sum(judged.tokens)):.4f}"
    lab.view.say(f"{entry.arm}, round {entry.round}: {entry.tokens} tokens, {entry.seconds:.0f} s{loss}")


def _alone(lab: Lab) -> dict[str, int]:
    """The arms of one learner, and whose records it has."""
    arms = lab.experiment.arms
    alone = {CENTRALIZED: EVERYBODY} if arms.centralized else {}
    return alone | {local_arm(client): client for client in arms.local}


def _client_work(lab: Lab, number: int, client: int) -> Work:
    key, proximal = lab.work_key(FEDERATED, number, client), lab.experiment.federation.proximal
    return Work(key=key, seed=lab.seed(3, number, client), proximal=proximal)


def _lone_work(lab: Lab, client: int, steps: int) -> Work:
    records = steps * lab.task.training.batch_size
    return Work(key=lab.work_key("alone", client), seed=lab.seed(4, client + 1), records=records)


def _stops(lab: Lab, client: int, targets: list[int]) -> list[Stop]:
    """After which step a lone learner has seen as many tokens as each of ``targets``, as nearly as steps allow."""
    work = _lone_work(lab, client, 1)
    schedule = Schedule(lab.examples(client), lab.task.training.batch_size, None, work.seed)
    at, stops = Stop(0, 0), []
    for target in targets:
        while (following := at.tokens + _tokens(schedule, at.steps)) - target <= target - at.tokens or not at.steps:
            at = Stop(at.steps + 1, following)
        stops.append(at)
    return stops


def _tokens(schedule: Schedule, step: int) -> int:
    return sum(len(example.tokens) for example in schedule.step(step))
