"""An adapter version's model card: what it is, how it came about and what was kept private, in the hub's own format.

Everything comes from the database and the settings, so that the same version gives the same bytes.
"""

import re
import time
from collections.abc import Sequence
from typing import NamedTuple

from fedit_shared import adapter
from fedit_shared.messages import TaskSpec
from fedit_shared.parameters import RECORDS_PER_WEIGHT, CohortParameters

from ..config import Config, is_hub_id
from ..rounds.report import CohortReport, RoundReport
from ..store import AdapterVersion
from .markup import code, quoted, table
from .results import Results, shown

_TAGS = ("federated-learning", "instruction-tuning", "lora", "peft")
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}")


class Story(NamedTuple):
    """How a version came about: ``rounds`` are those that led to it, oldest first, each with the version it made."""

    version: AdapterVersion
    rounds: Sequence[tuple[AdapterVersion, RoundReport]]

    @property
    def survivors(self) -> int:
        """Devices whose update is in it, each counted once."""
        return len({device for _, report in self.rounds for cohort in opened(report) for device in cohort.survivors})


def lineage(versions: Sequence[AdapterVersion], reports: Sequence[RoundReport], version: AdapterVersion) -> Story:
    """The story of ``version``: what a rollback left behind is not in it."""
    by_number, by_round = {each.version: each for each in versions}, {each.round: each for each in reports}
    found, at = [], version
    while at.round is not None and at.parent is not None:
        found.append((at, by_round[at.round]))
        at = by_number[at.parent]
    return Story(version, found[::-1])


def opened(report: RoundReport) -> list[CohortReport]:
    """The cohorts whose sums are in a round's version."""
    return [cohort for cohort in report.cohorts if cohort.outcome == "published"]


def write_card(
    story: Story, task: TaskSpec, config: Config, results: Results | None = None, data_license: str | None = None
) -> str:
    """README.md of the version."""
    parts = [
        _front(task, data_license),
        f"# {code(task.name)}, version {story.version.version}",
        _what(story, task),
        "## How it was trained",
        _training(task, config),
        _rounds(story, task.max_weight),
        "## What was kept private",
        _privacy(story, config),
    ]
    if data_license is not None:
        told = f"The operator names the licence of the training data as {code(data_license)}."
        parts += ["## Data", f"{told} The server never saw the data and cannot check that."]
    if results is not None:
        parts += ["## Results", shown(results)]
    return "\n\n".join(parts) + "\n"


def _front(task: TaskSpec, data_license: str | None) -> str:
    """The hub's metadata."""
    lines = ["---"]
    if is_hub_id(task.model.id):
        lines += [f"base_model: {quoted(task.model.id)}", "base_model_relation: adapter"]
    lines.append("library_name: peft")
    lines += license_lines(data_license)
    return "\n".join([*lines, "pipeline_tag: text-generation", "tags:", *(f"- {tag}" for tag in _TAGS), "---"])


def license_lines(data_license: str | None) -> list[str]:
    """The hub's metadata about the data's licence, if it is named."""
    if data_license is None:
        return []
    if _LICENSE.fullmatch(data_license.lower()) is not None:
        return [f"license: {quoted(data_license.lower())}"]
    return [f"license: {quoted('other')}", f"license_name: {quoted(data_license)}"]


def _what(story: Story, task: TaskSpec) -> str:
    revision = f" at revision {code(task.model.revision)}" if task.model.revision else ""
    made = "as it was before any round"
    if story.rounds:
        made = f"after {len(story.rounds)} rounds with {story.survivors} devices in all"
    return (
        f"A LoRA adapter with {adapter.size(task.tensors):,} values for {code(task.model.id)}{revision}, {made}: "
        "federated instruction tuning, in which each device trains on records that stay with it and the server only "
        "learns a sum of updates ([arXiv 2305.05644](https://arxiv.org/abs/2305.05644)). "
        f"SHA-256 of `{adapter.FILE_NAME}`: `{story.version.adapter.hex()}`."
    )


def _training(task: TaskSpec, config: Config) -> str:
    training, step = task.training, config.server_step
    amounts = {"epochs": training.epochs, "steps": training.steps, "minutes": training.minutes}
    amount = next(f"{value:g} {name}" for name, value in amounts.items() if value is not None)
    learned = "all of it" if training.train_on_inputs else "its answer"
    rows = [
        ("local work a round", f"{amount}, {training.batch_size} records a step"),
        ("learning rate", f"{training.learning_rate:g}, {training.warmup_steps} steps of warm-up"),
        ("weight decay, gradient norm", f"{training.weight_decay:g}, at most {training.max_grad_norm:g}"),
        ("record", f"up to {training.max_length} tokens, loss on {learned}"),
        ("base model held in", " or ".join(training.quantization)),
        ("held near the published adapter", f"FedProx, {task.proximal:g}" if task.proximal else "no"),
        ("server's step", f"{code(step.optimizer)}, learning rate {step.learning_rate:g}"),
    ]
    return "By the settings as they stand now; a round may have had others.\n\n" + table(["", ""], rows)


def _rounds(story: Story, max_weight: int) -> str:
    if not story.rounds:
        return "No round has led to it: it is the adapter that the federation began with."
    rows = []
    for version, report in story.rounds:
        cohorts = opened(report)
        weight = sum(cohort.total_weight for cohort in cohorts)
        losses = [(cohort.total_weight, cohort.loss) for cohort in cohorts if cohort.loss is not None]
        rows.append(
            [
                str(report.round),
                str(version.version),
                time.strftime("%Y-%m-%d", time.gmtime(version.created)),
                " + ".join(str(len(cohort.survivors)) for cohort in cohorts),
                " + ".join(str(len(cohort.roster)) for cohort in cohorts),
                str(weight),
                f"{sum(w * value for w, value in losses) / weight:.4f}" if losses and weight else "",
                "" if report.relative_error is None else f"{report.relative_error:.2%}",
            ]
        )
    head = ["round", "version", "ended", "devices in the sum", "in the cohort", "weight", "loss", "quantization error"]
    weight_is = "1, however many records it has"
    if max_weight > 1:
        weight_is = f"its records / {RECORDS_PER_WEIGHT}, rounded up, at most {max_weight}"
    return (
        f"{table(head, rows)}\n\nSeveral cohorts are joined with +. A device's weight, by the settings as they stand "
        f"now, is {weight_is}. Loss: mean over the devices' own records while they were "
        "trained on, in nats a token, before the step. Quantization error: of the update's norm."
    )


def _privacy(story: Story, config: Config) -> str:
    cohorts = [cohort for _, report in story.rounds for cohort in opened(report)]
    sizes = sorted({len(cohort.roster) for cohort in cohorts})
    summed = opening = ""
    bits = "16 or 24" if config.round.slot_bits == "auto" else config.round.slot_bits
    if cohorts:
        summed = f" The smallest sum was over {min(len(cohort.survivors) for cohort in cohorts)} devices."
        needed = ", ".join(f"{CohortParameters(size).threshold} of {size}" for size in sizes)
        opening = f" Members whose answers opened a sum: {needed}."
    return "\n".join(
        [
            f"- **Secure aggregation**: updates were masked on the devices; only sums of cohorts were opened.{summed}",
            f"- **Cohorts** of at least {config.round.cohort_min} devices, by the settings as they stand now.{opening}",
            f"- **Values** are clipped and rounded to sums of {bits} bits, by the same settings.",
            "- **No differential privacy.** The sums, and this adapter, can give away something of the records that "
            "went into them, most in a small cohort.",
            "- The operator knows which device keys took part, and may have invented some of them.",
        ]
    )
