"""What was found out about a data set, for a person or for a program."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from .check import Lines, Personal, Report, Sample
from .parse import shown
from .personal import find_personal, hide, mask
from .reader import Scan

_BAR = 32
_LINES = 5
_CATEGORIES = 20
_PERSONAL = 8
_EXCERPT = 2000


def as_lines(scan: Scan, report: Report, model: str | None, *, show: bool) -> Iterator[str]:
    """The report as text. ``show``: what is likely personal in the clear, and all of it."""
    unit = scan.unit
    refused = f"{report.refused:,} refused" if report.refused else "none refused"
    yield f"{scan.source.path}: {report.records:,} records ({scan.format}, {scan.container}), {refused}."
    yield from (f"  {shown_text(str(bad), 200)}" for bad in report.bad[:_LINES])
    if report.refused > _LINES:
        yield f"  and {report.refused - _LINES:,} more"
    if not report.records:
        return
    yield from _categories(report)
    yield from _lengths(report, model)
    if report.tokens:
        limit = f"{report.max_length:,} tokens"
        yield f"Cut at {limit}: {_lines(report.truncated, unit)} lose the end of their answer."
        yield f"Nothing left to learn within {limit}: {_lines(report.unlearnable, unit)}, which training skips."
    pairs = ", ".join(f"{unit} {line} as {unit} {first}" for line, first in report.pairs[:_LINES])
    yield f"Duplicates: {report.duplicates:,} records say what an earlier one says{f' ({pairs})' if pairs else ''}."
    if report.sample is not None:
        yield from _sample(report.sample if show else _hidden(report.sample, report.found), unit, model)
    yield from _personal(report, unit, show)


def as_json(scan: Scan, report: Report, model: str | None, *, show: bool) -> dict[str, Any]:
    """The report for a program. Without ``show`` it has figures and line numbers, nothing of the records' texts, and
    says nothing of personal data."""
    content: dict[str, Any] = {
        "path": scan.source.path,
        "container": scan.container,
        "format": scan.format,
        "unit": scan.unit,
        "records": report.records,
        "refused": {"count": report.refused, "lines": [{"line": bad.line, "reason": bad.reason} for bad in report.bad]},
        "categories": dict(sorted(report.categories.items())),
        "length": {
            "unit": "tokens" if report.tokens else "characters",
            "model": model,
            **_quantiles(report),
            "histogram": [{"from": low, "to": high, "records": count} for low, high, count in _histogram(report)],
        },
        "duplicates": {"count": report.duplicates, "lines": [list(pair) for pair in report.pairs]},
    }
    if report.tokens:
        content["max_length"] = report.max_length
        content["truncated"] = vars(report.truncated)
        content["nothing_to_learn"] = vars(report.unlearnable)
    if show:
        content["sample"] = vars(report.sample) if report.sample else None
        content["personal"] = {"count": dict(report.personal), "found": [vars(found) for found in report.found]}
    return content


def shown_text(text: str, limit: int) -> str:
    """A record's own text as it may stand on a terminal: lines stay lines, other control characters are replaced."""
    short = text if len(text) <= limit else text[: limit - 1] + "…"
    return "".join(c if c.isprintable() or c in "\n\t" else "�" for c in short)


def _categories(report: Report) -> Iterator[str]:
    named = [(name, count) for name, count in report.categories.most_common() if name]
    if not named:
        yield "Categories: the records name none."
        return
    yield "Categories:"
    width = max(len(shown(name)) for name, _ in named[:_CATEGORIES])
    for name, count in named[:_CATEGORIES]:
        yield f"  {shown(name):<{width}}  {count:>9,}  {100 * count / report.records:3.0f} %"
    if len(named) > _CATEGORIES:
        yield f"  and {len(named) - _CATEGORIES:,} more"
    if without := report.categories[""]:
        yield f"  none{'':<{max(0, width - 4)}}  {without:>9,}  {100 * without / report.records:3.0f} %"


def _lengths(report: Report, model: str | None) -> Iterator[str]:
    of = f"tokens of {model}, with the template" if report.tokens else "characters; --model counts tokens"
    quantiles = _quantiles(report)
    yield (
        f"Length ({of}): half have up to {quantiles['median']:,}, 95 % up to {quantiles['p95']:,}, "
        f"the longest {quantiles['longest']:,}."
    )
    rows = _histogram(report)
    most = max(count for _, _, count in rows)
    for low, high, count in rows:
        yield f"  {f'{low:,}–{high:,}':>19}  {count:>9,}  {'█' * -(-_BAR * count // most)}"


def _histogram(report: Report) -> list[tuple[int, int, int]]:
    """Lowest and highest length, and how many, in ranges that double; none in between is left out."""
    counts: dict[int, int] = {}
    for length in report.lengths:
        power = max(0, (length - 1).bit_length())
        counts[power] = counts.get(power, 0) + 1
    if not counts:
        return []
    return [
        (2**power // 2 + 1 if power else 0, 2**power, counts.get(power, 0))
        for power in range(min(counts), max(counts) + 1)
    ]


def _quantiles(report: Report) -> dict[str, int]:
    ordered = sorted(report.lengths)
    if not ordered:
        return {}
    last = len(ordered) - 1
    return {"median": ordered[last // 2], "p95": ordered[-(-last * 95 // 100)], "longest": ordered[last]}


def _sample(sample: Sample, unit: str, model: str | None) -> Iterator[str]:
    whose = (
        f"{model} sees it" if model else "a model without a chat template of its own sees it (--model: as yours does)"
    )
    yield f"The record of {unit} {sample.line} as {whose}. Between ⟦ and ⟧ is what it learns:"
    if not sample.learned:
        yield "  Nothing: no token of its answer is within the length."
        return
    text = f"{shown_text(sample.shown, _EXCERPT)}⟦{shown_text(sample.learned, _EXCERPT)}⟧"
    yield from (f"  | {line}" for line in text.split("\n"))
    if sample.lost:
        yield f"  Cut off are {len(sample.lost):,} characters behind it."


def _hidden(sample: Sample, found: list[Personal]) -> Sample:
    """``sample`` with what is likely personal masked: what was found in its record, also where the cut goes through it,
    and what looks so as the model sees it."""
    whole = sample.shown + sample.learned + sample.lost
    spans = [(each.start, each.end) for each in find_personal(whole)]
    for entry in found:
        if entry.line == sample.line:
            spans += [match.span() for match in re.finditer(re.escape(entry.text), whole)]
    for start, end in spans:
        whole = whole[:start] + hide(whole[start:end]) + whole[end:]
    learned, lost = len(sample.shown), len(sample.shown) + len(sample.learned)
    return replace(sample, shown=whole[:learned], learned=whole[learned:lost], lost=whole[lost:])


def _personal(report: Report, unit: str, show: bool) -> Iterator[str]:
    if not report.personal:
        yield "Likely personal data: none found. Names and the like are not looked for."
        return
    yield "Likely personal data. This is for your eyes only: it is not stored, logged or sent."
    for kind, count in report.personal.most_common():
        yield f"  {kind}: {count:,}"
        found = [entry for entry in report.found if entry.kind == kind]
        yield from (f"    {unit} {entry.line}, {entry.part}: {_excerpt(entry, show)}" for entry in _some(found, show))
        if not show and count > _PERSONAL:
            yield f"    and {count - _PERSONAL:,} more (--show names them)"
    yield "  Training can make a model repeat such things: correct the file, or leave these records out."


def _some(found: list[Personal], show: bool) -> list[Personal]:
    return found if show else found[:_PERSONAL]


def _excerpt(entry: Personal, show: bool) -> str:
    return shown_text(entry.text if show else mask(entry.text), 200).replace("\n", " ")


def _lines(lines: Lines, unit: str) -> str:
    if not lines.count:
        return "none"
    named = ", ".join(map(str, lines.first[:_LINES]))
    more = ", …" if lines.count > _LINES else ""
    return f"{lines.count:,} records ({unit}{'s' if lines.count > 1 else ''} {named}{more})"
