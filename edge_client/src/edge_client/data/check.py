"""What an owner wants to know of a data set before it is trained on. Records pass by; only figures, line numbers and
what is likely personal stay, the latter two up to a limit."""

from array import array
from collections import Counter
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Protocol

from .personal import Kind, find_personal
from .reader import BadLine, Scan
from .source import Record
from .template import Example, Template, Tokenizer, UnshownError, cut

KEPT = 1000
"""Lines of each sort that are remembered; all are counted."""


class Decoder(Tokenizer, Protocol):
    """A tokenizer that can also say what its tokens are."""

    def decode(self, token_ids: list[int]) -> str: ...


class Characters:
    """A tokenizer for where none is at hand: a character is a token, and there is no template."""

    chat_template: str | None = None
    eos_token: str | None = None

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        """The characters' numbers."""
        return {"input_ids": [ord(character) for character in text]}

    def get_chat_template(self) -> str:
        """Never asked for: there is no template."""
        raise NotImplementedError

    def apply_chat_template(
        self, conversation: object, *, chat_template: str, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        """Never asked for, either."""
        raise NotImplementedError

    def decode(self, token_ids: list[int]) -> str:
        """The text."""
        return "".join(map(chr, token_ids))


@dataclass
class Lines:
    """How many, and where the first of them are."""

    count: int = 0
    first: list[int] = field(default_factory=list)

    def add(self, line: int) -> None:
        """One more."""
        self.count += 1
        if len(self.first) < KEPT:
            self.first.append(line)


@dataclass(frozen=True)
class Personal:
    """Something likely personal, as it stands there: for the owner's eyes."""

    kind: Kind
    line: int
    part: str
    text: str = field(repr=False)


@dataclass(frozen=True)
class Sample:
    """A record as the model sees it: what it is shown, what it learns, and what ``max_length`` cuts off."""

    line: int
    shown: str
    learned: str
    lost: str


@dataclass
class Report:
    """What was seen. Lengths are in tokens of whole examples, before they are cut, or in characters of the record where
    no tokenizer was given."""

    max_length: int
    tokens: bool
    records: int = 0
    refused: int = 0
    bad: list[BadLine] = field(default_factory=list)
    categories: Counter[str] = field(default_factory=Counter)
    lengths: "array[int]" = field(default_factory=lambda: array("I"))
    truncated: Lines = field(default_factory=Lines)
    unlearnable: Lines = field(default_factory=Lines)
    duplicates: int = 0
    pairs: list[tuple[int, int]] = field(default_factory=list)
    """A record that repeats an earlier one, and the earlier one's line."""
    personal: Counter[Kind] = field(default_factory=Counter)
    found: list[Personal] = field(default_factory=list)
    sample: Sample | None = None

    @property
    def learnable(self) -> int:
        """Records with something to learn."""
        return self.records - self.unlearnable.count


def examine(scan: Scan, tokenizer: Decoder | None, *, max_length: int, line: int | None = None) -> Report:
    """Go through ``scan`` once. ``line``: the record to show as a sample (default: the first). Raises UserError."""
    report = Report(max_length=max_length, tokens=tokenizer is not None)
    template = Template(tokenizer or Characters())
    seen: dict[bytes, int] = {}
    for record in scan:
        if isinstance(record, BadLine):
            _refused(report, record)
            continue
        try:
            parts = template.parts(record) if tokenizer else None
        except UnshownError as error:
            reason = f"the model's chat template cannot show it: {error.reason}"
            _refused(report, BadLine(record.line, reason, scan.unit))
            continue
        report.records += 1
        report.categories[record.category] += 1
        _repeated(report, seen, record)
        _personal(report, record)
        if parts is None:
            report.lengths.append(sum(map(len, _texts(record).values())))
        else:
            _measured(report, record.line, *parts)
        if report.sample is None and line in (None, record.line):
            prompt, answer = parts or template.parts(record)
            limit = max_length if tokenizer else len(prompt) + len(answer)
            example = cut(prompt, answer, 0, limit)
            report.sample = _sample(tokenizer or Characters(), record.line, prompt, answer, example)
    return report


def _refused(report: Report, bad: BadLine) -> None:
    report.refused += 1
    if len(report.bad) < KEPT:
        report.bad.append(bad)


def _measured(report: Report, line: int, prompt: list[int], answer: list[int]) -> None:
    length = len(prompt) + len(answer)
    report.lengths.append(length)
    if cut(prompt, answer, 0, report.max_length) is None:
        report.unlearnable.add(line)
    elif length > report.max_length:
        report.truncated.add(line)


def _repeated(report: Report, seen: dict[bytes, int], record: Record) -> None:
    said = "\0".join(" ".join(text.split()) for text in _texts(record).values())
    first = seen.setdefault(blake2b(said.encode(), digest_size=16).digest(), record.line)
    if first != record.line:
        report.duplicates += 1
        if len(report.pairs) < KEPT:
            report.pairs.append((record.line, first))


def _personal(report: Report, record: Record) -> None:
    for name, text in _texts(record).items():
        for found in find_personal(text):
            report.personal[found.kind] += 1
            if report.personal[found.kind] <= KEPT:
                report.found.append(Personal(found.kind, record.line, name, text[found.start : found.end]))


def _texts(record: Record) -> dict[str, str]:
    earlier = {f"message {place}": turn.content for place, turn in enumerate(record.earlier, 1)}
    return earlier | {"instruction": record.instruction, "context": record.context, "response": record.response}


def _sample(tokenizer: Decoder, line: int, prompt: list[int], answer: list[int], example: Example | None) -> Sample:
    whole = prompt + answer
    if example is None:
        return Sample(line, "", "", tokenizer.decode(whole))
    shown, learned = example.tokens[: example.learned], example.tokens[example.learned :]
    return Sample(
        line,
        tokenizer.decode(list(shown)),
        tokenizer.decode(list(learned)),
        tokenizer.decode(whole[len(example.tokens) :]),
    )
