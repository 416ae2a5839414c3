"""What a run's arms answer: the folder of a ``fedit-client evaluate --generate`` of its exported adapters, kept beside
its losses and shown below them. Who is better by the answers is not who is better by the loss of a reference."""

import json
import math
from pathlib import Path
from typing import Any

from benchmarks import pages
from benchmarks.machine import machine
from edge_client.disk import disk_errors
from edge_client.evaluation.kept import Kept, read_header
from edge_client.evaluation.report import as_data
from edge_client.evaluation.statistics import Interval
from edge_client.evaluation.verdicts import likelier
from fedit_shared.errors import UserError

from .journal import FEDERATED

MEASURES = ("loss", "rouge_l", "exact_match")


def answers_file(name: str) -> Path:
    """Where an experiment's answers are kept."""
    return pages.RESULTS / f"fedit-{name}-answers.json"


def keep_answers(folder: Path, data: str, out: Path) -> Path:
    """Write to ``out`` what ``fedit-client evaluate --out FOLDER`` found of arms, one of which is named "federated":
    ``arms`` → NAME → each of MEASURES with its interval; ``differences`` → "A - federated" → the same, paired;
    ``likelihood`` → NAME → win, tie, loss of the federation against it by the local judge, and the difference of their
    losses, also of arms that did not answer; ``kept``: when this was, and at which commit: of when and where the
    answers were made the folder says nothing. ``data``: what the records are called. The file. Raises UserError for a
    folder without such answers."""
    header = read_header(folder)
    missing = UserError(
        f"{folder} holds no answers of an arm named {FEDERATED}.",
        advice="Make them with `fedit-client evaluate --generate N --out FOLDER`.",
    )
    if header is None or not (folder / "results.json").exists():
        raise missing
    found = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    arms = found["arms"]
    if FEDERATED not in arms or arms[FEDERATED]["answers"] is None:
        raise missing
    kept, others = Kept(folder), [name for name in arms if name != FEDERATED]
    judged = {loss.arm for loss in kept.losses.values} - {FEDERATED}
    here = machine()
    result = {
        "data": data,
        "sha256": header.data,
        "records": found["records"],
        "without_loss": found["without_loss"],
        "model": Path(header.model).name if Path(header.model).is_dir() else header.model,
        "settings": {name: getattr(header, name) for name in ("max_length", "max_new_tokens", "quantization")},
        "kept": {name: here[name] for name in ("date", "commit")},
        "arms": {
            name: {measure: arm[measure] for measure in MEASURES} | {"answers": arm["answers"]}
            for name, arm in arms.items()
        },
        "differences": {f"{name} - {FEDERATED}": _less(found["differences"], name) for name in others},
        "likelihood": {
            name: likelier(kept, FEDERATED, name, found["resamples"], found["seed"])
            for name in header.arms
            if name in judged
        },
    }
    with disk_errors(out):
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return out


def _less(differences: dict[str, Any], name: str) -> dict[str, Any]:
    """What ``name`` has more than the federation, whichever of the two was named first."""
    if (own := differences.get(f"{name} - {FEDERATED}")) is not None:
        return {measure: own[measure] for measure in MEASURES}
    turned = differences[f"{FEDERATED} - {name}"]
    return {measure: _turned(turned[measure]) for measure in MEASURES}


def _turned(found: dict[str, float] | None) -> dict[str, float] | None:
    if found is None:
        return None
    return as_data(Interval(*(0.0 - found.get(key, math.nan) for key in ("value", "high", "low"))))


def section(result: dict[str, Any] | None) -> str:
    """Markdown; "" without answers."""
    if result is None:
        return ""
    settings, own = result["settings"], result["arms"][FEDERATED]["answers"]
    names = dict.fromkeys((*result["arms"], *result["likelihood"]))
    head = (
        "arm", "cut off", "ROUGE-L", "less federated", "exact match", "less federated",
        "loss less federated's", "federated likelier", "as likely", "less likely",
    )  # fmt: skip
    return (
        f"\n**Answers** to {own['records']} records of {result['data']}, greedy, of up to {settings['max_new_tokens']} "
        f"tokens, quantization {settings['quantization']}; exact match where a reference has at most five words, "
        f"{own['checkable']} of them. The last four columns are of all {result['records']} records, up to "
        f"{settings['max_length']:,} tokens long: the local judge tells on which share of them the federated model "
        "gives the reference a higher likelihood than the arm, by 0.01 nats a token. "
        "In brackets: 95 % intervals, of shares by Wilson. Cut off are answers that had not ended by then. "
        f"Put together on {result['kept']['date']} at commit {result['kept']['commit']}; when, where and with which "
        "versions the answers were made is not recorded.\n\n"
        f"{pages.table(head, [_row(name, result) for name in names])}"
    )


def _row(name: str, result: dict[str, Any]) -> list[str]:
    own, less = result["arms"].get(name, {}), result["differences"].get(f"{name} - {FEDERATED}", {})
    judged = result["likelihood"].get(name, {})
    figures = [_cell(found.get(each), sign) for each in MEASURES[1:] for found, sign in ((own, ""), (less, "+"))]
    more = _cell(_turned(judged.get("difference")), "+")
    said = own.get("answers")
    cut = f"{said['cut_off']} of {said['records']}" if said else ""
    return [name, cut, *figures, more, *(_cell(judged.get(verdict), "", 2) for verdict in ("win", "tie", "loss"))]


def _cell(found: dict[str, float] | None, sign: str, digits: int = 3) -> str:
    if found is None:
        return ""
    if "low" not in found:
        return f"{found['value']:{sign}.{digits}f}"
    value, low, high = (f"{found[key]:{sign}.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"
