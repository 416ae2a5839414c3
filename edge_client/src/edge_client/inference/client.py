"""``InferenceProcess``: the parent's end of the inference child."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self, TypeVar

import msgspec

from edge_client.data.source import DataSource, Record
from edge_client.training.events import Failed, Fetching, Loading, Notice
from edge_client.training.failures import error_of
from edge_client.training.process import Child
from edge_client.training.run import death

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
    Reply,
    Request,
    RunTask,
    Scored,
    TaskFigure,
    TaskFigures,
)

Progress = Callable[[Notice | Loading | Fetching | Scored], None]
T = TypeVar("T", Ready, Evaluation, Answers, TaskFigures)
_REPLIES = msgspec.msgpack.Decoder(Reply)


class InferenceProcess:
    """A model in a child process, loaded once, asked often; one question at a time.

    ``async with InferenceProcess(Open(model=…, model_folder=…)) as model: await model.evaluate(None, records)``.
    Entering waits until the model is loaded. ``on_progress`` is called with each Notice, Loading, Fetching and
    Scored. Every method raises UserError for what a person can set right, and FeditError when the child died; after
    the latter the process is of no more use.
    """

    def __init__(self, settings: Open, on_progress: Progress | None = None) -> None:
        self._settings = settings
        self._on_progress = on_progress
        self._child: Child | None = None
        self.ready: Ready | None = None

    async def __aenter__(self) -> Self:
        self._child = await Child.start("edge_client.inference", threads=self._settings.threads, grace=1.0)
        try:
            self.ready = await self._ask(self._settings, Ready)
        except BaseException:
            await self._child.stop()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._child is not None:
            await self._child.stop()

    async def evaluate(
        self,
        adapter: str | Path | None,
        records: DataSource | Sequence[Record],
        *,
        max_length: int = 512,
        train_on_inputs: bool = False,
    ) -> Evaluation:
        """Loss of each record's response under the base with ``adapter`` (a safetensors file or a PEFT folder)."""
        return await self._ask(
            Evaluate(
                adapter=_text(adapter),
                records=records if isinstance(records, DataSource) else tuple(records),
                max_length=max_length,
                train_on_inputs=train_on_inputs,
            ),
            Evaluation,
        )

    async def generate(
        self, adapter: str | Path | None, records: Sequence[Record], *, max_new_tokens: int = 128
    ) -> tuple[Generated, ...]:
        """The answer to each record's instruction: greedy, so the same each time that the same are asked together."""
        request = Generate(adapter=_text(adapter), records=tuple(records), max_new_tokens=max_new_tokens)
        return (await self._ask(request, Answers)).answers

    async def chat(
        self, adapter: str | Path | None, record: Record, *, told: Callable[[str], None], max_new_tokens: int = 512
    ) -> Generated:
        """The answer to ``record``, whose ``earlier`` is the conversation; greedy. ``told``: called with its next
        characters, as they are made."""
        request = Chat(adapter=_text(adapter), record=record, max_new_tokens=max_new_tokens)
        [answer] = (await self._ask(request, Answers, told=told)).answers
        return answer

    async def run_task(
        self,
        adapter: str | Path | None,
        name: str,
        *,
        include_path: str | None = None,
        limit: int | None = None,
        scored: Callable[[int, int], None] | None = None,
    ) -> tuple[TaskFigure, ...]:
        """What lm-evaluation-harness finds with its task ``name``; see :class:`.protocol.RunTask`. ``scored``: told how
        many of how many requests to the model are done."""
        request = RunTask(adapter=_text(adapter), name=name, include_path=include_path, limit=limit)
        return (await self._ask(request, TaskFigures, scored)).figures

    async def _ask(
        self,
        request: Request,
        kind: type[T],
        scored: Callable[[int, int], None] | None = None,
        told: Callable[[str], None] | None = None,
    ) -> T:
        assert self._child is not None, "use it as `async with InferenceProcess(…) as model`"
        await self._child.send(request)
        while (body := await self._child.receive()) is not None:
            reply = _REPLIES.decode(body)
            if isinstance(reply, kind):
                return reply
            if isinstance(reply, Failed):
                raise error_of(reply)
            if told is not None and isinstance(reply, Piece):
                told(reply.text)
            if scored is not None and isinstance(reply, Scored):
                scored(reply.done, reply.records)
            if self._on_progress is not None and isinstance(reply, Notice | Loading | Fetching | Scored):
                self._on_progress(reply)
        raise error_of(await death(self._child))


def _text(path: str | Path | None) -> str | None:
    return None if path is None else str(path)
