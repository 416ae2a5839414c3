"""``fedit-bench``: ``run EXPERIMENT.toml`` trains and judges every arm, ``report FOLDER`` tells again, ``export FOLDER
OUT`` writes the models, ``keep FOLDER`` puts the results among those that the documentation shows.

Results lie in a folder: ``results.jsonl`` (one line a finished round, with each record's loss), ``blobs/`` (an adapter
for each), ``held-out.jsonl`` (the records that judge), ``summary.json``, ``table.md`` and figures. Killed at any time,
the same command goes on.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.pages import ROOT
from edge_client.disk import disk_error, disk_errors
from fedit_shared.errors import FeditError

from .answers import answers_file, keep_answers
from .journal import read_journal
from .kept import keep, keep_figures, keep_losses
from .report import summarize, table
from .settings import PRESETS, Experiment, Given, load_experiment

_SEED = 1
"""Of the bootstrap."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    options = parser().parse_args(arguments)
    try:
        if options.command == "run":
            _run(options)
        elif options.command == "report":
            _tell(options.folder, options.resamples)
        elif options.command == "export":
            _export(options)
        elif options.answers is not None:
            name = read_journal(options.folder)[0].name
            print(keep_answers(options.answers, options.answers_to, options.out or answers_file(name)))
        else:
            print(keep(summary_of(options.folder, options.resamples), options.out))
            if options.out is None:
                print(keep_losses(options.folder), *keep_figures(options.folder), sep="\n")
    except FeditError as error:
        print(f"{error.message} {error.advice}".strip().replace("--state", "--out"), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    presets = ", ".join(sorted(path.stem for path in PRESETS.glob("*.toml")))
    whole = argparse.ArgumentParser(prog="fedit-bench", description=__doc__)
    commands = whole.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train and judge every arm of an experiment, or go on")
    run.add_argument("experiment", type=Path, help=f"EXPERIMENT.toml, or one of the presets {presets}")
    run.add_argument("--out", type=Path, help="folder for results (default: build/fedit/NAME)")
    run.add_argument(
        "--data", action="append", metavar="FILE", help="a data file instead of the experiment's; once for each file"
    )
    run.add_argument("--evaluation", help="a file of more records for evaluation, instead of the experiment's")
    run.add_argument("--model", help="the base model instead of the experiment's: a hub id or a folder")
    run.add_argument("--workers", type=_count, metavar="N", help="processes, of which each holds one base model")
    run.add_argument("--ray", action="store_const", const="", help="workers on a new Ray cluster of this machine alone")
    run.add_argument("--ray-address", dest="ray", metavar="ADDRESS", help="workers on the Ray cluster there")
    run.add_argument(
        "--judge",
        action="append",
        metavar="ARM",
        default=[],
        help="judge this arm after each round, past ones too; once for each arm",
    )
    run.add_argument("--quiet", action="store_true", help="show no progress")
    report = commands.add_parser("report", help="make summary, table and figures anew")
    kept = commands.add_parser("keep", help="put results, losses and figures where the documentation shows them")
    kept.add_argument("--out", type=Path, help="another file")
    kept.add_argument(
        "--answers", type=Path, metavar="FOLDER", help="keep what `fedit-client evaluate` left there instead"
    )
    kept.add_argument(
        "--answers-to", metavar="NAME", default="the held-out records", help="what those records are called"
    )
    exported = commands.add_parser("export", help="write each arm's adapter as a PEFT folder with a model card")
    exported.add_argument("--data-license", metavar="NAME", help="the data's licence, for the cards")
    for command in (report, kept, exported):
        command.add_argument("folder", type=Path, help="what `run` wrote to")
        command.add_argument("--resamples", type=_count, default=2000, help="of the bootstrap")
    exported.add_argument("out", type=Path, help="folder for them")
    return whole


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of workers")
    return int(text)


def _run(options: argparse.Namespace) -> None:
    experiment = load_experiment(options.experiment, Given(options.data, options.evaluation, options.model))
    out = options.out or ROOT / "build" / "fedit" / experiment.run.name
    train(experiment, out, workers=options.workers, ray=options.ray, judge=options.judge, quiet=options.quiet)
    _tell(out, experiment.evaluation.resamples)


def train(
    experiment: Experiment,
    out: Path,
    *,
    workers: int | None = None,
    ray: str | None = None,
    judge: Sequence[str] = (),
    quiet: bool = False,
) -> None:
    """Every arm to its end, from where ``out`` says that it is; those named in ``judge`` are judged after each round.
    Raises FeditError."""
    from agg_server.errors import UnavailableError

    from .arms import make_plan, run_arms  # they take torch with them, which a report does not need
    from .hiring import Wanted, hire
    from .lab import open_lab
    from .view import View

    try:
        with View(quiet=quiet) as view, open_lab(experiment, out, view) as lab:
            plan = make_plan(lab)
            with hire(lab, Wanted(workers, ray)) as crew:
                run_arms(lab, plan, crew, judge)
    except UnavailableError as error:  # said to a server's client, whose disk it is not
        cause = error.__cause__
        raise (disk_error(out, cause) if isinstance(cause, OSError) else error) from cause


def _export(options: argparse.Namespace) -> None:
    from .export import export

    done = export(options.folder, options.out, summary_of(options.folder, options.resamples), options.data_license)
    print(*done.folders, sep="\n")
    for arm in done.left:
        print(f"{arm}: clients keep a part of it to themselves, so there is no model for everybody.", file=sys.stderr)


def _tell(folder: Path, resamples: int) -> None:
    summary = summary_of(folder, resamples)
    told = table(summary)
    with disk_errors(folder):
        (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
        (folder / "table.md").write_text(told, encoding="utf-8")
    print(told)
    from .plots import plot

    with disk_errors(folder):
        for path in plot(*read_journal(folder), folder):
            print(path)


def summary_of(folder: Path, resamples: int) -> dict[str, Any]:
    """What a run's folder says. Raises UserError if it is none."""
    header, entries = read_journal(folder)
    return summarize(header, entries, resamples, _SEED)


if __name__ == "__main__":
    sys.exit(main())
