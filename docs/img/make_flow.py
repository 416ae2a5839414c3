"""Draws flow.svg, one value of the adapter from a line of somebody's file to the published version:
``python docs/img/make_flow.py`` (``-`` as argument: to standard output).

The numbers are those of a real round of three devices, computed here in plain integers (docs/protocol.md,
*Quantization* and *Masking*), but for two: what a device learned is made up, and the masks are drawn, since one
coefficient of a product in the ring needs 4,096 others.
"""

import math
import random
from html import escape

from drawing import FONT, document, palette, write

WIDTH, HEIGHT = 1000, 676
BITS, SLOTS, WEIGHT_LIMIT, DEVICES = 16, 3, 1, 3
Q, T = 2147377153 * 2147352577, 2**48
LEVELS = (2**BITS - 1) // (2 * DEVICES * WEIGHT_LIMIT)
CLIP = 0.003
BEFORE = 0.02130
GAP = 29
NEIGHBOURS = [(0.00071, -0.00122), (-0.00015, 0.00204), (0.00101, 0.00043)]
PEOPLE = [("Alice", 70, 0.00184), ("Bob", 33, -0.00041), ("Carol", 300, 0.00097)]  # records, what training changed

LIGHT = {
    "paper": "#ffffff", "edge": "#c9d1d9", "machine": "#f3f6fa", "server": "#fff5e5", "server-edge": "#d9a441",
    "ink": "#1f2328", "soft": "#59636e", "own": "#0969da", "noise": "#6e7781", "sum": "#9a6700", "bad": "#cf222e",
}  # fmt: skip
DARK = {
    "paper": "#0d1117", "edge": "#3d444d", "machine": "#161b22", "server": "#2a2111", "server-edge": "#9e7a2f",
    "ink": "#f0f6fc", "soft": "#9da7b1", "own": "#58a6ff", "noise": "#8d96a0", "sum": "#e3b341", "bad": "#ff7b72",
}  # fmt: skip


class Round:
    """The numbers of one coefficient, with three neighbouring values in it, on the three devices and in the sum."""

    def __init__(self) -> None:
        drawn = random.Random(3)
        self.weights = [min(WEIGHT_LIMIT, math.ceil(records / 32)) for _, records, _ in PEOPLE]
        values = [(own, *others) for (_, _, own), others in zip(PEOPLE, NEIGHBOURS, strict=True)]
        self.slots = [
            [w * LEVELS + math.floor(w * LEVELS * max(-CLIP, min(CLIP, x)) / CLIP + drawn.random()) for x in mine]
            for w, mine in zip(self.weights, values, strict=True)
        ]
        self.packed = [sum(slot << BITS * i for i, slot in enumerate(mine)) for mine in self.slots]
        self.masks = [drawn.randrange(Q) for _ in PEOPLE]  # a·s, one coefficient
        errors = [drawn.randrange(-8, 9) for _ in PEOPLE]
        self.masked = [(m + T * e + p) % Q for m, e, p in zip(self.masks, errors, self.packed, strict=True)]
        opened = (sum(self.masked) - sum(self.masks)) % Q
        self.opened = (opened - Q if opened > Q // 2 else opened) % T
        assert self.opened == sum(self.packed), "exact"
        self.slot = self.opened % 2**BITS
        self.weight = sum(self.weights)
        self.mean = CLIP / LEVELS * (self.slot - LEVELS * self.weight) / self.weight


def _text(
    x: float, y: float, words: str, kind: str = "ink", size: float = 14, mono: bool = False, bold: bool = False
) -> str:
    face = ' class="m f-' if mono else ' class="f-'
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}"{face}{kind}" font-size="{size:g}"{weight}>{escape(words)}</text>'


def _box(x: float, y: float, w: float, h: float, fill: str, stroke: str) -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" rx="9" class="f-{fill} s-{stroke}"/>'


def _arrow(x: float, y: float, length: float) -> str:
    return f'<path d="M{x:g} {y:g}v{length:g}m-5 -7l5 7l5 -7" class="s-soft" fill="none" stroke-width="1.8"/>'


def _step(x: float, y: float, number: int, title: str, lines: list[tuple[str, str]]) -> str:
    out = [f'<circle cx="{x + 11:g}" cy="{y - 5:g}" r="11" class="f-soft"/>']
    out += [f'<text x="{x + 11:g}" y="{y:g}" class="f-paper" font-size="13" text-anchor="middle">{number}</text>']
    out += [_text(x + 30, y, title, "ink", 14.5, bold=True)]
    out += [_text(x + 30, y + 20 + 18 * i, words, kind, 13.5, mono=True) for i, (words, kind) in enumerate(lines)]
    return "".join(out)


def _draw() -> str:
    told = Round()
    (name, records, delta), weight = PEOPLE[0], told.weights[0]
    left, right = 34, 526
    parts = [f'<rect width="{WIDTH}" height="{HEIGHT}" rx="12" class="f-paper"/>']
    parts += [
        _box(10, 10, 478, HEIGHT - 20, "machine", "edge"),
        _box(512, 10, 478, HEIGHT - 20, "server", "server-edge"),
    ]
    parts += [_text(left, 42, f"{name}'s machine", "own", 18, bold=True)]
    parts += [_text(right, 42, "The server", "sum", 18, bold=True)]
    first, second, third = told.slots[0]
    mine = [
        (
            "A line of her file",
            [('{"instruction": "6 × 7?", "response": "42"}', "own"), (f"one of {records} records", "soft")],
        ),
        (
            "Training: what one value becomes",
            [
                (f"{BEFORE:.5f} → {BEFORE + delta:.5f}   Δ = {delta:+.5f}", "own"),
                ("AdamW, LoRA on an 8-bit base", "soft"),
            ],
        ),
        (
            "Clipped, weighted, rounded: a slot",
            [
                (f"c = {CLIP}, w = {weight} for every device, L = {LEVELS}", "soft"),
                (f"round(w·L·Δ/c) + w·L = {first:,}", "own"),
            ],
        ),
        (
            "Three slots make a coefficient",
            [(f"{third:,} ‖ {second:,} ‖ {first:,}", "own"), (f"M = {told.packed[0]:,}", "own")],
        ),
        (
            "Masked, on disk; the secret is shared out",
            [("y = a·s + 2⁴⁸·e + M   mod q", "soft"), (f"y = {told.masked[0]:,}", "noise")],
        ),
        ("Uploaded, once", [("in chunks, resumable, over pinned TLS", "soft")]),
    ]
    uploads = zip(PEOPLE, told.masked, strict=True)
    theirs = [
        ("Three uploads arrive", [(f"{who:<6}{y:>26,}", "noise") for (who, _, _), y in uploads]),
        (
            "Members vote, then answer for the sum of keys",
            [
                ("all three sign one list of survivors;", "soft"),
                ("their answers open s₁ + s₂ + s₃, no single s", "soft"),
            ],
        ),
        (
            "The mask comes off the sum",
            [("Σy − a·(s₁+s₂+s₃), then mod 2⁴⁸:", "soft"), (f"ΣM = {told.opened:,}", "sum")],
        ),
        (
            "The sum of the slots; the sum of the weights",
            [(f"Σslot = {told.slot:,}   Σw = {told.weight}", "sum"), ("checked: 0 ≤ Σslot ≤ 2L·Σw", "soft")],
        ),
        ("The mean update", [(f"c/L · (Σslot − L·Σw) / Σw = {told.mean:+.5f}", "sum")]),
        (
            "The next version, signed and published",
            [
                (f"{BEFORE:.5f} → {BEFORE + told.mean:.5f}", "sum"),
                ("adapter_model.safetensors, for PEFT", "soft"),
            ],
        ),
    ]
    for x, steps, first in ((left, mine, 1), (right, theirs, len(mine) + 1)):
        y = 82
        for number, (title, lines) in enumerate(steps):
            parts += [_step(x, y, first + number, title, lines)]
            height = 30 + 18 * len(lines)
            if number + 1 < len(steps):
                parts += [_arrow(x + 11, y + 12, height + GAP - 27)]
            y += height + GAP
    cross = 82 + sum(30 + 18 * len(lines) + GAP for _, lines in mine[:-1]) - 5
    path = f"M{left + 172} {cross}H500V77H{right - 8}m-7 -5l7 5l-7 5"
    parts += [f'<path d="{path}" class="s-noise" fill="none" stroke-width="2.2"/>']
    parts += [_text(left, HEIGHT - 48, "Masked in the same way: w, her mean loss, the share", "soft", 13.5)]
    parts += [_text(left, HEIGHT - 30, "clipped. Nothing else about her records leaves.", "soft", 13.5)]
    parts += [_text(right, HEIGHT - 48, f"The server cannot tell whether {name}'s part of the mean", "soft", 13.5)]
    parts += [_text(right, HEIGHT - 30, "was up or down: to it, each y alone is noise.", "soft", 13.5)]
    style = (
        f"text{{{FONT};white-space:pre}}"
        f".m{{font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace}}{palette(LIGHT)}"
        f"@media (prefers-color-scheme:dark){{{palette(DARK)}}}"
    )
    label = (
        "One value of the adapter, from a line of a participant's file through slot, mask and sum to the next version."
    )
    return document(WIDTH, HEIGHT, label, style, parts)


if __name__ == "__main__":
    write("flow.svg", _draw)
