"""A training job from start to finish, in the child process."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_client.data import Example, Record, Records, Template, load_records
from edge_client.data.template import Tokenizer
from fedit_shared import adapter as wire
from fedit_shared.errors import ProtocolError, UserError
from fedit_shared.messages import TaskSpec

from .channel import Channel
from .events import Failed, Fetching, Finished, Loading, Notice, Planned
from .failures import AdapterError
from .footprint import Work, task_adapter
from .job import TrainJob
from .model_files import checked_model, read_config
from .planner import Planning, make_plan
from .shape import read_shape
from .work_folder import WorkFolder


def train(job: TrainJob, channel: Channel) -> None:
    """Do ``job``; the last event is Finished, or Failed with code ``stopped``. Raises UserError."""
    channel.emit(Loading(part="data"))
    records = load_records(job.data)
    adapter, vector = _adapter(job)
    folder = WorkFolder(job.work, _key(job, records, adapter))
    with folder.lock():
        finished = folder.result() or _train(job, records, vector, folder, channel)
    channel.emit(finished or Failed(code="stopped", message="Training was stopped.", advice="It can go on any time."))


def _train(
    job: TrainJob, records: Records, vector: NDArray[np.float32], folder: WorkFolder, channel: Channel
) -> Finished | None:
    began = time.monotonic()
    settings = job.task.training

    def notify(message: str) -> None:
        channel.emit(Notice(message=message))

    channel.emit(Loading(part="files"))
    model = job.task.model

    def fetching(here: int, total: int) -> None:
        channel.emit(Fetching(model=model.id, here=here, total=total))

    model_folder = checked_model(model, job.model_folder, notify, fetching)
    channel.emit(Loading(part="libraries"))
    import torch

    from .batches import Schedule
    from .checkpointing import recompute
    from .language_model import LanguageModel
    from .loading import choose_device, compute_dtype, load_base
    from .lora import Adapter
    from .memory import Budget
    from .tokenizer import load_tokenizer
    from .trainer import Plan, Trainer

    if job.threads is not None:
        torch.set_num_threads(job.threads)
    device = choose_device(job.device)
    budget = Budget(device, job.memory_bytes)
    if not budget.enforced:
        notify("This system has no way to enforce a memory budget for the CPU; it is only planned with.")

    tokenizer = load_tokenizer(model_folder)
    examples = _examples(records, tokenizer, job.task, notify, refuse=job.data.bad == "refuse")
    longest = max(len(example.tokens) for example in examples)
    budget.release()
    work = Work(
        shape=read_shape(read_config(model_folder)),
        adapter=task_adapter(job.task.tensors),
        cuda=device.type == "cuda",
        width=compute_dtype(device).itemsize,
        length=longest,
        base=budget.used(),
    )
    allowed = settings.quantization
    checkpoint = folder.checkpoint(vector.size)
    before = None if checkpoint is None else checkpoint.position.way
    planning = make_plan(work, budget.limit, allowed, settings.batch_size, before)
    del checkpoint

    channel.emit(Loading(part="model"))
    budget.apply()
    base = load_base(model_folder, allowed[allowed.index(planning.way.quantization) :], device, notify, tokenizer)
    if base.quantization != planning.way.quantization:
        planning = make_plan(work, budget.limit, (base.quantization,), settings.batch_size)

    channel.emit(Loading(part="adapter"))
    attached = Adapter(base.model, job.task.adapter_config, job.task.tensors)
    attached.write(vector)
    language_model = LanguageModel(base.model, base.dtype, notify)
    base.model.train()
    budget.release()
    budget.apply()

    way = replace(planning.way, recomputed=recompute(base.model, planning.way.recomputed))
    plan = Plan(way, planning.peak)
    schedule = Schedule(examples, settings.batch_size, _amount(job, len(examples)), job.seed)
    trainer = Trainer(
        language_model,
        attached.parameters,
        schedule,
        settings,
        plan=plan,
        longest=longest,
        seed=job.seed,
        budget=budget,
        folder=folder,
        emit=channel.emit,
        stopping=lambda: channel.stopping,
        checkpoint_seconds=job.checkpoint_seconds,
    )
    trainer.resume()
    channel.emit(
        _planned(
            planning,
            device=str(device),
            quantization=base.quantization,
            kernel=base.kernel,
            compute_dtype=str(base.dtype).removeprefix("torch."),
            recomputed=way.recomputed,
            layers=work.shape.layers,
            batch_size=settings.batch_size,
            max_length=longest,
            steps=schedule.steps,
            first_step=trainer.position.step,
            records=len(examples),
            threads=torch.get_num_threads(),
            budget_bytes=budget.limit,
        )
    )
    with channel.graceful():
        delta = trainer.run()
    if delta is None:
        return None
    done = trainer.position
    return folder.finish(
        delta,
        Finished(
            delta_path="",
            examples=schedule.seen(done.step),
            tokens=done.learned,
            loss=done.loss / done.learned,
            steps=done.step,
            seconds=time.monotonic() - began,
            peak_bytes=budget.peak(),
        ),
    )


def _planned(planning: Planning, **fields: Any) -> Planned:
    return Planned(
        micro_batch=planning.way.micro_batch,
        predicted_bytes=planning.peak,
        table=tuple((line.what, line.bytes) for line in planning.lines),
        reason=planning.reason,
        **fields,
    )


def _key(job: TrainJob, records: Records, adapter: bytes) -> bytes:
    """SHA-256 over all that decides the result. Memory, device, threads and paths do not: they may change between an
    interruption and the next start."""
    data = msgspec.structs.replace(job.data, path="")
    parts = (job.task, data, job.seed, records.sha256, adapter)
    return hashlib.sha256(msgspec.msgpack.encode(parts, order="sorted")).digest()


def _adapter(job: TrainJob) -> tuple[bytes, NDArray[np.float32]]:
    """SHA-256 and values of the global adapter."""
    try:
        data = Path(job.adapter).read_bytes()
        manifest, vector = wire.read_adapter(data)
        wire.check_fits(job.task.tensors, manifest)
    except OSError as error:
        raise AdapterError(f"The adapter {job.adapter} cannot be read: {error.strerror or error}.") from error
    except ProtocolError as error:
        raise AdapterError(f"{job.adapter} is not the task's adapter: {error.message}", advice=error.advice) from error
    return hashlib.sha256(data).digest(), vector


def _examples(
    records: Records, tokenizer: Tokenizer, task: TaskSpec, notify: Callable[[str], None], *, refuse: bool
) -> list[Example]:
    template = Template(tokenizer)
    settings = task.training

    def shown(record: Record, place: int) -> Example | None:
        try:
            return template.example(record, place, settings.max_length, train_on_inputs=settings.train_on_inputs)
        except UserError:  # the model's template has no way to show it
            if refuse:
                raise
            return None

    made = [shown(record, place) for place, record in enumerate(records.records)]
    examples = [example for example in made if example is not None]
    if records.bad:
        notify(f"{len(records.bad)} records cannot be read and are left out, the first one {records.bad[0]}.")
    if len(examples) < len(made):
        lost = next(record.line for record, example in zip(records.records, made, strict=True) if example is None)
        notify(
            f"{len(made) - len(examples)} of {len(made)} records are left out: cut to {settings.max_length} tokens, "
            f"they have nothing left to learn, or the model's template cannot show them (first: line {lost})."
        )
    if not examples:
        raise UserError(
            f"No record has an answer within {settings.max_length} tokens.",
            advice="Use records with shorter instructions.",
        )
    return examples


def _amount(job: TrainJob, records: int) -> int | None:
    """Records to train on in all, repetitions counted; None: until the time is up."""
    settings = job.task.training
    if settings.minutes is not None:
        return None
    if settings.steps is not None:
        return settings.steps * settings.batch_size
    assert settings.epochs is not None
    return max(1, round(settings.epochs * records))
