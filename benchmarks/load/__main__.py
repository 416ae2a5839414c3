"""``python -m benchmarks.load``: one server under load, figures of each round in a file, one line of JSON last."""

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from agg_server.web.door import make_room
from benchmarks.machine import machine
from benchmarks.pages import ROOT

from .crowd import RoundFigures, crowd, play
from .limits import disk_bytes_per_second, loopback_bytes_per_second
from .operator import Operator
from .scenario import LOAD, QUICK, SOAK, Scenario

SCENARIOS = {"load": LOAD, "soak": SOAK, "quick": QUICK}


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What the machine can do at best, in 10⁶ bytes a second."""

    loopback_mb_per_second: float
    disk_mb_per_second: float


def measure(scenario: Scenario, folder: Path) -> tuple[Limits, list[RoundFigures]]:
    """All rounds, one after the other, on a server in ``folder``."""
    operator = Operator(folder, scenario)
    tls = folder / "federation" / "tls"
    limits = Limits(
        loopback_mb_per_second=loopback_bytes_per_second(tls / "certificate.pem", tls / "key.pem") / 1e6,
        disk_mb_per_second=disk_bytes_per_second(folder) / 1e6,
    )
    operator.start()
    try:
        return limits, asyncio.run(_rounds(operator, scenario))
    finally:
        operator.stop()


async def _rounds(operator: Operator, scenario: Scenario) -> list[RoundFigures]:
    figures = []
    async with crowd(operator, scenario, _say) as devices:
        for number in range(1, scenario.rounds + 1):
            figures.append(await play(operator, scenario, devices, number))
            _say(_line(figures[-1]))
    return figures


def summary(scenario: Scenario, figures: list[RoundFigures]) -> dict[str, Any]:
    """The last line."""
    return {
        "clients": scenario.devices,
        "rounds": len(figures),
        "sums_exact": all(one.exact for one in figures),
        "round_seconds": round(sum(one.seconds for one in figures) / len(figures), 1),
        "peak_mb_first_round": round(figures[0].peak_mb, 1),
        "peak_mb_last_round": round(figures[-1].peak_mb, 1),
        "loop_lag_p99_ms": max(one.loop_lag_p99_ms for one in figures),
    }


def _line(one: RoundFigures) -> str:
    return (
        f"round {one.round}: {one.seconds:.0f} s (uploads {one.upload_seconds:.0f} s at {one.upload_mb_per_second:.0f} "
        f"MB/s), {one.summed} of {one.dealt} receipts in {one.cohorts} sums, {'exact' if one.exact else 'WRONG'}; "
        f"server {one.peak_mb:.0f} MB, lag below {one.loop_lag_p99_ms:g} ms, {one.requests_per_second:.0f} requests/s"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> None:
    """Entry point. Exit status 1 if a sum is not exact."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.load", description=__doc__)
    parser.add_argument("scenario", nargs="?", choices=sorted(SCENARIOS), default="load")
    parser.add_argument("--devices", type=int, help="instead of the scenario's")
    parser.add_argument("--rounds", type=int, help="instead of the scenario's")
    parser.add_argument("--window", type=int, metavar="SECONDS", help="time for uploads, instead of the scenario's")
    parser.add_argument("--out", type=Path, help="where the figures go (build/load.json, build/soak.json …)")
    options = parser.parse_args()
    if not Path("/proc/self/clear_refs").exists():
        sys.exit("Only Linux lets this benchmark read the server's memory.")
    given = {"devices": options.devices, "rounds": options.rounds, "contribute_window": options.window}
    scenario = SCENARIOS[options.scenario]._replace(**{name: value for name, value in given.items() if value})
    make_room(8 * scenario.devices)
    where = machine("numpy", "numba", "cryptography", "aiohttp")
    with tempfile.TemporaryDirectory(prefix="fedit-load-") as folder:
        limits, figures = measure(scenario, Path(folder))
    out = options.out or ROOT / "build" / f"{options.scenario}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    result = {"machine": where, "scenario": scenario._asdict(), "limits": limits, "rounds": figures}
    out.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    told = summary(scenario, figures)
    print(json.dumps(told))
    sys.exit(0 if told["sums_exact"] else 1)


if __name__ == "__main__":
    main()
