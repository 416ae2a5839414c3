"""Draws round.svg, the picture of a round: ``python docs/img/make_round.py`` (``-`` as argument: to standard output).

Time runs from left to right; each row is a participant's own machine, the band below is the server. The bars are
computed as in a real round: those of the sum are the sums of the three survivors' bars.
"""

import random

from drawing import FONT, document, palette, write

WIDTH, HEIGHT = 1000, 592
LEFT, COLUMN = 138, 122
TOP, ROW = 58, 70
GUTTER = TOP + 4 * ROW + 8
SERVER = GUTTER + 68
BARS, PITCH = 9, 9

PHASES = ["Check in", "Train", "Muster", "Contribute", "Vote", "Reveal", "Publish"]
PEOPLE = "ABCD"
LOST = "D"
# What crosses the border in each phase: direction as seen from above, and two short lines.
TRAVELS = [
    ("both", "the task and", "adapter v"),
    ("none", "nothing leaves", "the machine"),
    ("down", "a round key,", "signed"),
    ("down", "masked vector,", "once"),
    ("both", "one list of", "survivors"),
    ("down", "the sum of", "key shares"),
    ("up", "adapter v + 1,", "signed"),
]
KNOWS = [
    ("who is there", ""),
    ("nothing", ""),
    ("the roster:", "A, B, C, D"),
    ("masked vectors:", "noise, to it"),
    ("three of four have", "signed A, B, C"),
    ("the sum of the", "three keys"),
    ("the sum of the", "three updates"),
]
FOOT = (
    "Coloured: one participant's update, seen by nobody else. Grey: masked, noise to all. Gold: the sum of A, B and C.",
    "Had D been switched off after its upload, its update would count, and the others' answers would open the sum.",
)

LIGHT = {
    "paper": "#ffffff", "edge": "#c9d1d9", "machine": "#f3f6fa", "server": "#fff5e5", "server-edge": "#d9a441",
    "ink": "#1f2328", "soft": "#59636e", "noise": "#8c959f", "arrow": "#59636e", "sum": "#9a6700", "bad": "#cf222e",
    "A": "#0969da", "B": "#1a7f37", "C": "#8250df", "D": "#bf5b04",
}  # fmt: skip
DARK = {
    "paper": "#0d1117", "edge": "#3d444d", "machine": "#161b22", "server": "#2a2111", "server-edge": "#9e7a2f",
    "ink": "#f0f6fc", "soft": "#9da7b1", "noise": "#7d8590", "arrow": "#9da7b1", "sum": "#e3b341", "bad": "#ff7b72",
    "A": "#58a6ff", "B": "#3fb950", "C": "#bc8cff", "D": "#f0883e",
}  # fmt: skip


def _text(
    x: float, y: float, words: str, kind: str = "ink", size: int = 14, anchor: str = "middle", bold: int = 0
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:g}" y="{y:g}" class="f-{kind}" font-size="{size}" text-anchor="{anchor}"{weight}>{words}</text>'
    )


def _box(x: float, y: float, w: float, h: float, fill: str, stroke: str, extra: str = "") -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="9" class="f-{fill} s-{stroke}" {extra}/>'


def _bars(x: float, y: float, heights: list[float], kind: str, extra: str = "") -> str:
    """Bars around the base line ``y``, up for positive and down for negative values, centred on ``x``."""
    left = x - BARS * PITCH / 2 + 1
    parts = [
        f'<rect x="{left + i * PITCH:g}" y="{y - max(h, 0):.1f}" width="{PITCH - 2}" height="{max(abs(h), 1):.1f}"/>'
        for i, h in enumerate(heights)
    ]
    base = f'<path d="M{left - 3:g} {y:g}h{BARS * PITCH + 4}" class="s-edge" fill="none"/>'
    return f'{base}<g class="f-{kind}" {extra}>{"".join(parts)}</g>'


def _arrow(x: float, top: float, bottom: float, way: str) -> str:
    heads = []
    if way in ("down", "both"):
        heads.append(f"M{x - 6:g} {bottom - 8:g}L{x:g} {bottom:g}L{x + 6:g} {bottom - 8:g}")
    if way in ("up", "both"):
        heads.append(f"M{x - 6:g} {top + 8:g}L{x:g} {top:g}L{x + 6:g} {top + 8:g}")
    line = f"M{x:g} {top:g}V{bottom:g}"
    return f'<path d="{line}{"".join(heads)}" class="s-arrow" fill="none" stroke-width="2"/>'


def _key(x: float, y: float, kind: str, scale: float = 1.0) -> str:
    return (
        f'<g transform="translate({x:g} {y:g}) scale({scale:g})" class="s-{kind}" fill="none" stroke-width="2.4">'
        '<circle cx="-10" cy="0" r="6"/><path d="M-4 0H16M10 0V6M16 0V7"/></g>'
    )


def _data_store(x: float, y: float, kind: str) -> str:
    return (
        f'<g transform="translate({x:g} {y:g})" class="s-{kind}" fill="none" stroke-width="2">'
        '<ellipse cx="0" cy="-9" rx="12" ry="4.5"/>'
        '<path d="M-12 -9V9C-12 15 12 15 12 9V-9M-12 0C-12 6 12 6 12 0"/></g>'
    )


def _signature(x: float, y: float, kind: str) -> str:
    return f'<path d="M{x - 8:g} {y:g}l6 7l12 -14" class="s-{kind}" fill="none" stroke-width="3"/>'


def _centre(column: int) -> float:
    return LEFT + COLUMN * (column + 0.5)


def _participant(row: int, who: str, update: list[float], masked: list[float]) -> str:
    y = TOP + ROW * row
    middle = y + ROW / 2 - 3
    lost = who == LOST
    out = [_box(10, y, WIDTH - 20, ROW - 7, "machine", "edge")]
    out += [_data_store(36, middle, who), _text(58, middle - 3, who, who, 18, "start", 1)]
    out += [_text(58, middle + 15, "data stays", "soft", 13, "start")]
    out += [_signature(_centre(0), middle, who), _bars(_centre(1), middle, update, who), _key(_centre(2), middle, who)]
    if lost:
        out += [_bars(_centre(3), middle, masked[:4] + [0.0] * (BARS - 4), "noise", 'opacity="0.6"')]
        cross = _centre(3) + 17
        out += [f'<path d="M{cross - 8:g} {middle - 8:g}l16 16m0 -16l-16 16" class="s-bad" stroke-width="3.5"/>']
        out += [_text(_centre(3) + 60, middle - 4, "switched off in mid-upload: it is left out,", "bad", 14, "start")]
        return "".join(out) + _text(
            _centre(3) + 60, middle + 15, "and the others go on as if it had not come", "bad", 14, "start"
        )
    out += [_bars(_centre(3), middle, masked, "noise"), _signature(_centre(4), middle - 8, who)]
    out += [_text(_centre(4), middle + 19, "A, B, C", "soft", 13)]
    out += [_key(_centre(5) - 20 + 10 * i, middle - 10 + 10 * i, other, 0.8) for i, other in enumerate("ABC")]
    return "".join(out) + _bars(_centre(6), middle, _sum_of_survivors(), "sum")


def _updates() -> dict[str, list[float]]:
    """What each learned: something in common, and something of their own."""
    rng = random.Random(11)
    trend = [rng.choice((-1, 1)) * rng.uniform(3, 15) for _ in range(BARS)]
    return {who: [max(-24, min(24, t + rng.uniform(-9, 9))) for t in trend] for who in PEOPLE}


def _sum_of_survivors() -> list[float]:
    """The sum, drawn smaller to fit the page."""
    return [sum(values) / 2.5 for values in zip(*(_updates()[who] for who in PEOPLE if who != LOST), strict=True)]


def _draw() -> str:
    rng = random.Random(7)
    masked = {who: [rng.uniform(-22, 22) for _ in range(BARS)] for who in PEOPLE}
    parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" rx="12" class="f-paper"/>']
    for i, phase in enumerate(PHASES):
        parts += [_text(_centre(i), 38, f"{i + 1}. {phase}", "ink", 16, bold=1)]
    parts += [_participant(row, who, _updates()[who], masked[who]) for row, who in enumerate(PEOPLE)]
    parts += [_box(10, SERVER, WIDTH - 20, 104, "server", "server-edge", 'stroke-width="1.5"')]
    parts += [_box(10, SERVER, WIDTH - 20, 112, "server", "server-edge", 'stroke-width="1.5"')]
    parts += [_text(26, SERVER + 42, "Server", "ink", 18, "start", 1)]
    parts += [_text(26, SERVER + 62, "what it learns", "soft", 13, "start")]
    for i, ((way, *carried), learned) in enumerate(zip(TRAVELS, KNOWS, strict=True)):
        if way != "none":
            parts += [_arrow(_centre(i) - COLUMN / 2 + 9, GUTTER + 4, SERVER - 7, way)]
        for line in range(2):
            x = _centre(i) + (6 if way != "none" else 0)
            parts += [_text(x, GUTTER + 28 + 17 * line, carried[line], "soft", 13)]
            parts += [_text(_centre(i), SERVER + 25 + 17 * line, learned[line], "ink", 13)]
    masked_sum = [sum(masked[who][i] for who in PEOPLE if who != LOST) / 2 for i in range(BARS)]
    parts += [_bars(_centre(3), SERVER + 80, masked_sum, "noise"), _signature(_centre(4), SERVER + 76, "sum")]
    parts += [_key(_centre(5), SERVER + 76, "sum", 1.2), _bars(_centre(6), SERVER + 80, _sum_of_survivors(), "sum")]
    for line, words in enumerate(FOOT):
        parts += [_text(WIDTH / 2, HEIGHT - 42 + 22 * line, words, "soft", 14)]
    style = f"text{{{FONT}}}{palette(LIGHT)}@media (prefers-color-scheme:dark){{{palette(DARK)}}}"
    label = "A round of four participants. One is lost while it uploads; the server learns the sum of the other three."
    return document(WIDTH, HEIGHT, label, style, parts)


if __name__ == "__main__":
    write("round.svg", _draw)
