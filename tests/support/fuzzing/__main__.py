"""Fuzzes decoders: every one, or those that are named.

``python -m fuzzing --seconds 60`` gives each of them a minute, one after the other, under atheris (the extra ``fuzz``).
What they try next time builds on what they reached, in ``build/fuzz``. An input that breaks one is kept in
``tests/fuzz/found``, where it is a test from then on; the exit status is 1 then.
"""

import argparse
import re
import shutil
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from .table import FOUND, HOMES, TARGETS

_BUILD = Path("build") / "fuzz"
_SHOWN = 25
_OVERTIME = 300
"""Seconds beyond its own after which a target's process has hung."""


def _fuzz(name: str, seconds: int) -> bool:
    """Whether nothing was found."""
    folder = _BUILD / name
    folder.mkdir(parents=True, exist_ok=True)
    line = [sys.executable, "-m", "fuzzing.engine", HOMES[name], name, str(folder), str(seconds)]
    begun = time.monotonic()
    try:
        done = subprocess.run(line, capture_output=True, timeout=seconds + _OVERTIME, check=False)
        status, said = done.returncode, (done.stderr + done.stdout).decode(errors="replace")
    except subprocess.TimeoutExpired as late:
        status, said = -1, (late.stderr or b"").decode(errors="replace") + "\nIt hung."
    runs = re.search(r"number_of_executed_units: (\d+)", said)
    print(f"{name}: {runs[1] if runs else '?'} inputs in {time.monotonic() - begun:.0f} s", flush=True)
    kept = [_keep(name, path) for path in folder.iterdir() if path.name.startswith(("crash-", "timeout-", "oom-"))]
    if status == 0 and not kept:
        return True
    print("\n".join(["", *said.splitlines()[-_SHOWN:], "", *(f"Kept: {path}" for path in kept)]), flush=True)
    return False


def _keep(name: str, path: Path) -> Path:
    target = FOUND / name / path.name.rpartition("-")[2][:16]
    target.parent.mkdir(parents=True, exist_ok=True)
    return Path(shutil.move(path, target))


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzzes decoders of what comes from somebody else.")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}")
    options = parser.parse_args()
    if find_spec("atheris") is None:
        print("This takes atheris: pip install -c constraints.txt atheris (Linux and macOS).", file=sys.stderr)
        return 2
    if odd := set(options.targets) - set(TARGETS):
        parser.error(f"there is no target {', '.join(sorted(odd))}")
    names = options.targets or list(TARGETS)
    broken = [name for name in names if not _fuzz(name, options.seconds)]
    print(f"{len(names)} targets, {len(broken)} broken{': ' if broken else '.'}{', '.join(broken)}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
