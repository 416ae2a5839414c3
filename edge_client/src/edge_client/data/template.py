"""How a record is shown to the model: its own chat template, else Alpaca's."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from edge_client.reasons import reason_of
from fedit_shared.errors import UserError

from . import limits
from .source import Record

# Stanford Alpaca's prompts, word for word (tatsu-lab/stanford_alpaca, train.py), as Shepherd uses them.
_ALPACA_INPUT = (
    "Below is an instruction that describes a task, paired with an input that provides further context. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Input:\n{context}\n\n### Response:\n"
)
_ALPACA = (
    "Below is an instruction that describes a task. "
    "Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{instruction}\n\n### Response:\n"
)


_TODAY = datetime(2024, 7, 26)
"""The day that a template is told it is, always: what is trained on must not change at midnight, nor from one
participant to the other. Llama 3's templates name this one themselves where there is no clock."""
_TOLD = {f"%{letter}": _TODAY.strftime(f"%{letter}") for letter in "aAbBcdfGHIjmMpSuUVwWxXyY"}
_TOLD |= {f"%-{letter}": str(int(_TODAY.strftime(f"%{letter}"))) for letter in "dHIjmMSy"}
_CLOCK = (
    "{% macro strftime_now(format) %}{{ format"
    + "".join(f" | replace('{form}', '{told}')" for form, told in _TOLD.items())
    + " }}{% endmacro %}\n"
)
"""In Jinja, whose environment here removes the line's end."""
_WIDENING, _AROUND = 8, 2**20
"""How many characters a template may make of one of the record's, and how many of its own it may add."""


class UnshownError(UserError):
    """The model's chat template cannot show a record. ``reason``: why, in a few words, none of them the record's."""

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(
            f"The model's chat template cannot show the record in line {line}: {reason}.",
            advice="Correct its turns, or leave it out.",
        )
        self.reason = reason


class Tokenizer(Protocol):
    """What is used of a transformers tokenizer."""

    chat_template: str | None
    eos_token: str | None

    def __call__(self, text: str, *, add_special_tokens: bool) -> Any: ...

    def get_chat_template(self) -> str: ...

    def apply_chat_template(
        self, conversation: list[dict[str, str]], *, chat_template: str, tokenize: bool, add_generation_prompt: bool
    ) -> Any: ...


@dataclass(frozen=True)
class Example:
    """A record as tokens. Position t predicts ``tokens[t]`` from those before; it carries loss if t ≥ ``learned``."""

    tokens: tuple[int, ...]
    learned: int
    """First position whose token is learned; at least 1, less than ``len(tokens)``."""
    record: int
    """The record's place in its data set."""


class Template:
    """Turns records into tokens for one tokenizer. Its chat template came with the model and is a program: it runs
    within :mod:`.limits`. Methods raise UnshownError for a record that it fails on, UserError if it does not end."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def prompt(self, record: Record) -> list[int]:
        """Tokens up to where the answer begins."""
        text = self._chat(record, answered=False) if self._tokenizer.chat_template else _alpaca(record)
        return self._tokens(text, special=not self._tokenizer.chat_template)

    def example(self, record: Record, place: int, max_length: int, *, train_on_inputs: bool = False) -> Example | None:
        """``record`` with its answer and the end-of-turn token, as :func:`cut` leaves it."""
        prompt, answer = self.parts(record)
        return cut(prompt, answer, place, max_length, train_on_inputs=train_on_inputs)

    def parts(self, record: Record) -> tuple[list[int], list[int]]:
        """Prompt and answer, the latter with the end-of-turn token, in full. They are tokenized apart, so that the
        prompt has the very tokens that it has when an answer is generated."""
        return self.prompt(record), self._tokens(self._answer(record), special=False)

    def _answer(self, record: Record) -> str:
        end = self._tokenizer.eos_token or ""
        if self._tokenizer.chat_template:
            asked, whole = self._chat(record, answered=False), self._chat(record, answered=True)
            # Some templates show a past answer otherwise than one to come: then its own words are taken.
            if whole.startswith(asked):
                answer = whole[len(asked) :]
                # Behind the answer's own words the template ends the turn, or leaves that to us.
                ends = answer.rpartition(record.response.strip())[2].strip()
                return answer.rstrip() if ends else record.response + end
        return record.response + end

    def _chat(self, record: Record, *, answered: bool) -> str:
        turns = [{"role": turn.role, "content": turn.content} for turn in record.earlier]
        turns.append({"role": "user", "content": record.asked})
        if answered:
            turns.append({"role": "assistant", "content": record.response})
        return self._render(turns, record, answered=answered)

    def _render(self, turns: list[dict[str, str]], record: Record, *, answered: bool) -> str:
        program = ""
        try:
            with limits.limited():
                program = self._tokenizer.get_chat_template()
                text = str(
                    self._tokenizer.apply_chat_template(
                        turns,
                        chat_template=_CLOCK + program if "strftime_now" in program else program,
                        tokenize=False,
                        add_generation_prompt=not answered,
                    )
                )
        except limits.TimeUpError:
            raise UserError(
                f"The model's chat template does not end: it was stopped after {limits.SECONDS:.0f} seconds of the "
                f"record in line {record.line}.",
                advice="It comes with the model: tell whoever chose that one.",
            ) from None
        except Exception as error:  # whatever a program of someone else's raises
            if turns[0]["role"] == "system" and len(turns) > 1:  # some templates have no such role
                first, second, *others = turns
                joined = {"role": second["role"], "content": f"{first['content']}\n\n{second['content']}"}
                return self._render([joined, *others], record, answered=answered)
            # A template may raise what a record says; what stands in it word for word says nothing of the record.
            reason = reason_of(error)
            raise UnshownError(record.line, reason if reason in program else type(error).__name__) from None
        if len(text) > _AROUND + _WIDENING * sum(len(turn["content"]) for turn in turns):
            raise UnshownError(record.line, f"it makes {len(text):,} characters of it")
        return text

    def _tokens(self, text: str, *, special: bool) -> list[int]:
        return list(self._tokenizer(text, add_special_tokens=special)["input_ids"])


def cut(
    prompt: list[int], answer: list[int], place: int, max_length: int, *, train_on_inputs: bool = False
) -> Example | None:
    """The example of a prompt and its answer, cut at its end to ``max_length`` tokens; None where that leaves no token
    of the answer."""
    tokens = tuple((prompt + answer)[:max_length])
    if len(prompt) >= len(tokens):
        return None
    learned = 1 if train_on_inputs else max(1, len(prompt))
    return Example(tokens, learned, place) if learned < len(tokens) else None


def _alpaca(record: Record) -> str:
    earlier = "\n".join(f"{turn.role.capitalize()}: {turn.content}" for turn in record.earlier)
    context = "\n\n".join(part for part in (earlier, record.context) if part)
    return (_ALPACA_INPUT if context else _ALPACA).format(instruction=record.instruction, context=context)
