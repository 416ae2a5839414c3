"""``fedit-client judge``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import json_option, parse_names

if TYPE_CHECKING:
    from edge_client.evaluation.endpoint import Endpoint
    from edge_client.evaluation.judging import Judging, Prices
    from edge_client.evaluation.kept import Header
    from edge_client.transport.patience import Recovered, Trouble


def _temperature(context: click.Context, parameter: click.Parameter, value: str) -> float | None:
    try:
        return None if value == "none" else float(value)
    except ValueError as error:
        raise click.BadParameter(f"{value!r} is neither a number nor none.", context, parameter) from error


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option(
    "--arms", callback=parse_names, metavar="ONE,OTHER", help="Which two (default: the only two that are there)."
)
@click.option(
    "--endpoint", metavar="URL", help="An OpenAI-compatible judge, like https://HOST/v1 (default: likelihood)."
)
@click.option("--judge-model", metavar="NAME", help="The model that is asked there.")
@click.option("--key-env", metavar="NAME", default="FEDIT_JUDGE_KEY", show_default=True, help="Where the key is.")
@click.option("--key-file", type=click.Path(path_type=Path, dir_okay=False), help="A file that holds the key instead.")
@click.option("--price-in", type=click.FloatRange(0), default=0.0, help="What a million tokens of questions cost.")
@click.option("--price-out", type=click.FloatRange(0), default=0.0, help="What a million tokens of replies cost.")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Judge N of the records, drawn by --seed.")
@click.option(
    "--at-once", type=click.IntRange(1, 64), default=4, show_default=True, help="Questions on their way at a time."
)
@click.option(
    "--timeout", type=click.FloatRange(0.1), default=120.0, show_default=True, help="Seconds a reply may take."
)
@click.option(
    "--temperature", callback=_temperature, default="0", show_default=True, help="Or none, to say nothing of it."
)
@click.option("--resamples", type=click.IntRange(100, 10**6), default=2000, show_default=True, help="Of the bootstrap.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--yes", is_flag=True, help="Send the records without being asked.")
@click.option("--plain", is_flag=True, help="Plain lines instead of a bar.")
@json_option
def command(
    folder: Path,
    arms: tuple[str, ...] | None,
    endpoint: str | None,
    judge_model: str | None,
    key_env: str,
    key_file: Path | None,
    price_in: float,
    price_out: float,
    limit: int | None,
    at_once: int,
    timeout: float,
    temperature: float | None,
    resamples: int,
    seed: int,
    yes: bool,
    plain: bool,
    as_program: bool,
) -> None:
    """Which of two arms answers better, of those that `fedit-client evaluate --out FOLDER` kept.

    With --endpoint a judge scores both answers to each record, in both orders; an arm wins if it is preferred in both.
    That SENDS the records' instructions and both answers away. Without it, nothing leaves this machine: the arm wins
    under which the record's own reference answer is likelier.
    """
    from edge_client.evaluation.endpoint import Endpoint, Key
    from edge_client.evaluation.judging import Judgement, Judging, Prices, pairs_of
    from edge_client.evaluation.kept import Kept, held, read_header
    from edge_client.evaluation.lines import Lines
    from edge_client.evaluation.run import choose
    from edge_client.evaluation.verdicts import judged, likelier
    from edge_client.evaluation.words import verdict_lines
    from fedit_shared.errors import UserError

    from .programs import tell

    header = read_header(folder)
    if header is None:
        raise UserError(f"{folder} holds no evaluation.", advice="Make one with `fedit-client evaluate --out FOLDER`.")
    one, other = _two(header, arms)
    if (endpoint is None) != (judge_model is None):
        raise click.UsageError("--endpoint and --judge-model go together.")
    with held(folder):
        kept = Kept(folder)
        if endpoint is None or judge_model is None:
            results = {"judge": "likelihood"} | likelier(kept, one, other, resamples, seed)
        else:
            shown = _Shown(plain=plain or as_program)
            key = Key.find(key_env, key_file)
            judge = Endpoint(endpoint, judge_model, key, temperature=temperature, timeout=timeout, tell=shown.tell)
            pairs = pairs_of(kept, one, other)
            if not pairs:
                raise UserError(
                    f"{folder} has no record that both {one} and {other} answered.",
                    advice="Have records answered with `fedit-client evaluate --generate N`.",
                )
            chosen = [pairs[place] for place in choose(len(pairs), limit or len(pairs), seed)]
            judgements = Lines(folder / "judgements.jsonl", Judgement)
            judging = Judging(judgements, chosen, address=str(judge.url), model=judge_model, temperature=temperature)
            prices = Prices(price_in, price_out)
            _agree(judging, judge, prices, yes=yes)
            shown.run(judging, judge, prices, at_once)
            results = {"judge": judge_model, "endpoint": str(judge.url)} | judged(judging, resamples, seed)
    results = {"arms": [one, other]} | results
    if as_program:
        tell("Verdict", results)
        return
    for line in verdict_lines(results):
        click.echo(line)


class _Shown:
    """The work with its progress, and what goes wrong meanwhile."""

    def __init__(self, *, plain: bool) -> None:
        from .working import Working

        self._working = Working(plain=plain)

    def run(self, judging: "Judging", judge: "Endpoint", prices: "Prices", at_once: int) -> None:
        import asyncio

        async def ask() -> None:
            async with judge:
                await judging.run(judge, prices, at_once, self._working)

        if judging.open():
            with self._working:
                asyncio.run(ask())

    def tell(self, news: "Trouble | Recovered") -> None:
        from edge_client.transport.patience import Trouble

        if isinstance(news, Trouble):
            self._working.say(f"{news.problem}; next try in {news.seconds:.0f} s.")
        else:
            self._working.say("The judge answers again.")


def _two(header: "Header", arms: tuple[str, ...] | None) -> tuple[str, str]:
    known = list(header.arms)
    chosen = list(reversed(known)) if arms is None and len(known) == 2 else list(arms or ())
    if len(chosen) != 2 or chosen[0] == chosen[1] or set(chosen) - set(known):
        raise click.UsageError(f"Name two arms with --arms ONE,OTHER: there are {', '.join(known)}.")
    return chosen[0], chosen[1]


def _agree(judging: "Judging", judge: "Endpoint", prices: "Prices", *, yes: bool) -> None:
    """Say what would leave this machine, to whom, and what it may cost; go on only if the owner agrees."""
    import sys

    from edge_client.evaluation.judging import estimate

    asks = judging.open()
    if not asks:
        return
    records = len({ask.pair.place for ask in asks})
    prompt, completion = estimate(asks)
    cost = prices.cost(prompt, completion)
    price = f", about {cost:.2f} at your prices" if cost else ""
    lines = [
        f"Leaves this machine: instruction, context and earlier turns of {records} records, and both answers to each.",
        f"To: {judge.url}, model {judge.model}, {'encrypted' if judge.encrypted else 'NOT encrypted'} on the way.",
        f"Stays here: the reference answers. {len(asks)} questions, some {prompt:,} tokens and {completion:,} of "
        f"replies{price}.",
    ]
    for line in lines:
        click.echo(line, err=True)
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("Say --yes if these records may be sent: there is no terminal to ask on.")
    click.confirm("Send them?", abort=True, err=True)
