"""``fedit-client service``: have the operating system run the client."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import state_option

if TYPE_CHECKING:
    from edge_client.service import Kind, Service

MANAGERS = ("systemd", "launchd", "windows")
HUB_FOLDERS = ("HF_HOME", "HF_HUB_CACHE")
"""Where the base model lies, if not in the home folder."""


@click.group()
def command() -> None:
    """Have `fedit-client run` started when you log in, and again after a failure, at low priority.

    A user unit of systemd on Linux, an agent of launchd on macOS, a scheduled task on Windows; the latter two were
    never tried. The file names this interpreter and this device's folder, and holds no secret.
    """


@command.command()
@state_option
def install(state: Path | None) -> None:
    """Write the service's file for the federation that was joined, and start it."""
    from edge_client.data import APPLICATION
    from edge_client.disk import Disk, disk_errors
    from fedit_shared.errors import UserError

    from .session import joined

    kind, service, path = _found(state)
    kept = joined(state)
    if kept.membership is None or kept.membership.left:
        raise UserError("This device has left the federation.", advice="Join again with a new link.")
    if kept.preferences is None or kept.preferences.data.path == APPLICATION:
        raise UserError(
            "A service cannot know what to train on: no data file is set.",
            advice="Give one with `fedit-client run --data FILE`, then install it.",
        )
    Disk().make(path.parent)
    with disk_errors(path):
        path.write_bytes(kind.render(service))
    click.echo(f"{path} is written.")
    if not _run_all(kind.start(service, path)):
        sys.exit(1)
    for line in kind.next(service):
        click.echo(line)


@command.command()
@state_option
def remove(state: Path | None) -> None:
    """Stop the service and delete its file. The device stays in the federation: `fedit-client leave` takes it out."""
    from edge_client.disk import Disk
    from fedit_shared.errors import UserError

    kind, service, path = _found(state)
    if not path.exists():
        raise UserError(
            f"No service is installed: there is no {path}.", advice="`fedit-client service install` makes one."
        )
    stopped = _run_all(kind.stop(service, path))
    Disk().remove(path)
    click.echo(f"{path} is deleted.")
    if not stopped:
        sys.exit(1)


@command.command()
@state_option
def status(state: Path | None) -> None:
    """Whether the service is installed, and what its manager says of it."""
    kind, service, path = _found(state)
    if not path.exists():
        click.echo("Not installed: `fedit-client service install`.")
        return
    same = path.read_bytes() == kind.render(service)
    click.echo(
        f"Installed: {path}{'' if same else ', by another version or for another interpreter: install it again'}."
    )
    click.echo(f"{kind.manager}: {_said(kind.ask(service))}")


@command.command()
@click.option("--for", "manager", type=click.Choice(MANAGERS), help="Another manager's file (default: this system's).")
@state_option
def show(state: Path | None, manager: str | None) -> None:
    """Print the file that `install` would write, and write nothing."""
    from codecs import BOM_UTF16_BE, BOM_UTF16_LE

    kind, service, _ = _found(state, manager)
    content = kind.render(service)
    click.echo(content.decode("utf-16" if content[:2] in (BOM_UTF16_LE, BOM_UTF16_BE) else "utf-8").rstrip())


def _found(state: Path | None, manager: str | None = None) -> "tuple[Kind, Service, Path]":
    from edge_client.service import KINDS, PLATFORMS, Service
    from fedit_shared.errors import UserError

    from .session import joined

    kept = joined(state)
    membership = kept.membership
    assert membership is not None, "joined"
    name = manager or PLATFORMS.get(sys.platform)
    if name is None:
        raise UserError(
            f"There is no service manager for {sys.platform}.",
            advice="Start `fedit-client run --plain` as it does there.",
        )
    service = Service(
        name=f"fedit-client-{membership.federation.hex()[:8]}",
        federation=membership.name,
        python=sys.executable,
        state=kept.folder,
        environment=_environment(),
    )
    return KINDS[name], service, KINDS[name].path(service.name, Path.home())


def _environment() -> dict[str, str]:
    """What of this one a service has to be given: it starts without its owner's."""
    from edge_client.hardware import CARDS_VARIABLE
    from edge_client.paths import absolute

    found = {name: str(absolute(os.environ[name])) for name in HUB_FOLDERS if os.environ.get(name)}
    return found | {name: os.environ[name] for name in (CARDS_VARIABLE,) if name in os.environ}


def _run_all(commands: list[list[str]]) -> bool:
    """Whether all succeeded; if not, they are named, to be given by hand."""
    import shlex
    import subprocess

    for words in commands:
        try:
            done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
            problem = (
                ""
                if done.returncode == 0
                else (done.stderr or done.stdout).strip() or f"it ended with {done.returncode}"
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            problem = str(error)
        if problem:
            click.echo(f"Error: `{shlex.join(words)}` failed: {problem}", err=True)
            click.echo("Where that is set right, give these yourself:", err=True)
            for each in commands:
                click.echo(f"  {shlex.join(each)}", err=True)
            return False
    return True


def _said(words: list[str]) -> str:
    """The first line that a manager answers."""
    import subprocess

    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not answer ({error})"
    return ((done.stdout + done.stderr).strip().splitlines() or ["says nothing"])[0]
