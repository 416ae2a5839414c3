"""The section of ``docs/benchmarks.md`` on a server under load, from the newest result files.

``python -m benchmarks.load.table`` writes it; a test compares.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from benchmarks.machine import where
from benchmarks.pages import RESULTS, Section, table

from .crowd import RoundFigures

SECTION = Section("load", "benchmarks.load.table")
_NONE = "No run has been kept yet.\n"


def newest(scenario: str) -> dict[str, Any] | None:
    """The result that the page shows of this scenario; None before there is one."""
    found = [json.loads(file.read_text(encoding="utf-8")) for file in RESULTS.glob(f"{scenario}-*.json")]
    return max(found, key=lambda result: str(result["machine"]["date"]), default=None)


def section(load: Mapping[str, Any] | None, soak: Mapping[str, Any] | None) -> str:
    """Markdown."""
    parts = [_rounds(load) if load else _NONE]
    if soak:
        parts.append(_growth(soak))
    return "\n".join(parts)


def _figures(result: Mapping[str, Any]) -> list[RoundFigures]:
    return msgspec.convert(result["rounds"], list[RoundFigures])


def _about(result: Mapping[str, Any]) -> str:
    scenario = result["scenario"]
    share = f"one in {scenario['vanish']} vanishes" if scenario["vanish"] else "nobody vanishes"
    return (
        f"{where(result['machine'])} Server and devices share its cores: {scenario['devices']:,} devices, "
        f"d = {scenario['dimension']:,}, {share}.\n"
    )


def _rounds(result: Mapping[str, Any]) -> str:
    rounds, limits = _figures(result), result["limits"]
    exact = _exact(rounds)
    rows = [
        (f"sums, {exact}", *(str(one.cohorts) for one in rounds)),
        ("updates in them", *(f"{one.summed:,}" for one in rounds)),
        ("round", *(f"{one.seconds:.0f} s" for one in rounds)),
        ("… until the last receipt", *(f"{one.upload_seconds:.0f} s" for one in rounds)),
        *(
            (f"… {phase}, mean of the cohorts", *(f"{one.phases.get(phase, 0.0):.1f} s" for one in rounds))
            for phase in ("contribute", "prepare", "vote", "answer")
        ),
        ("masked vectors, until the last receipt", *(f"{one.upload_mb_per_second:.0f} MB/s" for one in rounds)),
        ("requests", *(f"{one.requests:,}" for one in rounds)),
        ("requests a second", *(f"{one.requests_per_second:.0f}" for one in rounds)),
        ("refused, told to try again", *(f"{one.refused:,}" for one in rounds)),
        ("processor time of the server", *(f"{one.server_cpu:.0f} s" for one in rounds)),
        ("event loop late, 99 of 100 times at most", *(f"{one.loop_lag_p99_ms:g} ms" for one in rounds)),
        ("the server's memory at most", *(f"{one.peak_mb:.0f} MB" for one in rounds)),
    ]
    head = ["", *(f"round {one.round}" for one in rounds)]
    best = (
        f"\nThis machine's best: {limits['loopback_mb_per_second']:.0f} MB/s through one TLS connection on loopback, "
        f"{limits['disk_mb_per_second']:.0f} MB/s onto the disk in synced chunks.\n"
    )
    return f"{_about(result)}\n{table(head, rows)}{best}"


def _growth(result: Mapping[str, Any]) -> str:
    rounds = _figures(result)
    shown = [rounds[i] for i in _spread(len(rounds))]
    rows = [("the server's memory at most", *(f"{one.peak_mb:.0f} MB" for one in shown))]
    head = [f"{len(rounds)} rounds", *(f"round {one.round}" for one in shown)]
    return f"{_about(result)}\n{table(head, rows)}\nAll {len(rounds)} sums: {_exact(rounds)}.\n"


def _exact(rounds: Sequence[RoundFigures]) -> str:
    return "all exact" if all(one.exact for one in rounds) else "NOT all exact"


def _spread(count: int) -> Sequence[int]:
    """At most six places from first to last."""
    steps = min(count, 6)
    return sorted({round(i * (count - 1) / max(1, steps - 1)) for i in range(steps)})


def main() -> None:
    """Write the section anew."""
    SECTION.write(section(newest("load"), newest("soak")))


if __name__ == "__main__":
    main()
