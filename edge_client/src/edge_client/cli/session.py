"""``join`` and ``run`` at work: the preface, the events, the end."""

import asyncio
import shlex
import signal
import time
from contextlib import suppress
from pathlib import Path

import click

from edge_client.client import Client, Contributed
from edge_client.client.words import clock, describe_entry
from edge_client.hardware import find_hardware
from edge_client.rounds import UnagreedError
from edge_client.state import FederationState, Preferences, history, state_folder
from fedit_shared.errors import FeditError, UserError

from .asking import asked_to_agree, may_agree
from .hardware import hardware_lines
from .stopping import Stopping
from .views import View, choose

LEAVES = (
    "Leaves this machine, each round: the change of your adapter, the mean loss on your records, the share of values "
    "that were clipped and, if the task weighs by them, the number of your records in steps of 32, all under a mask "
    "that comes off the sum of all devices only; a key for the round, pieces of it sealed for the other members, how "
    "few survivors you accept, and three short answers. Once: this device's public key. At check-in: the client's "
    "version, the kind of accelerator, roughly how much memory it has. Always: your network address, and when you are "
    "there, so also how long you train: with many records, longer.",
    "What is fetched from the Hugging Face hub (the base model, data named hf:…) tells the hub that, your network "
    "address and the time.",
    "Stays here: your records, your adapter, and whatever is about one record.",
)

ASKED = (
    "When the first round begins you see its task here and are asked whether to take part; nothing is loaded before. "
    "Who wants to be away then agrees now: stop, and start again with --accept-new-task."
)


def take_part(client: Client, rounds: int | None, view: str | None, *, leaving: bool = False) -> int:
    """Run until done, stopped, or in need of the owner. The exit status. ``leaving``: it is not to go on afterwards."""
    terminated: list[bool] = []
    sent: list[Contributed] = []
    status, prefaced = 0, rounds == 0
    while True:
        shown = choose(view, history(client.state.attempts))
        left = rounds and rounds - len(sent)
        try:
            with shown, Stopping(shown) as stopping:
                asyncio.run(_run(client, left, shown, terminated, stopping, sent, preface=not prefaced))
        except (KeyboardInterrupt, asyncio.CancelledError):
            status = 0 if terminated else 130
        except UnagreedError as error:
            if not may_agree(view) or not asked_to_agree(error):
                raise
            client.agree(error.task)
            prefaced = True
            continue
        break
    if view != "json":
        click.echo(outlook(client.state, leaving=leaving))
    return status


def outlook(state: FederationState, *, leaving: bool = False, busy: bool = False) -> str:
    """What is done and what is still open, and what to do about it. ``busy``: a client is at work meanwhile."""
    entries, membership = history(state.attempts), state.membership
    finished = None if membership is None else membership.finished
    over = [entry for entry in entries if entry.outcome is not None]
    lines = [f"Rounds over: {len(over)}, with this device's update: {sum(entry.counted for entry in over)}."]
    lines += [describe_entry(entry) for entry in entries if entry.outcome is None]
    if finished is not None and not leaving:
        lines.append(finished)
    if busy:
        lines.append(f"A client is at work here; `{command_for(state, 'pause')}` keeps training from running.")
    elif finished is not None and len(over) == len(entries) and not leaving:
        lines.append(f"Nothing is left to do. Should it go on, `{command_for(state, 'run')}` takes part again.")
    elif not leaving:
        lines.append(f"Nothing is lost: `{command_for(state, 'run')}` goes on from here.")
    return "\n".join(lines)


def command_for(state: FederationState, verb: str) -> str:
    """The command line for this folder, which has to be named if it is not the one that would be found."""
    with suppress(FeditError):
        if state_folder(None) == state.folder:
            return f"fedit-client {verb}"
    return f"fedit-client {verb} --state {shlex.quote(str(state.folder))}"


def joined(state: Path | None) -> FederationState:
    """The folder of ``--state``, or the one that would be found. Raises UserError if it has joined nothing."""
    kept = FederationState(state_folder(None, state))
    if kept.membership is None:
        raise UserError(f"{kept.folder} has joined no federation.", advice="Join one with `fedit-client join LINK`.")
    return kept


def training_times(preferences: Preferences, state: FederationState) -> str:
    """When this machine trains, in one line."""
    pause = state.pause
    line = f"Trains: {', '.join(preferences.when) or 'always'}"
    if pause is None or not pause.holds(time.time()):
        return f"{line}."
    until = f"`{command_for(state, 'resume')}`" if pause.until is None else clock(pause.until)
    return f"{line}; paused until {until}."


async def _run(
    client: Client,
    rounds: int | None,
    shown: View,
    terminated: list[bool],
    stopping: Stopping,
    sent: list[Contributed],
    *,
    preface: bool,
) -> None:
    task = asyncio.current_task()
    assert task is not None, "called by asyncio.run"
    stopping.stops(task)

    def terminate() -> None:
        terminated.append(True)
        task.cancel()

    with suppress(NotImplementedError, AttributeError):  # Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, terminate)
        asyncio.get_running_loop().add_signal_handler(signal.SIGWINCH, shown.resized)
    async with client:
        for line in _preface(client) if preface else ():
            shown.say(line)
        async for event in client.run(rounds):
            shown.show(event)
            if isinstance(event, Contributed):
                sent.append(event)


def _preface(client: Client) -> list[str]:
    preferences, server = client.preferences, client.server
    membership = client.state.membership
    asked = client.ask and (membership is None or membership.task_hash is None)
    known = "known by the key in the link" if server.pin else "known by its public certificate"
    return [
        f"Server: {server.address}, {known}.",
        f"Data: {preferences.data.path}.",
        f"Floor: this device stays out of sums of fewer than {preferences.min_survivors} devices.",
        training_times(preferences, client.state),
        *hardware_lines(find_hardware()),
        *LEAVES,
        *([ASKED] if asked else []),
        f"Keys and progress: {client.state.folder}. Ctrl-C stops; the next start goes on.",
        "",
    ]
