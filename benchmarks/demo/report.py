"""The demo's result: ``report.json``, and the same in a few tables."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from edge_client.inference import Evaluation

from .evaluation import Answers
from .proof import sum_is_exact
from .settings import LOSSES, Settings
from .story import Story


@dataclass(frozen=True)
class Finale:
    """The report, and what only a person wants to see."""

    report: dict[str, Any]
    evaluations: Sequence[Evaluation]
    answers: Answers

    @property
    def failures(self) -> list[str]:
        """Why the demo failed; empty if it passed."""
        report = self.report
        found = [f"round {r['round']}: {r['outcome']}" for r in report["rounds"] if r["outcome"] != "published"]
        found += [f"round {r['round']}: the sum is not exact" for r in report["rounds"] if not r["sum_exact"]]
        if not report["eval_loss_after"] < report["eval_loss_before"]:
            found.append("the held-out loss did not fall")
        for loss in LOSSES:
            if {"client": loss.name, "phase": loss.phase} not in report["rounds"][loss.round - 1]["dropped"]:
                found.append(f"round {loss.round}: {loss.name} was not lost in {loss.phase}: the demo shows too little")
        return found


def build_report(
    settings: Settings,
    model: str,
    story: Story,
    rounds: Sequence[dict[str, Any]],
    evaluations: Sequence[Evaluation],
    answers: Answers,
    adapter: Path,
) -> Finale:
    """Put the report together and write it to ``settings.report``."""
    names = {player.device: player.name for player in story.players.values()}
    report = {
        "model": model,
        "clients": len(story.players),
        "eval_loss_before": evaluations[0].loss,
        "eval_loss_after": evaluations[-1].loss,
        "eval_loss_by_category": {"before": evaluations[0].by_category(), "after": evaluations[-1].by_category()},
        "adapter": str(adapter),
        "rounds": [
            {
                "round": round_["round"],
                "outcome": round_["outcome"],
                "roster": [names[device] for cohort in round_["cohorts"] for device in cohort["roster"]],
                "survivors": [names[device] for cohort in round_["cohorts"] for device in cohort["survivors"]],
                "dropped": [{"client": names[drop["device"]], "phase": drop["phase"]} for drop in round_["dropped"]],
                "sum_exact": bool(round_["cohorts"])
                and all(cohort["sum"] and sum_is_exact(settings, cohort, names) for cohort in round_["cohorts"]),
                "eval_loss": evaluation.loss,
                "bytes_up_per_client": {
                    player.name: player.bytes_up[round_["round"]]
                    for player in story.players.values()
                    if player.bytes_up.get(round_["round"])
                },
                "seconds": round_["seconds"],
            }
            for round_, evaluation in zip(rounds, evaluations[1:], strict=True)
        ],
    }
    settings.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return Finale(report, evaluations, answers)


def print_report(finale: Finale, console: Console) -> None:
    """The same for a person."""
    report = finale.report
    losses = Table(title="Held-out loss, nats per response token", title_justify="left")
    losses.add_column("category")
    for label in ("base model", *(f"after round {r['round']}" for r in report["rounds"])):
        losses.add_column(label, justify="right")
    tables = [evaluation.by_category() for evaluation in finale.evaluations]
    for category in tables[0]:
        losses.add_row(category, *(f"{table[category]:.3f}" for table in tables))
    losses.add_section()
    losses.add_row("all", *(f"{evaluation.loss:.4f}" for evaluation in finale.evaluations))
    console.print(losses)

    rounds = Table(title="Rounds", title_justify="left")
    for column in ("round", "in the sum", "dropped", "masked sum = plain sum", "MB up per client", "seconds"):
        rounds.add_column(column)
    for r in report["rounds"]:
        sent = r["bytes_up_per_client"].values()
        rounds.add_row(
            str(r["round"]),
            f"{len(r['survivors'])} of {len(r['roster'])}",
            ", ".join(f"{drop['client']} ({drop['phase']})" for drop in r["dropped"]) or "nobody",
            "bit for bit" if r["sum_exact"] else "NO",
            f"{max(sent, default=0) / 1e6:.2f}",
            f"{r['seconds']:.0f}",
        )
    console.print(rounds)

    answers = finale.answers
    console.print("One held-out instruction", style="bold")
    for label, text in (
        ("instruction", answers.instruction),
        ("reference", answers.reference),
        ("base model", answers.base),
        ("federated", answers.federated),
    ):
        console.print(f"  {label + ':':<13}{text!r}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"The adapter, as a PEFT folder: {report['adapter']}", markup=False, highlight=False, soft_wrap=True)
