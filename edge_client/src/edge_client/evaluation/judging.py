"""Has a judge compare the kept answers of two arms, each pair in both orders, and keeps every word of it."""

import asyncio
from collections.abc import Iterator, Sequence
from hashlib import sha256
from typing import NamedTuple

import msgspec

from edge_client.data.source import Record

from .endpoint import Endpoint
from .kept import Answer, Kept
from .lines import Lines
from .pairwise import Message, Scores, question, scores
from .run import Progress

_LETTERS_PER_TOKEN = 4
_REPLY_TOKENS = 150
"""For an estimate only: what an explanation of two scores takes."""


class Prices(NamedTuple):
    """Of a million tokens, in the operator's own currency."""

    prompt: float = 0.0
    completion: float = 0.0

    def cost(self, prompt_tokens: float, completion_tokens: float) -> float:
        """What these tokens cost."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """One question and its reply. ``key``: SHA-256, in hex, of all that decides the reply. ``first``: the arm whose
    answer was shown first, of the two in ``arms``. ``scores``: None for a reply that says none. ``cost``: at the prices
    given then."""

    key: str
    judge: str
    endpoint: str
    arms: tuple[str, str]
    first: str
    place: int
    messages: tuple[Message, ...]
    reply: str
    scores: Scores | None
    prompt_tokens: int
    completion_tokens: int
    cost: float


class Pair(NamedTuple):
    """Two arms' answers to one record."""

    one: Answer
    other: Answer

    @property
    def place(self) -> int:
        """The record's."""
        return self.one.place

    @property
    def record(self) -> Record:
        """What was asked."""
        return self.one.record

    @property
    def identical(self) -> bool:
        """Whether there is nothing to judge."""
        return self.one.text == self.other.text


class Ask(NamedTuple):
    """A question that was not put yet, and where its reply belongs."""

    key: str
    pair: Pair
    first: str
    messages: tuple[Message, ...]


def pairs_of(kept: Kept, one: str, other: str) -> list[Pair]:
    """The records that both arms answered, in order."""
    answers = {(answer.arm, answer.place): answer for answer in kept.answers.values}
    places = sorted(place for arm, place in answers if arm == one and (other, place) in answers)
    return [Pair(answers[one, place], answers[other, place]) for place in places]


class Judging:
    """The judge ``model`` at ``address`` over ``pairs``. What ``kept`` judgements answer already is not asked."""

    def __init__(
        self,
        judgements: Lines[Judgement],
        pairs: Sequence[Pair],
        *,
        address: str,
        model: str,
        temperature: float | None,
    ) -> None:
        self._judgements = judgements
        self._known = {judgement.key: judgement for judgement in judgements.values}
        self._setting = (address, model, temperature)
        self.pairs = pairs

    def open(self) -> list[Ask]:
        """The questions that were not put yet: each once, also where two records lead to the same one."""
        asks = {ask.key: ask for pair in self.pairs for ask in self._asks(pair)}
        return [ask for key, ask in asks.items() if key not in self._known]

    def replies(self, pair: Pair) -> tuple[Judgement | None, Judgement | None]:
        """With the answer of ``pair.one`` shown first, and second; None: not asked yet. ``pair`` is not identical."""
        one, other = (self._known.get(ask.key) for ask in self._asks(pair))
        return one, other

    async def run(self, endpoint: Endpoint, prices: Prices, at_once: int, progress: Progress) -> None:
        """Put every open question, ``at_once`` at a time; each reply is on disk before it counts. Raises JudgeError."""
        questions = self.open()
        asks, total, done = iter(questions), len(questions), 0
        progress("questions", done, total)

        async def work() -> None:
            nonlocal done
            for ask in asks:  # shared: each worker takes the next one
                reply = await endpoint.ask(ask.messages)
                judgement = Judgement(
                    key=ask.key,
                    judge=endpoint.model,
                    endpoint=str(endpoint.url),
                    arms=(ask.pair.one.arm, ask.pair.other.arm),
                    first=ask.first,
                    place=ask.pair.place,
                    messages=ask.messages,
                    reply=reply.text,
                    scores=scores(reply.text),
                    prompt_tokens=reply.prompt_tokens,
                    completion_tokens=reply.completion_tokens,
                    cost=prices.cost(reply.prompt_tokens, reply.completion_tokens),
                )
                self._judgements.add([judgement])
                self._known[ask.key] = judgement
                done += 1
                progress("questions", done, total)

        workers = [asyncio.create_task(work()) for _ in range(min(at_once, total))]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    def _asks(self, pair: Pair) -> Iterator[Ask]:
        for first, second in ((pair.one, pair.other), (pair.other, pair.one)):
            messages = question(pair.record, first.text, second.text)
            key = sha256(msgspec.json.encode((*self._setting, messages))).hexdigest()
            if not pair.identical:
                yield Ask(key, pair, first.arm, messages)


def estimate(asks: Sequence[Ask]) -> tuple[int, int]:
    """Roughly how many tokens the questions have, and their replies will have."""
    letters = sum(len(message.content) for ask in asks for message in ask.messages)
    return letters // _LETTERS_PER_TOKEN, _REPLY_TOKENS * len(asks)
