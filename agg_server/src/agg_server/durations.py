"""Durations as people write them: ``20s``, ``30min``, ``12h``, ``7d``."""

import re

_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86400}
_LONGEST = 366 * 86400
_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|h|d)")


class Seconds(float):
    """A duration, in seconds."""

    @classmethod
    def parse(cls, text: object) -> "Seconds":
        """The duration that ``text`` names. Raises ValueError, in words for a person, for anything else."""
        match = _FORM.fullmatch(text.strip()) if isinstance(text, str) else None
        seconds = float(match[1]) * _UNITS[match[2]] if match else 0.0
        if not 0 < seconds <= _LONGEST:
            raise ValueError('Expected a duration such as "20s", "30min", "12h" or "7d", at most "366d"')
        return cls(seconds)


def in_words(seconds: float) -> str:
    """A duration rounded for a person: ``40 s``, ``12 min``, ``3.5 h``, ``2 days``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    if seconds < 172800:
        return f"{seconds / 3600:.1f} h".replace(".0 h", " h")
    return f"{seconds / 86400:.0f} days"
