"""What the rows need on disk: the model, records of one length, the adapter that both systems start from."""

import asyncio
import json
import sys
from pathlib import Path

import msgspec

from benchmarks.demo.model import ensure_model
from benchmarks.demo.records import generate
from edge_client.data import DataSource
from edge_client.training import CreateJob, TrainJob, create_adapter
from fedit_shared import adapter as wire
from fedit_shared.errors import UserError
from fedit_shared.messages import TaskSpec, TrainingSettings, read_model_file

from . import random_llama
from .scenario import LEARNING_RATE, RANK, RECORDS_PER_STEP, SEED, TARGETS, Row

_QUESTIONS_PER_RECORD = {256: 10, 512: 20, 2048: 80}
"""Enough for the length: what is longer is cut."""
_CATEGORIES = ("arithmetic", "sorting", "extraction", "spelling")


class Stage:
    """Makes things once: SmolLM2 in ``cache``, to be kept, the rest in ``folder``. ``smollm2``: that model's folder, if
    it is not to be fetched. Methods raise UserError if it cannot be."""

    def __init__(self, cache: Path, folder: Path, smollm2: Path | None) -> None:
        self._cache = cache
        self._folder = folder
        self._smollm2 = smollm2
        self._unfetched: UserError | None = None

    def model(self, name: str) -> Path:
        """The folder of the model called ``name``."""
        if name != "smollm2":
            folder = self._folder / name
            return folder if folder.is_dir() else random_llama.write(name, folder)
        if self._unfetched is not None:  # once is enough: each try takes its time
            raise self._unfetched
        if self._smollm2 is None:
            try:
                self._smollm2 = ensure_model(self._cache, lambda line: print(line, file=sys.stderr))
            except UserError as error:
                self._unfetched = error
                raise
        return self._smollm2

    def records(self, row: Row) -> Path:
        """Enough records for every step, each at least of the row's length."""
        path = self._folder / f"records-{row.length}.jsonl"
        questions = _QUESTIONS_PER_RECORD[row.length]
        lines = []
        for number in range(row.steps * RECORDS_PER_STEP):
            asked = generate(_CATEGORIES[number % len(_CATEGORIES)], questions, SEED + number)
            first, *others = asked
            answer = "\n\n".join(
                [first["response"], *(f"{record['instruction']}\n{record['response']}" for record in others)]
            )
            lines.append(json.dumps({"instruction": first["instruction"], "context": "", "response": answer}))
        path.write_text("\n".join(lines) + "\n")
        return path

    def adapter(self, row: Row) -> Path:
        """A new adapter for the row's model."""
        out = self._folder / f"adapter-{row.model}"
        if not out.is_dir():
            job = CreateJob(
                model=str(self.model(row.model)), out=str(out), rank=RANK, target_modules=TARGETS, seed=SEED
            )
            asyncio.run(create_adapter(job))
        return out

    def job(self, row: Row) -> TrainJob:
        """The row as a job of the client's trainer; it holds all that the other system needs to know, too."""
        adapter = self.adapter(row)
        manifest, _ = wire.read_adapter((adapter / wire.FILE_NAME).read_bytes())
        model = read_model_file((adapter / "fedit.json").read_bytes())
        task = TaskSpec(
            name="benchmark",
            model=msgspec.structs.replace(model, files={}),
            adapter_config=(adapter / wire.CONFIG_NAME).read_text(),
            tensors=manifest,
            training=TrainingSettings(
                learning_rate=LEARNING_RATE,
                batch_size=RECORDS_PER_STEP,
                steps=row.steps,
                epochs=None,
                max_length=row.length,
                train_on_inputs=True,
                quantization=(row.quantization,),
            ),
        )
        return TrainJob(
            task=task,
            adapter=str(adapter / wire.FILE_NAME),
            data=DataSource(path=str(self.records(row))),
            work=str(self._folder / "work"),
            seed=SEED,
            model_folder=str(self.model(row.model)),
            memory_bytes=row.budget,
            device="cuda" if row.device == "cuda" else "cpu",
            checkpoint_seconds=3600.0,
        )
