"""Another trainer in the place of ours, a plain loop of PyTorch: ``python examples/own_trainer.py LINK records.jsonl``.

A trainer gets a :class:`~edge_client.TrainJob` and leaves a file: by how much each value of the adapter has changed, as
float32. Everything else (masking, uploads, answers) stays the client's. This one has no memory budget, no quantization,
no checkpoints and no proximal term, and trains one record a step.
"""

import asyncio
import itertools
import math
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import numpy as np

from edge_client import (
    Client,
    Finished,
    Progress,
    Template,
    TrainEvent,
    TrainJob,
    checked_model,
    describe,
    events,
    load_records,
    lora_config,
)


class PlainLoop:
    """A LoRA adapter under AdamW. Made, and asked for its steps, in a thread."""

    def __init__(self, job: TrainJob) -> None:
        import torch
        from peft import get_peft_model, set_peft_model_state_dict
        from safetensors.torch import load_file
        from transformers import AutoModelForCausalLM, AutoTokenizer

        task = job.task  # from a server: what it names is checked before anything of it is loaded
        config, base = lora_config(task.adapter_config), checked_model(task.model, job.model_folder)
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        self._model: Any = get_peft_model(model, config).train()
        set_peft_model_state_dict(self._model, load_file(job.adapter))
        self._before = {name: tensor.detach().clone() for name, tensor in self._tensors().items()}
        trained = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        self._optimizer = torch.optim.AdamW(trained, lr=task.training.learning_rate)
        template = Template(AutoTokenizer.from_pretrained(base))
        found = [
            template.example(record, place, task.training.max_length)
            for place, record in enumerate(load_records(job.data).records)
        ]
        self.examples = [example for example in found if example is not None]

    def _tensors(self) -> dict[str, Any]:
        """The adapter's, by their names in PEFT's file."""
        from peft import get_peft_model_state_dict

        tensors: dict[str, Any] = get_peft_model_state_dict(self._model)
        return tensors

    def step(self, number: int) -> float:
        """Learn one record's response; its loss before that."""
        import torch

        example = self.examples[number % len(self.examples)]
        tokens = torch.tensor([example.tokens])
        labels = tokens.clone()
        labels[:, : example.learned] = -100  # the prompt carries no loss
        loss: Any = self._model(input_ids=tokens, labels=labels).loss
        loss.backward()
        self._optimizer.step()
        self._optimizer.zero_grad()
        return float(loss.detach())

    def delta(self, job: TrainJob) -> np.ndarray[Any, np.dtype[np.float32]]:
        """What has changed, of the tensors that this round sums, in the task's order."""
        after, summed = self._tensors(), job.task.turn(job.round).pick(job.task.tensors)
        changes = [(after[tensor.name] - self._before[tensor.name]).detach().numpy() for tensor in summed]
        return np.concatenate([change.ravel() for change in changes]).astype("<f4")


class OwnTrainer(Client):
    """The client, with :class:`PlainLoop` in the place of its trainer."""

    async def train(self, job: TrainJob) -> AsyncGenerator[TrainEvent, None]:
        began = time.monotonic()
        loop = await asyncio.to_thread(PlainLoop, job)
        settings, count, losses, tokens = job.task.training, len(loop.examples), list[float](), 0
        steps = settings.steps  # one of steps, epochs and minutes is set
        if settings.epochs is not None:
            steps = max(1, round(settings.epochs * count))
        end = math.inf if settings.minutes is None else began + 60 * settings.minutes
        for step in itertools.count(1):
            losses.append(await asyncio.to_thread(loop.step, step - 1))
            example, now = loop.examples[(step - 1) % count], time.monotonic()
            tokens += len(example.tokens) - example.learned
            yield Progress(
                step=step,
                steps=steps,
                loss=losses[-1],
                tokens_per_second=tokens / (now - began),
                memory_bytes=0,
                budget_bytes=None,
                seconds_left=max(0.0, end - now) if steps is None else (now - began) / step * (steps - step),
            )
            if step == steps or now >= end:
                break
        path = Path(job.work) / "delta.f32"
        path.parent.mkdir(parents=True, exist_ok=True)
        loop.delta(job).tofile(path)
        yield Finished(
            delta_path=str(path),
            examples=min(len(losses), count),  # distinct records: they become this update's weight
            tokens=tokens,
            loss=sum(losses) / len(losses),
            steps=len(losses),
            seconds=time.monotonic() - began,
            peak_bytes=0,
        )


async def take_part(link: str, data: str, **wishes: Any) -> events.RoundFinished:
    """How the round ended. ``wishes``: more keyword arguments of :meth:`edge_client.Client.join`."""
    async with OwnTrainer.join(link, data=data, **wishes) as client:
        async for event in client.run():
            print(describe(event))
            if isinstance(event, events.RoundFinished):
                return event
    raise RuntimeError("The federation ended before this device's round did.")


if __name__ == "__main__":
    asyncio.run(take_part(sys.argv[1], sys.argv[2]))
