"""``fedit-server status`` and ``rounds``."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .options import folder_argument, json_option, open_folder

if TYPE_CHECKING:
    from agg_server.rounds.report import RoundReport
    from agg_server.storage.kinds import Storage


@click.command("status")
@folder_argument
@json_option
def status_command(folder: Path, as_json: bool) -> None:
    """Say how the federation stands: round, phase, who is here."""
    from agg_server.config import GO_ON
    from agg_server.durations import in_words
    from agg_server.overview import overview

    from .tables import print_json

    layout, config, database = open_folder(folder)
    seen = overview(layout, config, database)
    if as_json:
        print_json(seen)
        return
    click.echo(f"{seen.name}: {'being served' if seen.served else 'not being served'}, at {seen.address}")
    click.echo(f"adapter version {seen.version}; {seen.devices} devices have joined")
    if seen.next_from != seen.version:
        click.echo(f"the next round begins from version {seen.next_from}")
    if seen.finished:
        click.echo(f"{config.federation.finish} {GO_ON}")
    round = seen.round
    if round is None:
        click.echo("no round has been opened yet")
        return
    click.echo(f"round {round.round}: {round.outcome or round.phase}, for {in_words(round.seconds)}")
    click.echo(f"  {round.offered} devices got the task, {round.mustered} have mustered")
    for cohort in round.cohorts:
        counts = f"{len(cohort.roster)} members, {len(cohort.dealt)} uploads, {len(cohort.answered)} answers"
        if cohort.until is not None:
            counts += f"; at most until {time.strftime('%a %H:%M:%S', time.localtime(cohort.until))}"
        click.echo(f"  cohort {cohort.cohort[:8]}: {cohort.outcome or cohort.phase}; {counts}")


@click.command("rounds")
@folder_argument
@json_option
def rounds_command(folder: Path, as_json: bool) -> None:
    """List all rounds: who took part, who was dropped and when, what came of it."""
    from agg_server.overview import all_rounds
    from agg_server.rounds.report import weighted_mean

    from .tables import print_json, print_table

    layout, config, database = open_folder(folder)
    reports = all_rounds(layout, config, database)
    if as_json:
        blobs = layout.blobs(config)
        print_json([_row(report, blobs) for report in reports])
        return
    print_table(
        (
            "round",
            "outcome",
            "version",
            "roster",
            "in the sum",
            "dropped",
            "seconds",
            "loss",
            "update norm",
            "quantization error",
        ),
        [
            (
                str(report.round),
                report.outcome or report.phase,
                _number(report.version),
                str(sum(len(cohort.roster) for cohort in report.cohorts)),
                "" if report.summed is None else str(report.summed),
                str(len(report.dropped)),
                f"{report.seconds:.0f}",
                _number(weighted_mean(report.cohorts, "loss")),
                _number(report.update_norm),
                "" if report.relative_error is None else f"{report.relative_error:.2%}",
            )
            for report in reports
        ],
    )
    for report in reports:
        if report.reason:
            click.echo(f"round {report.round} {report.outcome}: {report.reason}")
        for cohort in report.cohorts:
            if cohort.reason not in ("", report.reason):
                name = f"round {report.round}, cohort {cohort.cohort[:8]}"
                click.echo(f"{name} {cohort.outcome or cohort.phase}: {cohort.reason}")
        for drop in report.dropped:
            counts = ", which counts" if drop.device in report.counted else ""
            click.echo(f"round {report.round}: {drop.device[:16]} dropped in {drop.phase}: {drop.reason}{counts}")


def _row(report: "RoundReport", blobs: "Storage") -> dict[str, Any]:
    import msgspec

    from agg_server.rounds.report import weighted_mean
    from agg_server.storage.rooms import sum_key

    row: dict[str, Any] = msgspec.to_builtins(report)
    row["loss"] = weighted_mean(report.cohorts, "loss")
    row["clipped"] = weighted_mean(report.cohorts, "clipped")
    row["total_weight"] = sum(cohort.total_weight for cohort in report.cohorts)
    row["relative_error"] = report.relative_error
    for cohort in row["cohorts"]:
        opened = cohort["loss"] is not None
        cohort["sum"] = blobs.place(sum_key(bytes.fromhex(cohort["cohort"]))) if opened else None
    return row


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
