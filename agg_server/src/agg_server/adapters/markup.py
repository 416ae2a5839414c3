"""Text of others in a page of Markdown and in YAML: shown as it is, and never more than text.

In Markdown a code span is the one place where neither HTML nor links nor escapes mean anything; in YAML a double-quoted
scalar.
"""

import re
from collections.abc import Sequence

_LONGEST = 400
_TICKS = re.compile(r"`+")


def line(text: str) -> str:
    """``text`` as one line: what is not printable, line ends and marks that turn the direction of reading included,
    becomes a question mark."""
    return "".join(letter if letter.isprintable() else "?" for letter in text[:_LONGEST])


def code(text: str) -> str:
    """``text`` in a code span."""
    shown = line(text).strip() or "?"
    fence = "`" * (1 + max(map(len, _TICKS.findall(shown)), default=0))
    pad = " " if "`" in shown else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def quoted(text: str) -> str:
    """``text`` as a scalar of YAML."""
    escaped = line(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are Markdown already: in one even a code span ends at a bare ``|``."""
    ruled = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in ruled)
