"""The inference child's work: one base model, any adapter, one request after the other."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TypeVar

import torch

from edge_client.data import DataSource, Example, Record, Template, load_records
from edge_client.data.template import UnshownError
from edge_client.training.batches import next_piece
from edge_client.training.events import Loading, Notice
from edge_client.training.failures import NoRoomError
from edge_client.training.language_model import LanguageModel
from edge_client.training.loading import Base, choose_device, load_base
from edge_client.training.lora import Adapter
from edge_client.training.memory import Budget, is_out_of_memory
from edge_client.training.packing import padded
from edge_client.training.plain_lora import read_peft
from edge_client.training.shape import read_positions
from edge_client.training.sizes import gib

from .generation import Generator
from .protocol import (
    Answers,
    Chat,
    Evaluate,
    Evaluation,
    Generate,
    Generated,
    Open,
    Piece,
    Ready,
    RecordLoss,
    RunTask,
    Scored,
    TaskFigures,
)

T = TypeVar("T")
Emit = Callable[[object], None]
_TOKENS = {"cpu": 1024, "cuda": 16384}
"""Tokens that go through the model at one time."""


class Server:
    """A loaded model. Methods raise UserError; after one the server is as before."""

    def __init__(
        self, base: Base, budget: Budget, emit: Emit, *, config: str | None = None, adapter: Adapter | None = None
    ) -> None:
        """``config``: of adapters given as bare files; ``adapter``: one that is on ``base`` already."""
        self._base = base
        self._budget = budget
        self._emit = emit
        self._language_model = LanguageModel(base.model, base.dtype, lambda text: emit(Notice(message=text)))
        self._template = Template(base.tokenizer)
        self._generator = Generator(base, self._language_model)
        self._positions = read_positions(base.model.config.to_dict())
        self._config = config
        self._adapter = adapter
        self._capacity = _TOKENS[base.device.type]
        self._told: set[str] = set()
        self._unshown = False

    def ready(self) -> Ready:
        """What was loaded."""
        base = self._base
        return Ready(quantization=base.quantization, kernel=base.kernel, device=str(base.device))

    def answer(self, request: Evaluate | Generate | Chat | RunTask) -> Evaluation | Answers | TaskFigures:
        """Whatever is asked."""
        match request:
            case Evaluate():
                return self.evaluate(request)
            case Generate():
                return self.generate(request)
            case Chat():
                return self.chat(request)
        return self.run_task(request)

    def run_task(self, request: RunTask) -> TaskFigures:
        """A task of lm-evaluation-harness; emits Scored."""
        from .harness import run_task

        with self._under(request.adapter), padded(self._base.model), self._language_model.precision():
            return run_task(self._base, request, lambda done, all: self._emit(Scored(done=done, records=all)))

    def evaluate(self, request: Evaluate) -> Evaluation:
        """The loss of each record's answer; emits Scored."""
        records = _records(request.records)
        length = min(request.max_length, self._positions or request.max_length)

        def shown(record: Record, place: int) -> Example | None:
            return self._template.example(record, place, length, train_on_inputs=request.train_on_inputs)

        made = [self._shown(partial(shown, record, place)) for place, record in enumerate(records)]
        if length < request.max_length and any(e is not None and len(e.tokens) == length for e in made):
            self._tell(f"The model has {length} positions: longer records are cut to as many tokens.")
        examples = sorted((e for e in made if e is not None), key=lambda e: -len(e.tokens))
        losses: dict[int, float] = {}
        with self._under(request.adapter):
            while len(losses) < len(examples):
                piece = next_piece(examples, len(losses), self._capacity, packed=self._language_model.packs)
                if (sums := self._losses(piece)) is not None:
                    losses |= {example.record: loss for example, loss in zip(piece, sums, strict=True)}
                    self._emit(Scored(done=len(losses), records=len(examples)))
        return Evaluation(
            records=tuple(
                RecordLoss(
                    loss_sum=losses.get(place, 0.0),
                    tokens=0 if example is None else len(example.tokens) - example.learned,
                    category=record.category,
                )
                for place, (record, example) in enumerate(zip(records, made, strict=True))
            )
        )

    def generate(self, request: Generate) -> Answers:
        """Each record's likeliest answer, token by token; emits Scored."""
        shown = [self._shown(partial(self._template.prompt, record)) for record in request.records]
        prompts = {place: prompt for place, prompt in enumerate(shown) if prompt is not None}
        order = sorted(prompts, key=lambda place: -len(prompts[place]))
        answers: dict[int, Generated] = {}
        with self._under(request.adapter), self._generator.ready():
            while len(answers) < len(order):
                rows = self._generator.rows(len(prompts[order[len(answers)]]), request.max_new_tokens)
                places = order[len(answers) : len(answers) + rows]
                made = self._generated([prompts[place] for place in places], request.max_new_tokens)
                if made is not None:
                    answers |= zip(places, made, strict=True)
                    self._emit(Scored(done=len(answers), records=len(order)))
        nothing = Generated(text="", tokens=0, ended=False)
        return Answers(answers=tuple(answers.get(place, nothing) for place in range(len(request.records))))

    def chat(self, request: Chat) -> Answers:
        """The likeliest answer to one record; emits Piece. Raises UnshownError where the template cannot show it."""
        prompt = self._template.prompt(request.record)
        with self._under(request.adapter), self._generator.ready():
            made = self._generated([prompt], request.max_new_tokens, lambda text: self._emit(Piece(text=text)))
        assert made is not None, "one alone is answered, or refused"
        return Answers(answers=tuple(made))

    def _shown(self, show: Callable[[], T]) -> T | None:
        """What ``show`` gives; None, and the first one is told, for a record that the template cannot show."""
        try:
            return show()
        except UnshownError as error:
            if not self._unshown:
                self._tell(f"{error.message} It is left out, and so is every further one.")
            self._unshown = True
            return None

    def _tell(self, message: str) -> None:
        """As a Notice, once."""
        if message not in self._told:
            self._told.add(message)
            self._emit(Notice(message=message))

    def _generated(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, told: Callable[[str], None] | None = None
    ) -> list[Generated] | None:
        """Each prompt's answer; None: memory ran out, and fewer are answered at a time from now on."""
        try:
            return self._generator.answers(prompts, max_new_tokens, told)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        self._budget.tighten()
        if len(prompts) == 1:
            raise NoRoomError(
                f"An instruction of {len(prompts[0])} tokens and its answer do not fit into {gib(self._budget.limit)}.",
                advice="Give it more memory, or a smaller --max-new-tokens.",
            )
        self._generator.most = max(1, len(prompts) // 2)
        return None

    def _losses(self, piece: Sequence[Example]) -> list[float] | None:
        """Each example's summed loss; None: memory ran out, and pieces are smaller from now on."""
        try:
            return self._language_model.record_losses(piece)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        self._budget.tighten()
        if len(piece) == 1:
            raise NoRoomError(
                f"One record of {len(piece[0].tokens)} tokens does not fit into {gib(self._budget.limit)}.",
                advice="Give it more memory, or a smaller --max-length.",
            )
        self._capacity = max(1, self._capacity // 2)
        return None

    @contextmanager
    def _under(self, adapter: str | None) -> Iterator[None]:
        """With the adapter at the path ``adapter`` on the model, or with none."""
        if adapter is not None:
            self._put_on(Path(adapter))
        self._base.model.eval()
        off = self._adapter.peft.disable_adapter() if adapter is None and self._adapter is not None else nullcontext()
        with off:
            yield

    def _put_on(self, path: Path) -> None:
        config, manifest, vector = read_peft(path, self._config)
        if self._adapter is not None and (self._adapter.config, self._adapter.tensors) != (config, manifest):
            self._adapter.remove()
            self._adapter = None
        if self._adapter is None:
            self._adapter = Adapter(self._base.model, config, manifest)
        self._adapter.write(vector)


def open_server(request: Open, folder: Path, emit: Emit) -> Server:
    """Load the model in ``folder``, already checked; emits Loading and Notice."""
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    device = choose_device(request.device)
    budget = Budget(device, request.memory_bytes)
    emit(Loading(part="model"))
    budget.apply()
    base = load_base(folder, request.quantization, device, lambda text: emit(Notice(message=text)))
    server = Server(base, budget, emit, config=request.adapter_config)
    budget.release()
    budget.apply()
    return server


def _records(given: tuple[Record, ...] | DataSource) -> tuple[Record, ...]:
    return load_records(given).records if isinstance(given, DataSource) else given
