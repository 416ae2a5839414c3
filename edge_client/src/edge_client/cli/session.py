"""``join`` and ``run`` at work: the preface, the events, the end."""

import asyncio
import shlex
import signal
import time
from contextlib import suppress
from pathlib import Path

import click

from edge_client.client import Client
from edge_client.client.words import clock, describe_entry
from edge_client.hardware import find_hardware
from edge_client.state import FederationState, Pause, Preferences, history, state_folder
from fedit_shared.errors import FeditError, UserError

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


def take_part(client: Client, rounds: int | None, view: str | None, *, leaving: bool = False) -> int:
    """Run until done, stopped, or in need of the owner. The exit status. ``leaving``: it is not to go on afterwards."""
    shown = choose(view, history(client.state.attempts))
    terminated: list[bool] = []
    status = 0
    try:
        with shown, Stopping(shown) as stopping:
            asyncio.run(_run(client, rounds, shown, terminated, stopping))
    except (KeyboardInterrupt, asyncio.CancelledError):
        status = 0 if terminated else 130
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
    elif finished is not None and len(over) == len(entries):
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


def training_times(preferences: Preferences, pause: Pause | None) -> str:
    """When this machine trains, in one line."""
    line = f"Trains: {', '.join(preferences.when) or 'always'}"
    if pause is None or not pause.holds(time.time()):
        return f"{line}."
    return f"{line}; paused until {'`fedit-client resume`' if pause.until is None else clock(pause.until)}."


async def _run(client: Client, rounds: int | None, shown: View, terminated: list[bool], stopping: Stopping) -> None:
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
        for line in () if rounds == 0 else _preface(client):
            shown.say(line)
        async for event in client.run(rounds):
            shown.show(event)


def _preface(client: Client) -> list[str]:
    preferences, server = client.preferences, client.server
    known = "known by the key in the link" if server.pin else "known by its public certificate"
    return [
        f"Server: {server.address}, {known}.",
        f"Data: {preferences.data.path}.",
        f"Floor: this device stays out of sums of fewer than {preferences.min_survivors} devices.",
        training_times(preferences, client.state.pause),
        *hardware_lines(find_hardware()),
        *LEAVES,
        f"Keys and progress: {client.state.folder}. Ctrl-C stops; the next start goes on.",
        "",
    ]
