"""A training job from start to finish, in the child process."""

import hashlib
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from edge_client.data import Records, load_records
from fedit_shared import adapter as wire
from fedit_shared.errors import ProtocolError
from fedit_shared.strategies import Role, Turn

from .channel import Channel
from .events import Failed, Fetching, Finished, Loading, Notice, Planned
from .failures import AdapterError
from .job import TrainJob
from .model_files import checked_model
from .planner import Planning, alternatives, make_plan
from .work_folder import WorkFolder


def train(job: TrainJob, channel: Channel) -> None:
    """Do ``job``; the last event is Finished, or Failed with code ``stopped``. Raises UserError."""
    channel.emit(Loading(part="data"))
    records = load_records(job.data)
    turn = job.task.turn(job.round)
    adapter, vector = _adapter(job)
    private = _private(job, turn)
    vector = turn.put(vector, private, Role.KEEP) if private.size else vector
    folder = WorkFolder(job.work, _key(job, turn, records, adapter, private))
    with folder.lock():
        finished = folder.result() or _train(job, turn, records, vector, folder, channel)
    channel.emit(finished or Failed(code="stopped", message="Training was stopped.", advice="It can go on any time."))


def _train(
    job: TrainJob, turn: Turn, records: Records, vector: NDArray[np.float32], folder: WorkFolder, channel: Channel
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
    from .loading import choose_device, load_base
    from .local import Workplace, amount, finish, lengths_of, make_examples, make_work
    from .memory import Budget
    from .tokenizer import load_tokenizer

    if job.threads is not None:
        torch.set_num_threads(job.threads)
    device = choose_device(job.device)
    budget = Budget(device, job.memory_bytes)
    if not budget.enforced:
        notify("This system has no way to enforce a memory budget for the CPU; it is only planned with.")
    with budget.shared():
        budget.apply()  # the model's chat template is a program of someone else's

        tokenizer = load_tokenizer(model_folder)
        if records.bad:
            notify(f"{len(records.bad)} records cannot be read and are left out, the first one {records.bad[0]}.")
        refuse = job.data.bad == "refuse"
        examples = make_examples(records.records, tokenizer, model_folder, settings, notify, refuse=refuse)
        lengths = lengths_of(examples)
        budget.release()
        work = make_work(model_folder, job.task, turn, device, lengths=lengths, base=budget.used())
        allowed = settings.quantization
        planning = make_plan(work, budget.limit, allowed, settings.batch_size, folder.way())

        channel.emit(Loading(part="model"))
        budget.apply()
        base = load_base(model_folder, allowed[allowed.index(planning.way.quantization) :], device, notify, tokenizer)
        if base.quantization != planning.way.quantization:
            planning = make_plan(work, budget.limit, (base.quantization,), settings.batch_size)

        channel.emit(Loading(part="adapter"))
        place = Workplace(base, job.task, notify, lengths.longest)
        budget.release()
        budget.apply()

        schedule = Schedule(examples, settings.batch_size, amount(settings, len(examples)), job.seed)
        trainer, way = place.begin(
            vector,
            turn,
            schedule,
            settings,
            planning=planning,
            longest=lengths.longest,
            seed=job.seed,
            budget=budget,
            folder=folder,
            emit=channel.emit,
            stopping=lambda: channel.stopping,
            checkpoint_seconds=job.checkpoint_seconds,
            proximal=job.task.proximal,
        )
        channel.emit(
            _planned(
                planning,
                alternatives=alternatives(work, planning),
                device=str(device),
                quantization=base.quantization,
                kernel=base.kernel,
                compute_dtype=str(base.dtype).removeprefix("torch."),
                recomputed=way.recomputed,
                layers=work.shape.layers,
                batch_size=settings.batch_size,
                max_length=lengths.longest,
                steps=schedule.steps,
                first_step=trainer.position.step,
                records=len(examples),
                threads=torch.get_num_threads(),
                budget_bytes=budget.limit,
            )
        )
        with channel.graceful():
            done = finish(trainer, schedule)
        if done is None:
            return None
        return folder.finish(
            done.delta,
            done.private,
            Finished(
                delta_path="",
                examples=done.examples,
                tokens=done.tokens,
                loss=done.loss,
                steps=done.steps,
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


def _key(job: TrainJob, turn: Turn, records: Records, adapter: bytes, private: NDArray[np.float32]) -> bytes:
    """SHA-256 over all that decides the result. Memory, device, threads and paths do not: they may change between an
    interruption and the next start."""
    data = msgspec.structs.replace(job.data, path="")
    own = hashlib.sha256(private.tobytes()).digest()
    parts = (job.task, turn.number, data, job.seed, records.sha256, adapter, own)
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


def _private(job: TrainJob, turn: Turn) -> NDArray[np.float32]:
    """With what the tensors begin that stay on this device; no values: with the global adapter's."""
    if job.private is None:
        return np.empty(0, np.float32)
    size = sum(turn.pick(turn.sizes, Role.KEEP))
    try:
        values = np.fromfile(job.private, "<f4").astype(np.float32, copy=False)
    except OSError as error:
        raise AdapterError(f"{job.private} cannot be read: {error.strerror or error}.") from error
    if values.size != size or not np.isfinite(values).all():
        raise AdapterError(f"{job.private} does not hold the {size} values that this device keeps to itself.")
    return values
