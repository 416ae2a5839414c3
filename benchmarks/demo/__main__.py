"""``python -m benchmarks.demo``: a federation of five on this machine. Exit status 1 if it did not do what it shows."""

import asyncio
import sys
from pathlib import Path

import click
from rich.console import Console

from fedit_shared.errors import FeditError

from .report import print_report
from .run import run
from .settings import Settings


@click.command()
@click.option("--model", help="Hub id or folder; default: SmolLM2-135M-Instruct from PyPI.")
@click.option("--data", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Training records (dolly).")
@click.option("--eval", "evaluation", type=click.Path(path_type=Path, dir_okay=False, exists=True), help="Held out.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/demo"), show_default=True)
def main(model: str | None, data: Path | None, evaluation: Path | None, out: Path) -> None:
    """Five participants, two rounds, two kills; then what came of it, and OUT/report.json."""
    settings = Settings(folder=out.resolve(), model=model, data=data, evaluation=evaluation)
    console = Console()
    try:
        finale = asyncio.run(run(settings, console))
    except FeditError as error:
        raise SystemExit(f"The demo failed: {error} Logs: {out}.") from None
    print_report(finale, console)
    console.print(f"The report: {settings.report}", markup=False, highlight=False, soft_wrap=True)
    for failure in finale.failures:
        console.print(f"FAILED: {failure}", style="red")
    sys.exit(bool(finale.failures))


main()
