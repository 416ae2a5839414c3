"""The training loop: steps of whole batches in as many pieces as memory asks for.

One flat float32 vector holds the adapter, one its gradient; the model's parameters are views into the first. So a
checkpoint is four vectors, and an optimizer step a few operations whatever the number of tensors.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edge_client.data.template import Example
from fedit_shared.messages import TrainingSettings

from .batches import Schedule, next_piece
from .checkpointing import recompute
from .events import BackedOff, Checkpointed, Notice, Progress, TrainEvent
from .failures import ModelError, NoRoomError
from .footprint import Way
from .gradients import Gradients
from .language_model import LanguageModel
from .memory import Budget, is_out_of_memory
from .optimizer import make_optimizer
from .sizes import gib
from .work_folder import Checkpoint, Position, WorkFolder


@dataclass
class Plan:
    """What may change while training: ``way``; and ``peak``, its predicted bytes, until it has been told."""

    way: Way
    peak: int | None = None


class Trainer:
    """Trains ``parameters``, those of the adapter that the round sums, in manifest order, by ``schedule``."""

    def __init__(
        self,
        language_model: LanguageModel,
        parameters: Sequence[nn.Parameter],
        schedule: Schedule,
        settings: TrainingSettings,
        *,
        private: Sequence[nn.Parameter] = (),
        plan: Plan,
        longest: int,
        seed: int,
        budget: Budget,
        folder: WorkFolder,
        emit: Callable[[TrainEvent], None],
        stopping: Callable[[], bool],
        checkpoint_seconds: float,
        proximal: float = 0.0,
    ) -> None:
        """``private``: what is trained beside, and stays on the device; ``longest``: tokens of the longest example;
        ``proximal``: μ of FedProx. The model's parameters hold the global adapter now, and the device's own values."""
        self._language_model = language_model
        self._parameters = [*parameters, *private]
        self._shared = slice(sum(parameter.numel() for parameter in parameters))
        self._schedule = schedule
        self._settings = settings
        self._plan = plan
        self._longest = longest
        self._seed = seed
        self._budget = budget
        self._folder = folder
        self._emit = emit
        self._stopping = stopping
        self._checkpoint_seconds = checkpoint_seconds
        self._proximal = proximal
        self._flat = _flatten_in_place(self._parameters)
        self._start = self._flat.detach().cpu().numpy().copy()
        self._gradient = torch.zeros_like(self._flat)
        self._sums = _views(self._gradient, self._parameters)
        self._gradients = Gradients(language_model.model, self._parameters)
        self._optimizer = make_optimizer(self._flat, plan.way.optimizer_bits, settings.weight_decay)
        head = {id(parameter) for parameter in language_model.model.get_output_embeddings().parameters()}
        self._head_parameters = [parameter for parameter in self._parameters if id(parameter) in head]
        self._layers: int = language_model.model.config.get_text_config().num_hidden_layers
        self._position = Position()
        self._tokens = 0
        self._began = self._saved = time.monotonic()

    @property
    def position(self) -> Position:
        """How far it is."""
        return self._position

    @property
    def private(self) -> NDArray[np.float32]:
        """The private parameters' values, float32, in manifest order."""
        values: NDArray[np.float32] = self._flat.detach()[self._shared.stop :].cpu().numpy().copy()
        return values

    def resume(self) -> bool:
        """Go on from the folder's checkpoint; False if there is none."""
        checkpoint = self._folder.checkpoint(self._flat.numel())
        if checkpoint is None:
            return False
        self._position = checkpoint.position
        vectors = checkpoint.vectors
        with torch.no_grad():
            self._flat.copy_(torch.from_numpy(vectors["adapter"]))
            self._gradient.copy_(torch.from_numpy(vectors["gradient"]))
            self._optimizer.load(vectors)
        return True

    def run(self) -> NDArray[np.float32] | None:
        """Train to the end; the delta of ``parameters``, float32, in manifest order. None: asked to stop, and
        everything is saved. Raises NoRoomError, ModelError and DiskError."""
        self._began = self._saved = time.monotonic()
        while not self._ended():
            if not self._step():
                return None
        self._budget.release()  # memory may be short to the end: the delta takes the start's place
        delta = self._start[self._shared]
        np.subtract(self._flat.detach().cpu().numpy()[self._shared], delta, out=delta)
        return delta

    def _ended(self) -> bool:
        steps, minutes = self._schedule.steps, self._settings.minutes
        if minutes is not None and self._position.step > 0 and self._position.seconds >= 60 * minutes:
            return True
        return steps is not None and self._position.step >= steps

    def _step(self) -> bool:
        """One step, or what is left of it; False if asked to stop within."""
        began = time.monotonic()
        examples = self._schedule.step(self._position.step)
        while self._position.done < len(examples):
            if self._stopping():
                self._save(began)
                return False
            capacity = self._plan.way.micro_batch * self._longest
            piece = next_piece(examples, self._position.done, capacity, packed=self._language_model.packs)
            loss = self._accumulate(piece)
            if loss is not None:
                self._tokens += sum(len(example.tokens) for example in piece)
                self._position = msgspec.structs.replace(
                    self._position,
                    done=self._position.done + len(piece),
                    step_loss=self._position.step_loss + loss,
                )
            if time.monotonic() - self._saved > self._checkpoint_seconds:
                began = self._save(began)
        learned = sum(len(example.tokens) - example.learned for example in examples)
        for work in (lambda: self._average(learned), self._clip, self._update):
            while self._within_budget(work, self._plan.way.micro_batch) is None:
                pass
        after = self._position
        self._position = Position(
            step=after.step + 1,
            loss=after.loss + after.step_loss,
            learned=after.learned + learned,
            seconds=after.seconds + time.monotonic() - began,
        )
        self._emit(self._progress(after.step_loss / learned))
        self._compare()
        return True

    def _compare(self) -> None:
        """Tell once, after the first step, how good the prediction was."""
        predicted, self._plan.peak = self._plan.peak, None
        if predicted is not None:
            measured = self._budget.peak()
            off = 100 * (predicted / measured - 1)
            self._emit(Notice(message=f"Memory: {gib(measured)} at most, {gib(predicted)} planned ({off:+.0f} %)."))

    def _accumulate(self, piece: Sequence[Example]) -> float | None:
        """Add the gradient of ``piece``'s summed loss and return that loss. None: memory ran out, nothing was added,
        and the plan has been changed."""
        torch.manual_seed(hash((self._seed, self._position.step, self._position.done)))
        return self._within_budget(lambda: self._add_gradient(piece), len(piece))

    def _within_budget(self, work: Callable[[], float], records: int) -> float | None:
        """The result of ``work``, which does all or nothing. None: memory ran out in it, and the plan has been
        changed so that it can be tried again. ``records``: how many are in the memory."""
        try:
            return work()
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            reason = str(error).splitlines()[0] if str(error) else "memory ran out"
        # Only here are the exception and its frames gone, with the tensors that filled the memory.
        self._back_off(records, reason)
        return None

    def _add_gradient(self, piece: Sequence[Example]) -> float:
        """All of the gradient or none: it comes back as values instead of piling up in ``.grad``, where half of it
        would stay, and adding it needs no memory."""
        loss, gradients = self._gradients.of(lambda: self._language_model.loss(piece, self._head_parameters))
        value = float(loss.detach())
        for total, gradient in zip(self._sums, gradients, strict=True):
            if gradient is not None:
                total.add_(gradient)
        return value

    def _back_off(self, records: int, reason: str) -> None:
        self._budget.tighten()
        way = self._plan.way = replace(self._plan.way, starved=True)
        if way.pooled:  # nothing is kept any more since tighten()
            self._plan.way = replace(way, pooled=False)
        elif records > 1 and way.micro_batch > 1:
            self._plan.way = replace(way, micro_batch=way.micro_batch // 2)
        elif (recomputed := recompute(self._language_model.model, self._layers)) > way.recomputed:
            self._plan.way = replace(way, recomputed=recomputed)
        else:
            raise NoRoomError(
                f"One record of {self._longest} tokens does not fit into {gib(self._budget.limit)}.",
                advice="Give it more memory, or leave out the longest records.",
            )
        self._emit(BackedOff(micro_batch=self._plan.way.micro_batch, reason=reason))

    def _average(self, learned: int) -> float:
        """Make the summed gradient that of the mean loss over the batch's ``learned`` tokens, plus
        μ/2·‖adapter − global‖² (FedProx, arXiv 1812.06127, equation 2), which private parameters have no part in; μ."""
        shared, moved = self._shared, None
        if self._proximal:
            moved = self._flat.detach()[shared] - torch.from_numpy(self._start[shared]).to(self._flat.device)
        self._gradient.div_(learned)
        if moved is not None:
            self._gradient[shared].add_(moved, alpha=self._proximal)
        return self._proximal

    def _clip(self) -> float:
        """Make the gradient no longer than the task allows; its norm before that."""
        norm = float(torch.linalg.vector_norm(self._gradient))
        if not np.isfinite(norm):
            raise ModelError(
                f"The gradient of step {self._position.step + 1} is not finite.",
                advice="The federation's learning rate may be too high for this model.",
            )
        self._gradient.mul_(min(1.0, self._settings.max_grad_norm / (norm + 1e-6)))
        return norm

    def _update(self) -> float:
        """One optimizer step; its learning rate."""
        warm = self._settings.warmup_steps
        rate = self._settings.learning_rate * min(1.0, (self._position.step + 1) / (warm + 1))
        self._optimizer.step(self._gradient, self._position.step, rate)
        self._gradient.zero_()
        return rate

    def _save(self, began: float) -> float:
        """Write a checkpoint; the time up to now is counted in it. Returns now."""
        now = time.monotonic()
        seconds = self._position.seconds + now - began
        self._position = msgspec.structs.replace(self._position, seconds=seconds, way=self._plan.way)
        own = {"adapter": self._flat, "gradient": self._gradient}
        vectors = {name: vector.detach().cpu().numpy() for name, vector in own.items()}
        self._folder.save(Checkpoint(self._position, {**vectors, **self._optimizer.state()}))
        self._saved = now
        self._emit(Checkpointed(step=self._position.step))
        return now

    def _progress(self, loss: float) -> Progress:
        elapsed = time.monotonic() - self._began
        steps, minutes = self._schedule.steps, self._settings.minutes
        if minutes is not None:
            left = 60 * minutes - self._position.seconds
        else:
            left = ((steps or 0) - self._position.step) * self._position.seconds / self._position.step
        return Progress(
            step=self._position.step,
            steps=steps,
            loss=loss,
            tokens_per_second=self._tokens / elapsed if elapsed > 0 else 0.0,
            memory_bytes=self._budget.used(),
            budget_bytes=self._budget.limit,
            seconds_left=max(0.0, left),
        )


def _flatten_in_place(parameters: Sequence[nn.Parameter]) -> Tensor:
    """One vector with all values of ``parameters``, which become views into it."""
    flat = torch.cat([parameter.detach().reshape(-1).float() for parameter in parameters])
    for parameter, view in zip(parameters, _views(flat, parameters), strict=True):
        parameter.data = view
    return flat


def _views(flat: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """The parts of ``flat``, each in its parameter's shape."""
    parts = flat.split([parameter.numel() for parameter in parameters])
    return [part.view_as(parameter) for part, parameter in zip(parts, parameters, strict=True)]
