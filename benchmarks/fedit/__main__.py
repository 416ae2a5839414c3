"""``python -m benchmarks.fedit``: ``run EXPERIMENT.toml`` trains and judges every arm, ``report FOLDER`` tells again.

Results lie in a folder: ``results.jsonl`` (one line a finished round, with each record's loss), ``blobs/`` (an adapter
for each), ``summary.json``, ``table.md`` and figures. Killed at any time, the same command goes on.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from fedit_shared.errors import FeditError

from .journal import read_journal
from .report import summarize, table
from .settings import PRESETS, Experiment, Given, load_experiment

ROOT = Path(__file__).parents[2]
_SEED = 1
"""Of the bootstrap."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "run":
            _run(options)
        else:
            _tell(options.folder, options.resamples)
    except FeditError as error:
        print(f"{error.message} {error.advice}".strip(), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("Stopped. The same command goes on from here.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    presets = ", ".join(sorted(path.stem for path in PRESETS.glob("*.toml")))
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fedit", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="train and judge every arm of an experiment, or go on")
    run.add_argument("experiment", type=Path, help=f"EXPERIMENT.toml, or one of the presets {presets}")
    run.add_argument("--out", type=Path, help="folder for results (default: build/fedit/NAME)")
    run.add_argument("--data", nargs="+", help="data files instead of the experiment's")
    run.add_argument("--evaluation", help="a file of more records for evaluation, instead of the experiment's")
    run.add_argument("--model", help="the base model instead of the experiment's: a hub id or a folder")
    run.add_argument("--workers", type=_count, metavar="N", help="processes, of which each holds one base model")
    run.add_argument("--ray", nargs="?", const="", metavar="ADDRESS", help="workers on a Ray cluster, or on a new one")
    run.add_argument("--quiet", action="store_true", help="show no progress")
    report = commands.add_parser("report", help="make summary, table and figures anew")
    report.add_argument("folder", type=Path, help="what `run` wrote to")
    report.add_argument("--resamples", type=int, default=2000, help="of the bootstrap")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of workers")
    return int(text)


def _run(options: argparse.Namespace) -> None:
    experiment = load_experiment(options.experiment, Given(options.data, options.evaluation, options.model))
    out = options.out or ROOT / "build" / "fedit" / experiment.run.name
    train(experiment, out, workers=options.workers, ray=options.ray, quiet=options.quiet)
    _tell(out, experiment.evaluation.resamples)


def train(
    experiment: Experiment, out: Path, *, workers: int | None = None, ray: str | None = None, quiet: bool = False
) -> None:
    """Every arm to its end, from where ``out`` says that it is. Raises FeditError."""
    from .arms import make_plan, run_arms  # they take torch with them, which a report does not need
    from .hiring import Wanted, hire
    from .lab import open_lab
    from .view import View

    with View(quiet=quiet) as view, open_lab(experiment, out, view) as lab:
        plan = make_plan(lab)
        with hire(lab, Wanted(workers, ray)) as crew:
            run_arms(lab, plan, crew)


def _tell(folder: Path, resamples: int) -> None:
    header, entries = read_journal(folder)
    summary = summarize(header, entries, resamples, _SEED)
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    told = table(summary)
    (folder / "table.md").write_text(told + "\n", encoding="utf-8")
    print(told)
    from .plots import plot

    for path in plot(header, entries, folder):
        print(path)


if __name__ == "__main__":
    sys.exit(main())
