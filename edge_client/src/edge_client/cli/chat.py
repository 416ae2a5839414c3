"""``fedit-client chat``."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from .options import MODEL, parse_size, state_option

if TYPE_CHECKING:
    from asyncio import Runner

    from edge_client.inference import InferenceProcess, Open
    from edge_client.inference.conversation import Conversation

    from .columns import Answers

HELP = "/reset forgets the conversation, /quit or the end of input ends it."


@click.command()
@click.argument("what", required=False, type=MODEL, metavar="[MODEL|FEDERATION]")
@click.option(
    "--adapter",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="An adapter's folder (default: the federation's newest that this device knows of).",
)
@click.option("--max-new-tokens", type=click.IntRange(1, 2**16), default=512, show_default=True, help="Of an answer.")
@click.option("--revision", help="The model's commit on the hub.")
@click.option(
    "--memory",
    callback=parse_size,
    metavar="SIZE",
    help="What it may use (default: what the federation may, else 9/10 of what is free).",
)
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--plain", is_flag=True, help="One answer after the other, instead of two columns.")
@state_option
def command(
    what: str | None,
    adapter: Path | None,
    max_new_tokens: int,
    revision: str | None,
    memory: int | None,
    device: Literal["auto", "cpu", "cuda"],
    plain: bool,
    state: Path | None,
) -> None:
    """Talk with a model as it is and as it is federated, side by side.

    Without an argument, or with the name or folder of a FEDERATION that this machine has joined: its base model and its
    newest adapter. With MODEL, a hub id or folder, and --adapter: those. The base is loaded once, in 8 bits, and the
    adapter switched on and off; each of the two has heard its own answers. What is typed stays on this machine, and is
    not kept.
    """
    import asyncio
    import sys
    import tempfile

    from edge_client.inference import InferenceProcess
    from edge_client.inference.conversation import Conversation

    from .columns import choose
    from .working import Working

    with tempfile.TemporaryDirectory() as place, asyncio.Runner() as runner:
        settings, arms = opened(runner, what, state, adapter, Path(place), memory, device, revision)
        with Working(plain=plain) as working:
            model = runner.run(InferenceProcess(settings, working.told).__aenter__())
        try:
            shown = choose(plain=plain)
            conversation = Conversation(arms)
            if sys.stdin.isatty():
                click.echo(HELP, err=True)
            while (line := _line()) is not None and line != "/quit":
                if line == "/reset":
                    conversation.reset()
                    click.echo("The conversation begins anew.", err=True)
                elif line.startswith("/"):
                    click.echo(HELP, err=True)
                elif line:
                    runner.run(_answer(model, conversation, line, shown, max_new_tokens))
        finally:
            runner.run(model.__aexit__(None, None, None))


async def _answer(
    model: "InferenceProcess", conversation: "Conversation", line: str, shown: "Answers", max_new_tokens: int
) -> None:
    with shown.answering([name for name, _ in conversation.arms]):
        for name, _ in conversation.arms:
            shown.begin(name)
            answer = await conversation.ask(model, name, line, shown.piece, max_new_tokens=max_new_tokens)
            if not answer.tokens:
                shown.note("The conversation fills the model's context. /reset begins anew.")
            elif not answer.ended:
                shown.note(f"Cut off after {answer.tokens} tokens; --max-new-tokens allows more.")


def opened(
    runner: "Runner",
    what: str | None,
    state: Path | None,
    adapter: Path | None,
    place: Path,
    memory: int | None,
    device: Literal["auto", "cpu", "cuda"],
    revision: str | None,
) -> "tuple[Open, list[tuple[str, str | None]]]":
    """The model to load, and the arms."""
    from edge_client.client.chatting import newest_folder
    from edge_client.client.folders import agreed_task
    from edge_client.client.words import DEVICE_LETTERS
    from edge_client.inference import Open
    from edge_client.state import named_folder
    from edge_client.training.model_files import named_folder as model_folder
    from edge_client.training.plain_lora import read_peft
    from fedit_shared.messages import ModelRef

    from .session import joined

    if adapter is not None:
        read_peft(adapter)  # before the base is loaded, and has answered
    federation = named_folder(what) if what is not None else None
    if what is not None and federation is None:
        folder = model_folder(what)
        arms: list[tuple[str, str | None]] = [("base", None)]
        if adapter is not None:
            arms.append(("adapted", str(adapter.absolute())))
        else:
            click.echo("The base alone: name an adapter's folder with --adapter to have it beside.", err=True)
        opening = Open(
            model=ModelRef(id=what, revision=revision or ""),
            model_folder=None if folder is None else str(folder.absolute()),
            memory_bytes=memory,
            device=device,
        )
        return opening, arms
    kept = joined(federation or state)
    if adapter is None:
        newest = runner.run(newest_folder(kept, place, lambda line: click.echo(line, err=True)))
        task, adapter = newest.task, newest.folder
        click.echo(f"Adapter {newest.version.hex()[:DEVICE_LETTERS]} for {task.model.id}.", err=True)
    else:
        task = agreed_task(kept)
    preferences = kept.preferences
    opening = Open(
        model=task.model,
        model_folder=preferences.model_folder if preferences else None,
        memory_bytes=memory or (preferences.memory_bytes if preferences else None),
        device=device,
    )
    return opening, [("base", None), ("federated", str(adapter.absolute()))]


def _line() -> str | None:
    """What is typed next; None at the end."""
    import sys
    from contextlib import suppress

    if not sys.stdin.isatty():
        return line.strip() if (line := sys.stdin.readline()) else None
    with suppress(ImportError):
        import readline  # noqa: F401  (input() edits lines with it)
    try:
        return input("you: ").strip()
    except EOFError:
        click.echo()
        return None
