"""``fedit-client evaluate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from .options import data_options, parse_names, parse_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_client.evaluation.kept import Arm


@click.command()
@click.argument("model")
@click.argument("adapters", nargs=-1, metavar="[ADAPTER|NAME=ADAPTER]…")
@click.option(
    "--data",
    required=True,
    metavar="FILE|hf:OWNER/NAME",
    help="Held-out records: JSON lines, JSON, CSV, Parquet, or a data set of the hub.",
)
@data_options
@click.option("--generate", type=click.IntRange(1), metavar="N", help="Have N records, drawn by --seed, answered too.")
@click.option("--max-new-tokens", type=click.IntRange(1, 2**16), default=128, show_default=True, help="Of an answer.")
@click.option(
    "--exact",
    callback=parse_names,
    metavar="CATEGORY,…",
    help="Whose answers are right or wrong by exact match (default: records with a reference of five words or less).",
)
@click.option("--max-length", type=click.IntRange(2), default=512, show_default=True, help="Tokens a record is cut to.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Keep losses and answers; go on from them."
)
@click.option("--resamples", type=click.IntRange(100, 10**6), default=2000, show_default=True, help="Of the bootstrap.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--revision", help="The model's commit on the hub.")
@click.option("--memory", callback=parse_size, metavar="SIZE", help="What it may use (default: 9/10 of what is free).")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--plain", is_flag=True, help="Plain lines instead of a bar.")
@click.option("--json", "as_program", is_flag=True, help="One JSON object, for programs.")
def command(
    model: str,
    adapters: tuple[str, ...],
    data: str,
    fields: dict[str, str],
    container: Literal["jsonl", "json", "csv", "parquet"] | None,
    bad_lines: Literal["refuse", "skip"] | None,
    generate: int | None,
    max_new_tokens: int,
    exact: tuple[str, ...] | None,
    max_length: int,
    out: Path | None,
    resamples: int,
    seed: int,
    revision: str | None,
    memory: int | None,
    device: Literal["auto", "cpu", "cuda"],
    plain: bool,
    as_program: bool,
) -> None:
    """How good MODEL is on records that it was not trained on: alone, and with each ADAPTER (a PEFT folder).

    Loss and perplexity of the reference answers and, with --generate, ROUGE-L and exact match of its own, greedy ones;
    overall and by category, with 95 % intervals by bootstrap over the records, differences paired by record. The base
    is held in 8 bits, as in training. With --out it goes on after a kill, and `fedit-client judge` compares the
    answers."""
    import asyncio
    import json
    import tempfile
    from contextlib import nullcontext

    from edge_client.data import DataSource, load_records, located, pin
    from edge_client.disk import Disk
    from edge_client.evaluation.kept import BASE, Arm, Header, Kept, held
    from edge_client.evaluation.metrics import rouge_l
    from edge_client.evaluation.report import summarize
    from edge_client.evaluation.run import choose, evaluate
    from edge_client.evaluation.words import as_lines
    from edge_client.inference import Open
    from edge_client.training.model_files import named_folder
    from fedit_shared.errors import UserError
    from fedit_shared.messages import ModelRef

    from .fetching import Fetched
    from .working import Working

    folder = named_folder(model)
    arms = _named_apart([Arm(name=BASE), *map(Arm.of, adapters)])
    source = DataSource(path=located(data), fields=fields, container=container or "auto", bad=bad_lines or "refuse")
    loaded = load_records(pin(source, Fetched(data)))
    answered = choose(len(loaded.records), generate, seed) if generate else []
    if answered:
        rouge_l("", "")  # raises before hours of work if it cannot be scored
    if unknown := set(exact or ()) - loaded.categories().keys():
        raise UserError(
            f"No record is of category {min(unknown)}.", advice=f"There are {', '.join(loaded.categories())}."
        )
    settings = Open(
        model=ModelRef(id=model, revision=revision or ""),
        model_folder=None if folder is None else str(folder.absolute()),
        memory_bytes=memory,
        device=device,
    )
    with tempfile.TemporaryDirectory() if out is None else nullcontext(str(out)) as place, held(Path(place)) as kept_in:
        kept = Kept(kept_in)
        kept.claim(Header.of(settings, loaded, max_length, max_new_tokens), arms)
        with Working(plain=plain or as_program) as working:
            work = evaluate(
                settings,
                arms,
                loaded.records,
                kept,
                max_length=max_length,
                answered=answered,
                max_new_tokens=max_new_tokens,
                progress=working,
                told=working.told,
            )
            asyncio.run(work)
        names = [arm.name for arm in arms]
        results = {"model": model, "revision": revision or "", "data": loaded.sha256.hex()} | summarize(
            kept, names, loaded.records, answered, exact, resamples=resamples, seed=seed
        )
        text = json.dumps(results, ensure_ascii=False)
        Disk().write(kept_in / "results.json", text.encode() + b"\n")
    for line in [text] if as_program else as_lines(results):
        click.echo(line)
    if out is not None and not as_program:
        click.echo(f"Kept in {out}: losses, answers, results.json.")


def _named_apart(arms: "Sequence[Arm]") -> "Sequence[Arm]":
    names = [arm.name for arm in arms]
    for name in names:
        if names.count(name) > 1:
            raise click.UsageError(f"Two adapters are named {name}: name them apart with NAME=FOLDER.")
    return arms
