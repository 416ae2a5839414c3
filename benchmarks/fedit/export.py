"""The models of a run as PEFT folders, each with a model card, for whatever comes next: ``fedit-client evaluate``
on the same held-out records, ``chat``, ``merge``, or ``PeftModel.from_pretrained``."""

from pathlib import Path
from typing import Any, NamedTuple

from agg_server.adapters.card import license_lines
from agg_server.adapters.export import export as write_folder
from agg_server.adapters.markup import code, quoted
from agg_server.adapters.markup import table as cells
from agg_server.storage.blobs import Blobs
from fedit_shared.errors import UserError

from .journal import BASE, CENTRALIZED, FEDERATED, Entry, Header, read_journal
from .report import arms_table


class Exported(NamedTuple):
    """The folders that were written, and the arms that have none: where clients keep tensors of their own, there is no
    model for everybody."""

    folders: list[Path]
    left: list[str]


def slug(arm: str) -> str:
    """An arm's name as that of a folder: ``federated (ffa-lora)`` is ``federated-ffa-lora``."""
    return arm.replace("(", "").replace(")", "").replace(" ", "-")


def export(folder: Path, out: Path, summary: dict[str, Any], data_license: str | None = None) -> Exported:
    """Write each arm's last adapter of the run in ``folder`` to a folder of its own in ``out``. Raises UserError and
    CorruptError."""
    header, entries = read_journal(folder)
    if not header.adapter_config:
        raise UserError(f"{folder} was written before runs could be exported.", advice="Run the experiment anew.")
    last = {entry.arm: entry for entry in sorted(entries, key=lambda entry: entry.round) if entry.arm != BASE}
    done = Exported([], [])
    for arm, entry in last.items():
        if entry.private:
            done.left.append(arm)
            continue
        card = _card(header, entry, summary, data_license)
        place = out / slug(arm)
        write_folder(Blobs(folder / "blobs"), header.adapter_config, bytes.fromhex(entry.adapter), place, card)
        done.folders.append(place)
    return done


def _card(header: Header, entry: Entry, summary: dict[str, Any], data_license: str | None) -> str:
    settings = header.settings
    model, data = code(settings["model"]["id"]), ", ".join(map(code, settings["data"]["files"]))
    told = f"The data's licence, as the researcher names it: {code(data_license)}." if data_license else ""
    parts = [
        _front(settings["model"]["id"], data_license),
        f"# {code(header.name)}: {code(entry.arm)}",
        f"A LoRA adapter for {model}, {_how(header, entry)}. A simulation by `fedit-bench` on one data set ({data}), "
        f"dealt to {len(header.holdings)} clients: no record of it was kept private, and no differential privacy was "
        f"applied. {told}".strip(),
        "## Settings",
        "Of the experiment; arms of other strategies are named by them.\n\n" + cells(["", ""], _rows(settings)),
        "## Results",
        _results(header, entry, summary),
    ]
    return "\n\n".join(parts).strip() + "\n"


def _results(header: Header, entry: Entry, summary: dict[str, Any]) -> str:
    """Of this adapter only, beside the base model."""
    short = "" if entry.round == header.rounds else "**Not finished**: the run had not come to its end. "
    if entry.judged is None:
        return f"{short}This adapter was not judged."
    records, names = sum(summary["judged"].values()), [arm for arm in (BASE, entry.arm) if arm in summary["arms"]]
    told = f"{short}Loss of the answers to {records} held-out records, in nats a token."
    return f"{told}\n\n{arms_table(summary, names)}"


def _how(header: Header, entry: Entry) -> str:
    trained = f"after {entry.round} of {header.rounds} rounds and {entry.tokens:,} tokens"
    if entry.arm == CENTRALIZED:
        return f"trained on all records in one place, {trained}"
    if entry.arm.startswith(FEDERATED):
        how = header.settings["federation"]["sum"]
        sums = {"masked": "under secure aggregation", "quantized": "quantized, unmasked", "exact": "as they were"}[how]
        strategy = header.settings["federation"]["strategy"]
        own = entry.arm.removeprefix(FEDERATED).strip(" ()") or strategy
        return f"federated by {code(own)}, the updates summed {sums}, {trained}"
    return f"trained on one client's records alone, {trained}"


def _rows(settings: dict[str, Any]) -> list[list[str]]:
    """Every setting that decides the results, section by section."""
    return [
        [f"[{section}] {name}", code(str(value))]
        for section, values in settings.items()
        for name, value in values.items()
        if value not in (None, "", {})
    ]


def _front(model: str, data_license: str | None) -> str:
    """The hub's metadata."""
    base = [f"base_model: {quoted(model)}", "base_model_relation: adapter"] if "/" in model else []
    return "\n".join(
        ["---", *base, *license_lines(data_license), "library_name: peft", "pipeline_tag: text-generation", "---"]
    )
