"""Draws memory.svg, where a trainer's memory goes at three budgets: ``python docs/img/make_memory.py`` (``-`` as
argument: to standard output). The bars are the planner's own lines for the benchmark's work; the marks are the peaks
that the newest result file of ``make bench-training`` measured.
"""

import json
from dataclasses import replace
from pathlib import Path

from drawing import FONT, document, write

from edge_client.training.outlook import expected_work, usual_adapter
from edge_client.training.planner import Planning, describe, make_plan
from edge_client.training.shape import read_shape

ROOT = Path(__file__).parents[2]
GB = 10**9
SMOLLM2 = {
    "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30,
    "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": True,
}  # fmt: skip
WIDTH, LEFT, SCALE = 1000, 128, 215
TOP, ROW, BAR = 92, 74, 30

KINDS = [  # how its lines begin, its words, its colours by day and by night
    ("interpreter", "Python, torch, tokenizer", "#8c959f", "#7d8590"),
    ("base", "base model, 8 bits", "#0969da", "#58a6ff"),
    ("embeddings", "embeddings", "#54aeff", "#1f6feb"),
    ("adapter", "adapter, gradient, optimizer", "#8250df", "#bc8cff"),
    ("activations", "activations", "#bf5b04", "#f0883e"),
    ("logits", "logits, one layer at work", "#1a7f37", "#3fb950"),
    ("buffers", "buffers and gaps", "#d4a72c", "#9e7a2f"),
]
SAME = {"gradients": "adapter", "optimizer": "adapter", "inputs": "activations", "one": "logits", "loading": "buffers"}
LIGHT = {"paper": "#ffffff", "ink": "#1f2328", "soft": "#59636e", "edge": "#c9d1d9", "bad": "#cf222e"}
DARK = {"paper": "#0d1117", "ink": "#f0f6fc", "soft": "#9da7b1", "edge": "#3d444d", "bad": "#ff7b72"}


def _text(
    x: float, y: float, words: str, kind: str = "ink", size: int = 14, anchor: str = "start", bold: int = 0
) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:g}" y="{y:g}" class="{kind}" font-size="{size}" text-anchor="{anchor}"{weight}>{words}</text>'


def _kind(line: str) -> str:
    word = line.split()[0].strip(",")
    return SAME.get(word, word)


def _bar(y: float, plan: Planning, words: str, budget: int, measured: int | None) -> str:
    sizes = {name: sum(line.bytes for line in plan.lines if _kind(line.what) == name) for name, *_ in KINDS}
    assert sum(sizes.values()) == plan.peak
    parts, x = [_text(LEFT - 12, y + 20, f"{budget / GB:.1f} GB", anchor="end", bold=1)], float(LEFT)
    for name, size in sizes.items():
        wide = size / GB * SCALE
        parts.append(f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{BAR}" class="{name}"/>')
        x += wide
    limit = LEFT + budget / GB * SCALE
    parts.append(f'<path d="M{limit:.1f} {y - 7}v{BAR + 14}" class="s-bad" stroke-width="2.5"/>')
    if measured is not None:
        parts.append(_mark(y, measured))
    return "".join([*parts, _text(LEFT, y + BAR + 18, words, "soft", 13)])


def _mark(y: float, measured: int) -> str:
    """A triangle above a bar."""
    return f'<path d="M{LEFT + measured / GB * SCALE:.1f} {y + 1}l-6 -10h12z" class="ink"/>'


def _measured() -> tuple[int, dict[int, int], int]:
    """Shepherd's peak, ours by budget, and the bytes of a value there."""
    files = (ROOT / "benchmarks" / "results").glob("training-*cpu*.json")
    kept = max((json.loads(file.read_text()) for file in files), key=lambda kept: str(kept["machine"]["date"]))
    done = [result for result in kept["results"] if result["peak"]]
    ours = {result["row"]["budget"]: result["peak"] for result in done if result["row"]["system"] == "ours"}
    shepherd = next(result["peak"] for result in done if result["row"]["system"] == "shepherd")
    return shepherd, ours, 2 if kept["machine"]["fast_bfloat16"] else 4


def _draw() -> str:
    shepherd, ours, width = _measured()
    shape = read_shape(SMOLLM2)
    adapter = usual_adapter(shape, 8, None)
    budgets = sorted(ours)[:3]
    height = TOP + ROW * (len(budgets) + 1) + 34
    parts = [f'<rect width="{WIDTH}" height="{height}" rx="12" class="paper"/>']
    x = float(LEFT)
    for place, (name, words, *_) in enumerate(KINDS):
        at, row = (place, 0) if place < 4 else (place - 4, 1)
        x = LEFT if at == 0 else x
        parts += [f'<rect x="{x:g}" y="{22 + 24 * row}" width="13" height="13" class="{name}"/>']
        parts += [_text(x + 19, 33 + 24 * row, words, size=13)]
        x += 44 + 6.6 * len(words)
    for place, budget in enumerate(budgets):
        work = expected_work(shape, adapter, cuda=False, bfloat16=width == 2, length=256)
        work = replace(work, uneven=False)
        plan = make_plan(work, budget, ("int8",), 4)
        parts.append(_bar(TOP + ROW * place, plan, describe(work, plan.way), budget, ours[budget]))
    y = TOP + ROW * len(budgets)
    parts += [_text(LEFT - 12, y + 20, "Shepherd", anchor="end", bold=1)]
    parts += [f'<rect x="{LEFT}" y="{y}" width="{shepherd / GB * SCALE:.1f}" height="{BAR}" class="edge"/>']
    parts += [_mark(y, shepherd)]
    words = "the usual set-up on the same work: Trainer, PEFT, bitsandbytes, all logits; no budget"
    parts += [_text(LEFT, y + BAR + 18, words, "soft", 13)]
    foot = (
        "SmolLM2-135M, 4 records of 256 tokens a step. Red: the budget. Triangles: the peak measured in the benchmark."
    )
    parts += [_text(WIDTH / 2, height - 14, foot, "soft", 14, "middle")]
    style = f"text{{{FONT}}}" + _palette(LIGHT, 2) + f"@media (prefers-color-scheme:dark){{{_palette(DARK, 3)}}}"
    label = "Where the trainer's memory goes at three budgets, as planned and as measured, beside the usual set-up."
    return document(WIDTH, height, label, style, parts)


def _palette(colours: dict[str, str], column: int) -> str:
    every = colours | {kind[0]: kind[column] for kind in KINDS}
    return "".join(f".{name}{{fill:{value}}}.s-{name}{{stroke:{value}}}" for name, value in every.items())


if __name__ == "__main__":
    write("memory.svg", _draw)
