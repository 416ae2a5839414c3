"""Text of somebody else's, as a terminal may show it."""

import re

UNSHOWN = r"\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069"
"""Control characters (C0, DEL, C1), line separators and Unicode's Bidi_Control characters, as in a pattern's class."""
_ODD = re.compile(rf"[{UNSHOWN}\ud800-\udfff]")


def shown(text: str, longest: int) -> str:
    """``text`` in one line of at most ``longest`` characters, in which nothing moves a cursor or turns the direction of
    reading; half a surrogate pair, which no file takes, goes too."""
    line = _ODD.sub("�", text.replace("\n", " "))
    return line if len(line) <= longest else line[: longest - 1] + "…"
