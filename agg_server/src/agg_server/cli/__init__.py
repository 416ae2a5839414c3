"""``fedit-server``: an operator's commands. Mistakes get one clear line on stderr; nothing heavy loads for --help."""

import sys

import click

from agg_server import __version__

from .adapters import export_command, rollback_command
from .init import init_command
from .invitations import invitations_command, revoke_command
from .keeping import backup_command, prune_command, restore_command, verify_command
from .login import login_command, logout_command
from .people import block_command, devices_command, invite_command, unblock_command
from .reports import rounds_command, status_command
from .serve import serve_command


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fedit-server")
def cli() -> None:
    """Run a federation that tunes a language model together and whose server only learns sums."""


for command in (
    init_command,
    serve_command,
    login_command,
    logout_command,
    invite_command,
    invitations_command,
    revoke_command,
    status_command,
    rounds_command,
    devices_command,
    block_command,
    unblock_command,
    rollback_command,
    export_command,
    backup_command,
    restore_command,
    verify_command,
    prune_command,
):
    cli.add_command(command)


def main() -> None:
    """The program's entry."""
    from fedit_shared.errors import FeditError

    try:
        cli(prog_name="fedit-server", standalone_mode=False)
    except click.exceptions.Abort:
        _fail("Interrupted.", 130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except FeditError as error:
        advice = getattr(error, "for_operator", None)
        _fail(str(error) if advice is None else f"{error.message} {advice}", error.exit_code)
    except BrokenPipeError:  # `| head` has seen enough
        sys.stderr.close()
        sys.exit(1)
    except OSError as error:
        _fail(f"{error.filename or 'The system'}: {error.strerror or error}.", 2)


def _fail(message: str, status: int) -> None:
    click.echo(f"fedit-server: {message}", err=True)
    sys.exit(status)
