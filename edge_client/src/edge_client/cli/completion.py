"""``fedit-client completion``: click's own, for the shells that it knows."""

import os
from pathlib import Path

import click

VARIABLE = "_FEDIT_CLIENT_COMPLETE"
"""What the scripts call ``fedit-client`` with, to be told what could come next."""
NAME = "fedit-client"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.option("--install", is_flag=True, help="Write it to where this user's SHELL looks for it.")
@click.pass_context
def command(context: click.Context, shell: str, install: bool) -> None:
    """Print the script that has SHELL complete commands, options and files after the tab key.

    For one session: source <(fedit-client completion bash), or fedit-client completion fish | source. With --install it
    is there in every new one.
    """
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None, "click knows the three"
    script = kind(context.find_root().command, {}, NAME, VARIABLE).source()
    if not install:
        click.echo(script)
        return
    from edge_client.disk import Disk, disk_errors

    path = _place(shell)
    Disk().make(path.parent)
    with disk_errors(path):
        path.write_text(script, encoding="utf-8")
    click.echo(f"{path} is written: it counts in every new {shell}.")
    if shell == "zsh":
        click.echo(f"Add to ~/.zshrc, once: fpath+=({path.parent}); autoload -Uz compinit; compinit")


def _place(shell: str) -> Path:
    match shell:
        case "bash":
            base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
            return base / "bash-completion" / "completions" / NAME
        case "fish":
            base = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
            return base / "fish" / "completions" / f"{NAME}.fish"
    return Path.home() / ".zfunc" / f"_{NAME}"
