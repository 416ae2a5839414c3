"""Another trainer in the place of ours, a plain loop of PyTorch: ``python examples/own_trainer.py LINK records.jsonl``.

A trainer gets a :class:`~edge_client.TrainJob` and leaves a file: by how much each value of the adapter has changed, as
float32. Everything else (masking, uploads, answers) stays the client's. This one has no memory budget, no quantization,
no checkpoints and no proximal term, and trains one record a step.
"""

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import numpy as np

from edge_client import Client, Finished, Progress, TrainEvent, TrainJob, describe, events, load_records
from edge_client.data import Template


class PlainLoop:
    """A LoRA adapter under AdamW. Made, and asked for its steps, in a thread."""

    def __init__(self, job: TrainJob) -> None:
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM, AutoTokenizer

        task, base = job.task, job.model_folder or job.task.model.id
        folder = Path(job.work) / "adapter"  # as PEFT loads one: its configuration and its tensors
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "adapter_config.json").write_text(task.adapter_config)
        shutil.copy(job.adapter, folder / "adapter_model.safetensors")
        model: Any = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        self._model = PeftModel.from_pretrained(model, folder, is_trainable=True).train()
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
        steps, losses = job.task.training.steps or len(loop.examples), list[float]()
        for step in range(steps):
            losses.append(await asyncio.to_thread(loop.step, step))
            yield Progress(
                step=step + 1,
                steps=steps,
                loss=losses[-1],
                tokens_per_second=0.0,
                memory_bytes=0,
                budget_bytes=None,
                seconds_left=(time.monotonic() - began) / (step + 1) * (steps - step - 1),
            )
        path = Path(job.work) / "delta.f32"
        loop.delta(job).tofile(path)
        yield Finished(
            delta_path=str(path),
            examples=min(steps, len(loop.examples)),  # distinct records: they become this update's weight
            tokens=sum(len(example.tokens) - example.learned for example in loop.examples),
            loss=sum(losses) / len(losses),
            steps=steps,
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
