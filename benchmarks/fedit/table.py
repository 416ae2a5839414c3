"""The section of ``docs/benchmarks.md`` on federated instruction tuning, from the result files that are kept.

``python -m benchmarks.fedit.table`` writes it; a test compares.
"""

import json
import os
from collections import Counter
from typing import Any

from benchmarks.machine import where
from benchmarks.pages import Section, table
from fedit_shared.parameters import RECORDS_PER_WEIGHT

from .answers import answers_file
from .answers import section as answers_section
from .journal import BASE, is_local
from .kept import FIGURES, figure_files, result_file
from .report import arms_table, said

SECTION = Section("fedit", "benchmarks.fedit.table")
NAME, FEWER = "dolly", "cpu-small"
"""The experiment that the page shows, and the one with fewer clients that it shows beside it."""
GOAL = 0.8
"""The share of the gap from the best local arm to centralized that the project set out to close."""
_NONE = (
    f"No run has been kept yet: `fedit-bench run {NAME}`, then `fedit-bench keep build/fedit/{NAME}` and "
    "`python -m benchmarks.fedit.table`.\n"
)


def kept(name: str = NAME) -> dict[str, Any] | None:
    """The results of the experiment ``name`` that the page shows; None before there are any."""
    file = result_file(name)
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def section(result: dict[str, Any] | None) -> str:
    """Markdown."""
    if result is None:
        return _NONE
    before = "".join(f"{each}\n\n" for each in (*said(result), _goal(result)) if each)
    arms = arms_table(result, list(result["arms"]))
    return "\n".join([_about(result), f"{before}{arms}", _by_category(result), *_figures(result["name"])])


def fewer(result: dict[str, Any] | None) -> str:
    """Markdown on the experiment with fewer clients; "" before it is kept."""
    if result is None:
        return ""
    head = f"**With {result['clients']} clients** (`{result['name']}`): "
    told = "".join(f"\n{each}\n" for each in said(result))
    return f"\n{head}{_about(result)}{told}\n{arms_table(result, list(result['arms']))}"


def _goal(result: dict[str, Any]) -> str:
    """Whether :data:`GOAL` was reached, by either way of reading it."""
    best = result["local_at_best"]
    ways = {"at the end of equal tokens": result["from_local"], "where they stop in time": best and best["way"]}
    found = {name: way["closed"]["value"] for name, way in ways.items() if way and way["closed"]}
    told = ", ".join(f"{'reached' if value >= GOAL else 'missed'} {name}" for name, value in found.items())
    return f"The goal was {GOAL:.0%} from the best local arm: {told}." if told else ""


def _figures(name: str) -> list[str]:
    """Links to the figures that are kept."""
    return [
        f"![{FIGURES[figure]}.]({os.path.relpath(file, SECTION.page.parent)})\n"
        for figure, file in figure_files(name).items()
        if file.exists()
    ]


def _about(result: dict[str, Any]) -> str:
    settings, judged = result["settings"], result["judged"].values()
    more = settings["evaluation"]["file"]
    lost = result["records"] - sum(judged)
    beyond = f"; the answers of {lost} more lie beyond {settings['evaluation']['max_length']:,} tokens" if lost else ""
    told = (
        f"{settings['model']['id']} on {', '.join(settings['data']['files'])}. {where(result['machine'], 'Begun')} "
        f"{result['clients']} clients of heterogeneity {result['heterogeneity']:.2f}, {result['rounds']} rounds; "
        f"judged on {sum(judged)} records{f', those of {more} among them' if more else ''}, {min(judged)} to "
        f"{max(judged)} of a category{beyond}."
    )
    return " ".join(each for each in (told, _who(result), _weights(settings), result.get("note")) if each) + "\n"


def _who(result: dict[str, Any]) -> str:
    """Which clients were ever in the federation, and which of those that are arms of their own."""
    if not (took := result["took_part"]):
        return ""
    counts = Counter({0: result["clients"] - len(took)} if len(took) < result["clients"] else {})
    counts.update(took.values())
    times = ", ".join(
        f"{rounds or 'none'} ({clients} clients)" for rounds, clients in sorted(counts.items(), reverse=True)
    )
    local = [arm for arm in result["arms"] if is_local(arm)]
    own = "".join(f"; {arm}: {took.get(arm.removeprefix('local '), 'none')}" for arm in local)
    return f"Rounds of the federation that a client took part in: {times}{own}."


def _weights(settings: dict[str, Any]) -> str:
    """That updates count the same, where the settings make it so."""
    training, most = settings["training"], settings["federation"]["max_weight"]
    seen = training["steps"] and training["steps"] * training["batch_size"]
    if most == 1 or not seen or seen > RECORDS_PER_WEIGHT:
        return ""
    return (
        f"Every update counts the same in spite of `max_weight = {most}`: a weight is ⌈records seen in the round / "
        f"{RECORDS_PER_WEIGHT}⌉, and nobody sees more than {training['steps']} steps × {training['batch_size']}."
    )


def _by_category(result: dict[str, Any]) -> str:
    arms = result["arms"]
    rows = [
        (
            f"{category.replace('_', ' ')} ({result['judged'][category]})",
            *(f"{arm['by_category'][category]:.3f}" for arm in arms.values()),
        )
        for category in arms[BASE]["by_category"]
    ]
    return table(["held-out loss (records)", *arms], rows)


def content() -> str:
    """All of the page's section: losses, those with fewer clients, and answers, where there are any."""
    file = answers_file(NAME)
    answers = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    return section(kept()) + fewer(kept(FEWER)) + answers_section(answers)


def main() -> None:
    """Write the section anew."""
    SECTION.write(content())


if __name__ == "__main__":
    main()
