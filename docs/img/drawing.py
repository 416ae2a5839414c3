"""What the scripts share that draw the documentation's pictures."""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

FONT = "font-family:system-ui,-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif"


def palette(colours: Mapping[str, str]) -> str:
    """Rules that fill and stroke with a colour by its name."""
    return "".join(f".f-{name}{{fill:{value}}}.s-{name}{{stroke:{value}}}" for name, value in colours.items())


def document(width: float, height: float, label: str, style: str, parts: Sequence[str]) -> str:
    """The whole SVG; ``label``: what somebody hears who does not see it."""
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" aria-label="{label}">\n'
        f"<style>{style}</style>\n{body}\n</svg>\n"
    )


def write(name: str, draw: Callable[[], str]) -> None:
    """Into ``name`` beside the scripts, or with ``-`` as argument to standard output."""
    if sys.argv[1:] == ["-"]:
        sys.stdout.write(draw())
    else:
        Path(__file__).with_name(name).write_text(draw(), encoding="utf-8")
