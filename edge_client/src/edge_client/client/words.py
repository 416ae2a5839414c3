"""Events in plain words."""

import time

from edge_client import training as t
from edge_client.sizes import size
from edge_client.state import Entry
from fedit_shared import adapter
from fedit_shared.errors import LONGEST
from fedit_shared.messages import TaskSpec
from fedit_shared.parameters import RECORDS_PER_WEIGHT
from fedit_shared.strategies import STRATEGIES
from fedit_shared.text import shown

from . import events as c

DEVICE_LETTERS = 12


def span(seconds: float) -> str:
    """Seconds, for a person: ``8 s``, ``12 min``, ``3.5 h``."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def clock(unix: int) -> str:
    """A Unix time as local wall clock, with the day if it is not today, with the year if it is not this one's."""
    then, now = time.localtime(unix), time.localtime()
    day = "" if then[:3] == now[:3] else "%d %b " if then[0] == now[0] else "%d %b %Y "
    return time.strftime(f"{day}%H:%M", then)


def describe(event: c.Event) -> str:
    """``event`` in one line, in which nothing moves a cursor, whoever wrote what it quotes."""
    return shown(_words(event), LONGEST)


def _words(event: c.Event) -> str:
    match event:
        case c.Joined():
            how = "Joined" if event.new else "Going on in"
            name = event.federation or "the federation"
            return f"{how} {name} at {event.address} as device {event.device.hex()[:DEVICE_LETTERS]}."
        case c.Retrying():
            problem = event.problem[0].upper() + event.problem[1:]
            return f"{problem}; next try in {span(event.seconds)}. Nothing is lost."
        case c.Reconnected():
            return "The server answers again."
        case c.Waiting():
            return _round(event.round) + _waiting(event)
        case c.Offered():
            return (
                f"Round {event.round}: offered, {event.task.model.id}, adapter {event.adapter.hex()[:DEVICE_LETTERS]}; "
                f"train by {clock(event.train_until)}."
            )
        case c.Agreed():
            return _agreed(event)
        case c.Downloading():
            return f"Round {event.round}: adapter {size(event.received)} of {size(event.total)}."
        case c.Training():
            return f"Round {event.round}: {_training(event.event)}"
        case c.Paused():
            until = "" if event.until is None else f" Until {clock(event.until)}."
            return f"Training is paused. {event.reason}{until}"
        case c.Resumed():
            return "Training may run again."
        case c.Declined():
            return f"Round {event.round}: not taken part. {event.reason}"
        case c.Trained():
            return f"Round {event.round}: trained on {event.examples} records, mean loss {event.loss:.3f}."
        case c.Mustered():
            return (
                f"Round {event.round}: mustered, for sums of at least {event.floor} devices; "
                f"this device promises short answers until {clock(event.not_after)}."
            )
        case c.RosterAccepted():
            return (
                f"Round {event.round}: in a cohort of {event.members}; at least {event.floor} must survive, "
                f"{event.threshold} answers open their sum."
            )
        case c.Sealed():
            return f"Round {event.round}: update masked and on disk ({event.clipped:.2%} of its values clipped)."
        case c.Uploading():
            return f"Round {event.round}: uploaded {size(event.sent)} of {size(event.total)}."
        case c.Contributed():
            return f"Round {event.round}: the server has the masked update ({size(event.bytes_up)} sent)."
        case c.Reported():
            return f"Round {event.round}: key shares checked and reported."
        case c.Voted():
            if not event.survivors:
                return f"Round {event.round}: voted to abandon it; this update can be used again."
            return f"Round {event.round}: voted for the list of {event.survivors} survivors."
        case c.Answered():
            return f"Round {event.round}: answered for the sum."
        case c.RoundFinished():
            return f"Round {event.round}: {_finished(event)}"
        case c.FederationFinished():
            return event.reason
        case c.Notice():
            return event.message


def describe_entry(entry: Entry) -> str:
    """What came of one muster, in one line."""
    sent = f"sent {size(entry.bytes_up)}" if entry.sent else "its update not sent"
    if entry.sent:
        sent += f" by {clock(entry.sent)}"
    if entry.outcome is None:
        step = entry.step or "not yet mustered"
        return (
            f"Round {entry.round}: open ({step}), {sent}; answers are promised until {clock(entry.not_after)}. "
            f"{entry.reason}"
        ).strip()
    match entry.outcome:
        case "published" if entry.counted:
            loss = "" if entry.mean_loss is None else f", their mean loss {entry.mean_loss:.3f}"
            came = f"published, counted: one of {entry.survivors} in the sum{loss}"
        case "published":
            came = f"published without this device's update, from {entry.survivors}"
        case "abandoned":
            came = "abandoned by vote, nothing was opened"
        case "failed":
            came = "failed, nothing was published"
        case outcome:
            came = outcome
    reason = f" {entry.reason}" if entry.reason else ""
    return f"Round {entry.round}: {came}; {sent}; over {clock(entry.ended)}.{reason}"


def weighing(task: TaskSpec) -> str:
    """What the task's sums of weights tell of one device."""
    if task.max_weight == 1:
        return "Every device counts the same: no sum tells how many records you have."
    return (
        f"Your update counts by your records: from a few rounds that differ in who takes part, the operator and every "
        f"member can tell how many you have, exactly, in steps of {RECORDS_PER_WEIGHT} up to "
        f"{RECORDS_PER_WEIGHT * task.max_weight}."
    )


def _round(number: int | None) -> str:
    return "" if number is None else f"Round {number}: "


def _agreed(event: c.Agreed) -> str:
    task = event.task
    training, values = task.training, adapter.size(task.tensors)
    amount = f"{training.steps} steps" if training.steps else f"{training.minutes} minutes"
    if training.epochs:
        amount = f"{training.epochs:g} times your records"
    revision = f" at {task.model.revision[:DEVICE_LETTERS]}" if task.model.revision else ""
    near = f" Training is held near the published adapter (FedProx, {task.proximal:g})." if task.proximal else ""
    return (
        f"The task that you agree to by taking part: an adapter of {values:,} values for {task.model.id}{revision}, "
        f"{amount} a round, up to {size(event.upload_bytes)} sent each, and up to "
        f"{size(event.beside_bytes)} of key shares and answers. Strategy {task.strategy}: "
        f"{STRATEGIES[task.strategy].told}{near} {weighing(task)} Any other task is refused."
    )


def _waiting(event: c.Waiting) -> str:
    count = "" if event.present is None or event.expected is None else f" {event.present} of {event.expected} are here."
    until = "" if event.until is None else f" Until {clock(event.until)} at the latest."
    return f"{event.reason}{count}{until}"


def _finished(event: c.RoundFinished) -> str:
    sent = f", {size(event.bytes_up)} sent" if event.bytes_up else ""
    match event.outcome:
        case "published" if event.counted:
            loss = "" if event.mean_loss is None else f", their mean loss {event.mean_loss:.3f}"
            return f"published; this update is one of {event.survivors} in the sum{loss}{sent}."
        case "published":
            return f"published from {event.survivors} updates, without this one{sent}."
        case "abandoned":
            return f"abandoned by vote; nothing was opened{sent}."
        case "failed":
            return f"failed; nothing was published{sent}."
        case outcome:
            return f"{outcome}. {event.reason}".strip()


def _training(event: t.TrainEvent) -> str:
    match event:
        case t.Notice():
            return event.message
        case t.Loading():
            return f"loading the {event.part}."
        case t.Fetching():
            if not event.here:
                return f"the base model {event.model} is fetched from the Hugging Face hub, once: {size(event.total)}."
            return f"base model, {size(event.here)} of {size(event.total)}."
        case t.Planned():
            work = f"{event.steps} steps" if event.steps is not None else "by time"
            budget = f" of {size(event.budget_bytes)}" if event.budget_bytes else ""
            checkpointing = ""
            if event.recomputed:
                checkpointing = f", activations of {event.recomputed} of {event.layers} layers computed twice"
            return (
                f"plan: {event.records} records, {work} of {event.batch_size} ({event.micro_batch} at a time), base in "
                f"{event.quantization} by {event.kernel} on {event.device}, computing in {event.compute_dtype}"
                f"{checkpointing}, memory {size(event.predicted_bytes)}{budget}."
            )
        case t.Progress():
            steps = "" if event.steps is None else f" of {event.steps}"
            budget = f" of {size(event.budget_bytes)}" if event.budget_bytes else ""
            return (
                f"step {event.step}{steps}, loss {event.loss:.3f}, {event.tokens_per_second:.0f} tokens/s, memory "
                f"{size(event.memory_bytes)}{budget}, {span(event.seconds_left)} left."
            )
        case t.BackedOff():
            return f"memory ran out ({event.reason}); going on with {event.micro_batch} records at a time."
        case t.Checkpointed():
            return f"step {event.step} is on disk."
        case t.Finished():
            return (
                f"training done: {event.steps} steps in {span(event.seconds)}, "
                f"at most {size(event.peak_bytes)} of memory."
            )
        case t.Failed():
            return "training ended without a result."
