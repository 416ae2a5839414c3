"""Results in lines, for a person."""

from collections.abc import Iterator, Mapping
from typing import Any

_NAMES = {"loss": "loss", "perplexity": "perplexity", "rouge_l": "ROUGE-L", "exact_match": "exact match"}
_DIGITS = {"loss": 4, "perplexity": 2, "rouge_l": 4, "exact_match": 3}


def as_lines(results: Mapping[str, Any]) -> Iterator[str]:
    """What :func:`.report.summarize` found."""
    arms, differences = results["arms"], results["differences"]
    yield "In brackets: 95 % intervals, by bootstrap over the records; differences are paired by record."
    yield "Those of shares (exact match) are Wilson's and Newcombe's; a bootstrap of fewer than 10 records has none."
    width = max(map(len, [*arms, *differences]))
    for task, metrics in results["tasks"].items():
        for metric, found in metrics.items():
            yield f"{task}, {metric}{', {documents} documents'.format(**found) if 'documents' in found else ''}"
            for rows, sign in ((found["arms"], ""), (found["differences"], "+")):
                for name, row in rows.items():
                    shown = interval(row, "", 4, sign) if "low" in row else f"{row['value']:.4f}"
                    yield f"  {name:<{width}} {shown}"
    if not results["records"]:
        return
    left_out = results["without_loss"]
    yield f"{results['records']} records{f', {left_out} of them cut off or not shown by the template' * (left_out > 0)}"
    for name, arm in arms.items():
        yield f"{name:<{width}}  {_figures(arm)}"
        if (told := arm["answers"]) is not None:
            cut = f", {told['cut_off']} cut off" if told["cut_off"] else ""
            yield f"{'':<{width}}  {told['records']} answers, {told['checkable']} of them checkable{cut}"
    for name, difference in differences.items():
        yield f"{name:<{width}}  {_figures(difference, sign='+')}"
    first = next(iter(arms.values()))
    if len(first["by_category"]) > 1:
        yield "By category (perplexity: in --json):"
        for label, group in first["by_category"].items():
            yield f"  {label}, {group['records']} records"
            for rows, sign in ((arms, ""), (differences, "+")):
                for name, row in rows.items():
                    found = row["by_category"][label] | {"perplexity": None}
                    yield f"    {name:<{width}}  {_figures(found, sign=sign)}"


def _figures(found: Mapping[str, Any], sign: str = "") -> str:
    parts = [interval(found.get(key), name, _DIGITS[key], sign) for key, name in _NAMES.items()]
    return "  ".join(part for part in parts if part) or "nothing to judge by"


def interval(found: Mapping[str, float] | None, name: str, digits: int, sign: str = "") -> str:
    """``loss 2.6301 (2.5012 to 2.7600)``; the figure alone where there are no bounds; "" for None."""
    if found is None:
        return ""
    if "low" not in found:
        return f"{name} {found['value']:{sign}.{digits}f}"
    value, low, high = (f"{found[key]:{sign}.{digits}f}" for key in ("value", "low", "high"))
    return f"{name} {value} ({low} to {high})"


def verdict_lines(results: Mapping[str, Any]) -> Iterator[str]:
    """What :mod:`.verdicts` found of two arms."""
    one, other = results["arms"]
    if not results["records"]:
        yield "Nothing was judged: no record has two readable replies, or a loss."
    else:
        yield f"{one} against {other}, judged by {results['judge']}: {results['records']} records."
        yield _shares(results)
    if results["judge"] == "likelihood" and "margin" in results:
        yield interval(results["difference"], f"loss of the reference answers, {one} - {other}:", 4, "+")
        return
    told = results["scores"]
    for key, name in (("first_arm", one), ("second_arm", other)):
        yield interval(told[key], f"score of {name}:", 2) or f"score of {name}: none"
    place = results["position"]
    if place["first"] is not None:
        yield (
            f"Position: preferred was the answer shown first {place['first']:.0%} of the times, the second "
            f"{place['second']:.0%}, neither {place['equal']:.0%}; in {results['contradictory']} records one arm "
            "in one order and the other one in the other (ties here)."
        )
    counts = (
        ("identical", "identical answers (ties)"),
        ("unparsed", "without readable scores"),
        ("not_judged", "not judged"),
    )
    left = [f"{results[key]} {words}" for key, words in counts if results[key]]
    if left:
        yield f"Records: {', '.join(left)}."
    cost = f", {results['cost']:.4f} at your prices" if results["cost"] else ""
    asked, said = results["prompt_tokens"], results["completion_tokens"]
    yield f"{results['questions']} questions: {asked:,} tokens, {said:,} of replies{cost}."


def _shares(found: Mapping[str, Any]) -> str:
    parts = [interval(found[key], key, 3) for key in ("win", "tie", "loss")]
    return f"  {'  '.join(parts)}  {interval(found['lead'], 'win - loss', 3, '+')}"
