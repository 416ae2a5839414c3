"""Before the curtain: the model, the records and who holds them, the adapter to start from."""

import asyncio
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from edge_client.training import CreateJob, Failed, create_adapter
from fedit_shared.errors import UserError

from .model import ensure_model
from .records import CATEGORIES, Record, generate
from .settings import NAMES, Settings
from .split import evaluation_set, split_for_clients

MARKER = ".fedit-demo"
Say = Callable[[str], None]


async def prepare(settings: Settings, say: Say) -> tuple[str, list[Record]]:
    """Lay out ``settings.folder`` afresh. Returns the model (hub id or folder) and the evaluation records.

    Raises UserError for data or a model that cannot be used.
    """
    model = settings.model or str(await asyncio.to_thread(ensure_model, settings.cache, say))
    _clear(settings)
    training, evaluation = _records(settings)
    for name, records in zip(NAMES, _split(settings, training), strict=True):
        home = settings.home(name)
        home.mkdir(parents=True)
        (home / "data.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
        say(f"{name} holds {len(records)} records: {', '.join(sorted({r['category'] for r in records}))}")
    say(f"held out for evaluation: {len(evaluation)} records of {len({r['category'] for r in evaluation})} categories")
    made = await create_adapter(
        CreateJob(
            model=model,
            out=str(settings.adapter),
            rank=settings.rank,
            target_modules=settings.target_modules,
            seed=settings.seed,
        )
    )
    if isinstance(made, Failed):
        raise UserError(made.message, advice=made.advice)
    say(f"new LoRA adapter: rank {settings.rank}, {made.parameters:,} parameters, on {', '.join(made.target_modules)}")
    return model, evaluation


def public_name(model: str) -> str:
    """What a federation calls the model: a folder's name, as its path is nobody's business."""
    return Path(model).name if Path(model).is_dir() else model


def _clear(settings: Settings) -> None:
    """Remove what an earlier demo left; what is no demo's folder is not ours to remove."""
    kept = {path.name for path in settings.folder.iterdir()} if settings.folder.is_dir() else set()
    if kept and MARKER not in kept:
        raise UserError(f"{settings.folder} holds other things than a demo.", advice="Name a new folder with --out.")
    shutil.rmtree(settings.folder, ignore_errors=True)
    settings.folder.mkdir(parents=True)
    (settings.folder / MARKER).touch()


def _records(settings: Settings) -> tuple[list[Record], list[Record]]:
    if settings.data is None:
        training = [record for category in CATEGORIES for record in generate(category, 48, settings.seed)]
        held_out = [r for c in CATEGORIES for r in generate(c, settings.per_category, settings.seed, held_out=True)]
    else:
        training = _read(settings.data)
        held_out = _read(settings.evaluation or settings.data)
    try:
        return training, evaluation_set(held_out, per_category=settings.per_category, seed=settings.seed)
    except ValueError as error:
        raise UserError(f"The evaluation records do not do: {error}.", advice="Name others with EVAL=FILE.") from error


def _split(settings: Settings, training: Sequence[Record]) -> list[list[Record]]:
    count = settings.records_per_round * settings.rounds
    try:
        return split_for_clients(training, clients=len(NAMES), per_client=count, seed=settings.seed)
    except ValueError as error:
        raise UserError(f"The training records do not do: {error}.", advice="Name others with DATA=FILE.") from error


def _read(path: Path) -> list[Record]:
    wanted = {"instruction", "context", "response", "category"}
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as JSON lines: {error}.") from error
    if not all(isinstance(record, dict) and wanted <= record.keys() for record in records):
        raise UserError(f"{path} holds records without {', '.join(sorted(wanted))}.")
    return records
