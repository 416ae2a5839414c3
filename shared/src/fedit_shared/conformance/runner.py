"""Takes a vector file apart and compares what the code does with what the file says."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from fedit_shared.errors import FeditError, UserError

from . import arithmetic, members, signed, sums
from .values import Inputs, Result, plain

FORMAT = "fedit-vectors-1"
Kind = Callable[[Inputs], Result]
KINDS: Mapping[str, Kind] = {**arithmetic.KINDS, **signed.KINDS, **members.KINDS, **sums.KINDS}


@dataclass(frozen=True)
class Outcome:
    """One case: whether it passed; if not, where the code first differs from the file."""

    name: str
    passed: bool
    difference: str = ""


def check(data: bytes) -> Iterator[Outcome]:
    """The outcome of each case of a vector file. Raises UserError for what is no such file."""
    try:
        file = json.loads(data)
        cases, given = file["cases"], dict(file["given"])
        known = file["format"] == FORMAT and all(map(_is_case, cases))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise UserError("This is no vector file.", advice="It is JSON with format, given and cases.") from error
    if not known or not cases:
        raise UserError(
            f"This is no vector file of the format {FORMAT}, or one without cases.",
            advice="Take the file from the release that this package is of.",
        )
    return (run(case, given) for case in cases)


def _is_case(case: object) -> bool:
    return isinstance(case, dict) and {"name", "kind", "in"} <= set(case)


def run(case: Mapping[str, Any], given: Mapping[str, Any]) -> Outcome:
    """One case against the code."""
    name, kind = str(case["name"]), KINDS.get(str(case["kind"]))
    if kind is None:
        return Outcome(name, False, f"unknown kind {case['kind']}")
    if ("out" in case) == ("error" in case):
        return Outcome(name, False, "neither out nor error, or both")
    try:
        got = {"out": plain(kind(Inputs(given, case["in"])))}
    except FeditError as error:
        got = {"error": error.code}
    except Exception as crash:  # an implementation that crashes has failed the case, and the next is to be run
        return Outcome(name, False, f"crashed: {type(crash).__name__}: {crash}")
    wanted = {key: case[key] for key in ("out", "error") if key in case}
    difference = _difference(wanted, got, "")
    return Outcome(name, difference is None, difference or "")


def _difference(wanted: Any, got: Any, path: str) -> str | None:
    """Where two JSON values first differ. Numbers must be equal; true is not 1."""
    if isinstance(wanted, dict) and isinstance(got, dict):
        missing = sorted(set(wanted) ^ set(got))
        if missing:
            return f"{path}.{missing[0]}: wanted {_short(wanted, missing[0])}, got {_short(got, missing[0])}"
        pairs = [(wanted[key], got[key], f"{path}.{key}") for key in wanted]
    elif isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        pairs = [(a, b, f"{path}.{i}") for i, (a, b) in enumerate(zip(wanted, got, strict=True))]
    else:
        same = wanted == got and isinstance(wanted, bool) == isinstance(got, bool)
        return None if same else f"{path}: wanted {json.dumps(wanted):.200}, got {json.dumps(got):.200}"
    return next((found for a, b, at in pairs if (found := _difference(a, b, at))), None)


def _short(values: Mapping[str, Any], key: str) -> str:
    return f"{json.dumps(values[key]):.200}" if key in values else "nothing"
