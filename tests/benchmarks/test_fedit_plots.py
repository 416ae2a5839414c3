"""Figures show every arm and client, with nothing cut off, and are the same file for the same results."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from benchmarks.fedit.journal import BASE, CENTRALIZED, FEDERATED, VERSION, Entry, Header, Judged
from benchmarks.fedit.plots import _styles, draw, plot

CATEGORIES = ("information_extraction", "qa", "summarization", "creative_writing")
STRATEGIES = ("alternating", "ffa-lora", "shared-a", "fed-sb")
ARMS = [FEDERATED, *(f"{FEDERATED} {name}" for name in STRATEGIES), CENTRALIZED, "local 0", "local 1", "local 17"]


def results(clients: int) -> tuple[Header, list[Entry]]:
    random = np.random.default_rng(clients)
    holdings = tuple(dict(zip(CATEGORIES, map(int, random.integers(0, 90, 4)), strict=True)) for _ in range(clients))
    header = Header(
        name="an-experiment",
        key="k",
        version=VERSION,
        rounds=4,
        categories=CATEGORIES * 5,
        holdings=tuple(own if any(own.values()) else {"qa": 1} for own in holdings),
        heterogeneity=0.5,
    )

    def judged() -> Judged:
        return Judged(
            losses=tuple(random.uniform(1, 90, 20).tolist()), tokens=tuple(random.integers(1, 40, 20).tolist())
        )

    entries = [Entry(arm=arm, round=number, judged=judged()) for arm in ARMS for number in (2, 4)]
    return header, [Entry(arm=BASE, round=0, judged=judged()), *entries]


@pytest.mark.parametrize("clients", [1, 10, 100])
def test_every_word_of_every_figure_lies_within_it_and_every_arm_is_named(clients: int) -> None:
    for name, figure in draw(*results(clients)).items():
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        box, size = figure.get_tightbbox(canvas.get_renderer()), figure.get_size_inches()
        assert min(box.x0, box.y0) >= -0.01, name
        assert box.x1 <= size[0] + 0.01, name
        assert box.y1 <= size[1] + 0.01, name
        words = {text.get_text() for text in figure.findobj(Text)}
        assert words >= set(ARMS) or name == "who-holds-what"


def test_no_two_arms_look_alike_even_without_colour() -> None:
    styles = _styles(ARMS)
    assert len({(style.marker, style.line) for style in styles.values()}) == len(ARMS)
    assert len({styles[arm].color for arm in ARMS if arm.startswith(FEDERATED)}) == 1 + len(STRATEGIES)


def test_the_same_results_give_the_same_files(tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        plot(*results(10), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert len(files) == 6
    assert all((tmp_path / "one" / file).read_bytes() == (tmp_path / "other" / file).read_bytes() for file in files)


def test_before_the_base_model_is_judged_only_holdings_are_drawn() -> None:
    assert list(draw(results(3)[0], [])) == ["who-holds-what"]
