"""Writes the vector files beside it, from tests/support/reference, which is written from docs/protocol.md alone.

    python tests/vectors/generate.py [--check]

Everything follows from fixed seeds but sealed packets: sealing draws randomness from the operating system, so packets
that a file already has are kept as long as they open to what they must hold. ``--check``
writes nothing and exits with 1 if a file is not what would be written.
"""

import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "support")]

import basics  # noqa: E402
import cohort_cases  # noqa: E402
import wire  # noqa: E402

FORMAT = "fedit-vectors-1"


def files() -> dict[str, str]:
    """Every file's text by its name."""
    made = {}
    for name, (about, parts) in {**basics.FILES, **wire.FILES}.items():
        made[name] = {"about": about, "given": {}, "cases": [case for part in parts for case in part()]}
    for name in cohort_cases.SHAPES:
        path = HERE / f"{name}.json"
        kept = json.loads(path.read_text()) if path.exists() else None
        made[name] = cohort_cases.build(name, kept)
    return {f"{name}.json": _text(file) for name, file in made.items()}


def _text(file: dict[str, Any]) -> str:
    names = [case["name"] for case in file["cases"]]
    assert len(set(names)) == len(names), sorted({name for name in names if names.count(name) > 1})
    return json.dumps({"format": FORMAT, **file}, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def main(arguments: list[str]) -> int:
    made, wrong = files(), 0
    for name, text in made.items():
        path = HERE / name
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        wrong += 1
        print(name)
        if "--check" not in arguments:
            path.write_text(text, encoding="utf-8")
    return int(bool(wrong) and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
