"""``fedit-client``: the command line, a thin skin over :mod:`edge_client.client`.

Exit status: 0 done or stopped by SIGTERM; 1 something failed that should not; 2 what was given cannot be used (link,
file, option); 3 what may pass (the hub cannot be reached, nor the server for ``leave`` and ``chat``, another machine is
at its address, others hold the memory, a disk is not there, the clock is off); 4 the server refused, or broke the
protocol; 5 what is asked for is not safe, or is another task than the one agreed to; 6 the disk; 7 another client is at
work on the same folder; 130 stopped by Ctrl-C.

Commands import what they need when they run, so that ``--help`` answers at once.
"""

import errno
import os
import sys
import traceback
from contextlib import suppress
from difflib import get_close_matches
from importlib import import_module
from typing import TYPE_CHECKING, NoReturn

import click

from edge_client import __version__
from edge_client.disk import FULL, DiskError
from fedit_shared.errors import FeditError

from .programs import tell_error

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMMANDS = {
    "join": "Join a federation and take part in its rounds.",
    "run": "Go on with what was joined before.",
    "status": "What this machine takes part in.",
    "history": "What this machine sent when, and which rounds counted.",
    "pause": "Keep training from running for a while, or until `resume`.",
    "resume": "Let training run again after `pause`.",
    "service": "Have the system start the client, and again after a failure.",
    "doctor": "What this machine has, and what fits.",
    "plan": "What training a model needs, and how it fits.",
    "new-adapter": "Make the adapter that a federation starts with.",
    "chat": "Talk with the model, base and federated side by side.",
    "evaluate": "How good a model is with this or that adapter.",
    "judge": "Which of two evaluated arms answers better.",
    "merge": "Make one model of a model and an adapter.",
    "data": "What is in your records, before they are trained on.",
    "personal": "Write this device's own adapter, where part of it stays here.",
    "completion": "Have your shell complete what you type.",
    "leave": "Take no further rounds.",
}


_BUG = "This is a bug of fedit-client: please report it with the lines above. What was kept goes on at the next start."

_UNWRITTEN = "Make room where the output goes, or send it elsewhere, then start again: everything up to now is kept."


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = import_module(f"{__name__}.{cmd_name.replace('-', '_')}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            if near := get_close_matches(args[0], COMMANDS, 1):
                raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from error
            raise

    def shell_complete(self, ctx: click.Context, incomplete: str) -> "list[CompletionItem]":
        """From the table above: no command is imported for it."""
        from click.shell_completion import CompletionItem

        fitting = [name for name in COMMANDS if name.startswith(incomplete)]
        items = [CompletionItem(name, help=COMMANDS[name]) for name in fitting]
        return items + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


EPILOG = (
    "Exit status: 0 done; 1 unexpected failure; 2 wrong link, file or option; 3 what may pass: no way to the hub, "
    "or for leave and chat to the server, another machine at its address, memory that others hold, a disk or the "
    "clock; 4 refused by the server; "
    "5 not safe, or another task than agreed to; 6 disk; 7 another client works on the same folder; 130 Ctrl-C."
)


@click.group(cls=_Commands, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="fedit-client")
def cli() -> None:
    """Tune a language model together with others, on data that stays on this machine."""


def main(args: list[str] | None = None) -> None:
    """The entry point: run a command, turn what goes wrong into one clear line and an exit status."""
    words = sys.argv[1:] if args is None else args
    program = "--json" in words  # looked for here, since the parser stops at the first wrong word
    try:
        sys.exit(cli.main(words, prog_name="fedit-client", standalone_mode=False) or 0)
    except click.ClickException as error:
        _fail(error, 2, program=program)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except BrokenPipeError:  # whoever read our output has gone
        _mute()
        sys.exit(1)
    except FeditError as error:
        _fail(error, error.exit_code, program=program)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in (*FULL, errno.EIO) and error.filename is None:
            _mute()
            unsaid = DiskError(f"The output cannot be written: {error.strerror}.", advice=_UNWRITTEN)
            _fail(unsaid, unsaid.exit_code, program=False)
        with suppress(OSError):
            traceback.print_exc()  # a bug: its traceback is for whoever mends it
        bug = FeditError(f"{type(error).__name__}: {error}", advice=_BUG)
        _fail(bug, bug.exit_code, program=program)


def _fail(error: FeditError | click.ClickException, status: int, *, program: bool) -> NoReturn:
    """Tell people and, if a ``program`` reads, programs; end with ``status``, though nobody can be told."""
    if program:
        try:
            tell_error(error, status)
        except OSError:
            _mute()
    with suppress(OSError):
        if isinstance(error, click.ClickException):
            error.show()
        else:
            click.echo(f"Error: {error.message}", err=True)
            if error.next_step:
                click.echo(error.next_step, err=True)
    sys.exit(status)


def _mute() -> None:
    """Let nothing more be said on stdout, not even what is still to be: Python would try, and complain, at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
