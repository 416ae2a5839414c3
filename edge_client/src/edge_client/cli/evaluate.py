"""``fedit-client evaluate``."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from .options import DATA, MODEL, data_options, json_option, parse_names, parse_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edge_client.data import DataSource, Records
    from edge_client.evaluation.kept import Arm


@click.command()
@click.argument("model", type=MODEL)
@click.argument("adapters", nargs=-1, type=MODEL, metavar="[ADAPTER|NAME=ADAPTER]…")
@click.option(
    "--data",
    type=DATA,
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
@click.option(
    "--tasks",
    "task_names",
    callback=parse_names,
    metavar="NAME,…",
    help="Tasks of lm-evaluation-harness, like hellaswag (pip install lm-eval; their data come from the hub).",
)
@click.option(
    "--include-path",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="A folder with tasks of your own. They may run code.",
)
@click.option("--task-limit", type=click.IntRange(1), metavar="N", help="Only the first N documents of each task.")
@click.option("--max-length", type=click.IntRange(2), default=512, show_default=True, help="Tokens a record is cut to.")
@click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), help="Keep losses and answers; go on from them."
)
@click.option("--resamples", type=click.IntRange(100, 10**6), default=2000, show_default=True, help="Of the bootstrap.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option(
    "--quantization",
    type=click.Choice(["int8", "nf4", "none"]),
    default="int8",
    show_default=True,
    help="What the base is held in: as it was in training, if losses are to be compared.",
)
@click.option("--revision", help="The model's commit on the hub.")
@click.option("--memory", callback=parse_size, metavar="SIZE", help="What it may use (default: 9/10 of what is free).")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@click.option("--plain", is_flag=True, help="Plain lines instead of a bar.")
@json_option
def command(
    model: str,
    adapters: tuple[str, ...],
    data: str | None,
    fields: dict[str, str],
    container: Literal["jsonl", "json", "csv", "parquet"] | None,
    bad_lines: Literal["refuse", "skip"] | None,
    generate: int | None,
    max_new_tokens: int,
    exact: tuple[str, ...] | None,
    task_names: tuple[str, ...] | None,
    include_path: Path | None,
    task_limit: int | None,
    max_length: int,
    out: Path | None,
    resamples: int,
    seed: int,
    quantization: Literal["int8", "nf4", "none"],
    revision: str | None,
    memory: int | None,
    device: Literal["auto", "cpu", "cuda"],
    plain: bool,
    as_program: bool,
) -> None:
    """How good MODEL is on records that it was not trained on: alone, and with each ADAPTER (a PEFT folder).

    Loss and perplexity of the reference answers and, with --generate, ROUGE-L and exact match of its own, greedy ones;
    overall and by category, with 95 % intervals by bootstrap over the records, differences paired by record. With --out
    it goes on after a kill, and `fedit-client judge` compares the answers."""
    import asyncio
    import json
    import tempfile
    from contextlib import nullcontext
    from functools import partial

    from edge_client.data import DataSource, located
    from edge_client.disk import Disk
    from edge_client.evaluation.kept import BASE, Arm, Header, Kept, held
    from edge_client.evaluation.report import summarize
    from edge_client.evaluation.run import choose, evaluate
    from edge_client.evaluation.tasks import Tasks, compare, missing, run_tasks
    from edge_client.evaluation.words import as_lines
    from edge_client.inference import Open
    from edge_client.paths import absolute
    from edge_client.training.model_files import named_folder
    from fedit_shared.messages import ModelRef

    from .programs import tell
    from .working import Working

    if data is None and not task_names:
        raise click.UsageError("Name held-out records with --data FILE, or --tasks, or both.")
    folder = named_folder(model)
    arms = _named_apart([Arm(name=BASE), *map(Arm.of, adapters)])
    names = [arm.name for arm in arms]
    tasks = Tasks(task_names or (), str(absolute(include_path)) if include_path else None, task_limit)
    loaded = None
    if data is not None:
        source = DataSource(path=located(data), fields=fields, container=container or "auto", bad=bad_lines or "refuse")
        loaded = _load(source, exact, rouge=generate is not None)
    records = () if loaded is None else loaded.records
    answered = choose(len(records), generate or 0, seed)
    settings = Open(
        model=ModelRef(id=model, revision=revision or ""),
        model_folder=None if folder is None else str(folder.absolute()),
        memory_bytes=memory,
        device=device,
        quantization=(quantization,),
    )
    with tempfile.TemporaryDirectory() if out is None else nullcontext(str(out)) as place, held(Path(place)) as kept_in:
        kept = Kept(kept_in)
        kept.claim(Header.of(settings, loaded, max_length, max_new_tokens), arms)
        with Working(plain=plain or as_program) as working:
            then = partial(run_tasks, arms=arms, tasks=tasks, done=kept.tasks, progress=working)
            work = evaluate(
                settings,
                arms,
                records,
                kept,
                max_length=max_length,
                answered=answered,
                max_new_tokens=max_new_tokens,
                progress=working,
                told=working.told,
                then=then if missing(arms, tasks, kept.tasks) else None,
            )
            asyncio.run(work)
        found = summarize(kept, names, records, answered, exact, resamples=resamples, seed=seed)
        results = {
            "model": model,
            "revision": revision or "",
            "data": "" if loaded is None else loaded.sha256.hex(),
            **found,
            "tasks": compare(names, tasks, kept.tasks, resamples=resamples, seed=seed),
        }
        text = json.dumps(results, ensure_ascii=False)
        Disk().write(kept_in / "results.json", text.encode() + b"\n")
    if as_program:
        tell("Evaluation", results)
        return
    for line in as_lines(results):
        click.echo(line)
    if out is not None:
        click.echo(f"Kept in {out}: losses, answers, results.json.")


def _load(source: "DataSource", exact: tuple[str, ...] | None, *, rouge: bool) -> "Records":
    """The records. What would be missed only after hours of work is found now: a category's name, a library."""
    from edge_client.data import load_records, pin
    from edge_client.evaluation.metrics import rouge_l
    from fedit_shared.errors import UserError

    from .fetching import Fetched

    loaded = load_records(pin(source, Fetched(source.path)))
    if rouge:
        rouge_l("", "")
    if unknown := set(exact or ()) - loaded.categories().keys():
        known = ", ".join(loaded.categories())
        raise UserError(f"No record is of category {min(unknown)}.", advice=f"There are {known}.")
    return loaded


def _named_apart(arms: "Sequence[Arm]") -> "Sequence[Arm]":
    names = [arm.name for arm in arms]
    for name in names:
        if names.count(name) > 1:
            raise click.UsageError(f"Two adapters are named {name}: name them apart with NAME=FOLDER.")
    return arms
