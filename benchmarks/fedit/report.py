"""From the journal to what can be said: each arm's loss with its interval, paired differences, the gap closed."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import pages
from edge_client.evaluation.statistics import Draws, Interval

from .journal import BASE, CENTRALIZED, FEDERATED, Entry, Header, Judged, is_local

_DIGITS = 5


def last_judged(entries: Sequence[Entry]) -> dict[str, Entry]:
    """Of each arm the last entry that was judged: the base model first, then federations, centralized, local ones."""
    last = {entry.arm: entry for entry in entries if entry.judged is not None}
    return {arm: last[arm] for arm in sorted(last, key=_rank)}


def _rank(arm: str) -> tuple[int, int, str]:
    kinds = (BASE, FEDERATED, CENTRALIZED)
    kind, _, rest = arm.partition(" ")
    return kinds.index(kind) if kind in kinds else len(kinds), int(rest) if rest.isdecimal() else 0, rest


def loss_of(judged: Judged) -> float:
    """Mean loss of an answer's token over all records, in nats."""
    return sum(judged.losses) / sum(judged.tokens) if any(judged.tokens) else math.nan


def by_category(judged: Judged, categories: Sequence[str]) -> dict[str, float]:
    """The same in each category."""
    names, losses, tokens = np.array(categories), np.array(judged.losses), np.array(judged.tokens)
    sums = {name: (losses[names == name].sum(), tokens[names == name].sum()) for name in sorted(set(categories))}
    return {name: float(loss / count) if count else math.nan for name, (loss, count) in sums.items()}


def summarize(header: Header, entries: Sequence[Entry], resamples: int, seed: int) -> dict[str, Any]:
    """The results as data: ``arms`` → loss, low, high, by_category, tokens, steps, uploaded, seconds; ``differences`` →
    "A - B" → value, low, high, paired by record; ``gap_closed``: which share of the way from the best local arm to
    centralized the federation has gone, with its interval, or None; ``local_at_best``: who learns alone, had it stopped
    at the best of the rounds that were judged, which only the held-out records could have told it."""
    final = last_judged(entries)
    draws = Draws(len(header.categories), resamples, seed)
    arms: dict[str, Any] = {}
    for name, entry in final.items():
        assert entry.judged is not None
        interval = draws.interval(entry.judged.losses, entry.judged.tokens)
        categories = by_category(entry.judged, header.categories)
        arms[name] = _figures(interval, "loss") | {
            "by_category": {category: round(loss, _DIGITS) for category, loss in categories.items()},
            "round": entry.round,
            "tokens": entry.tokens,
            "steps": entry.steps,
            "uploaded": entry.uploaded,
            "seconds": round(sum(other.seconds for other in entries if other.arm == name), 1),
        }
    judged = {name: entry.judged for name, entry in final.items() if entry.judged is not None}
    return {
        "name": header.name,
        "key": header.key,
        "records": len(header.categories),
        "clients": len(header.holdings),
        "heterogeneity": round(header.heterogeneity, _DIGITS),
        "rounds": header.rounds,
        "machine": header.machine,
        "settings": header.settings,
        "arms": arms,
        "differences": _differences(judged, draws),
        "gap_closed": _gap_closed(judged, draws),
        "local_at_best": _at_best(entries, judged, draws),
    }


def _differences(judged: dict[str, Judged], draws: Draws) -> dict[str, Any]:
    """Every other arm against the federation."""
    if FEDERATED not in judged:
        return {}
    own = judged[FEDERATED]
    return {
        f"{name} - {FEDERATED}": _figures(draws.difference(other.losses, own.losses, own.tokens), "value")
        for name, other in judged.items()
        if name != FEDERATED
    }


def _at_best(entries: Sequence[Entry], judged: dict[str, Judged], draws: Draws) -> dict[str, Any] | None:
    """``arms`` → round, loss, and what it has more than the federation at its end; ``gap_closed`` from these."""
    best: dict[str, Entry] = {}
    for entry in entries:
        if is_local(entry.arm) and entry.judged is not None:
            held = best.get(entry.arm)
            if held is None or held.judged is None or loss_of(entry.judged) < loss_of(held.judged):
                best[entry.arm] = entry
    local = {arm: entry.judged for arm, entry in best.items() if entry.judged is not None}
    if not local or FEDERATED not in judged:
        return None
    own = judged[FEDERATED]
    arms = {
        arm: {"round": best[arm].round, "loss": round(loss_of(local[arm]), _DIGITS)}
        | _figures(draws.difference(local[arm].losses, own.losses, own.tokens), "value")
        for arm in sorted(local, key=_rank)
    }
    others = {arm: one for arm, one in judged.items() if not is_local(arm)}
    return {"arms": arms, "gap_closed": _gap_closed(others | local, draws)}


def _gap_closed(judged: dict[str, Judged], draws: Draws) -> dict[str, float] | None:
    local = {name: one for name, one in judged.items() if is_local(name)}
    if not local or FEDERATED not in judged or CENTRALIZED not in judged:
        return None
    best = min(local.values(), key=loss_of)
    own, whole = judged[FEDERATED], judged[CENTRALIZED]
    gained = np.array(best.losses) - np.array(own.losses)
    gap = np.array(best.losses) - np.array(whole.losses)
    if gap.sum() <= 0:  # centralized training is no better than the best local one: there is no gap to close
        return None
    tokens = np.array(own.tokens, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        drawn = draws.means(gained, tokens) / draws.means(gap, tokens)
    low, high = np.percentile(drawn[np.isfinite(drawn)], [2.5, 97.5])
    return _figures(Interval(float(gained.sum() / gap.sum()), float(low), float(high)), "value")


def _figures(interval: Interval, name: str) -> dict[str, float]:
    return {
        name: round(interval.value, _DIGITS),
        "low": round(interval.low, _DIGITS),
        "high": round(interval.high, _DIGITS),
    }


def table(summary: dict[str, Any]) -> str:
    """The arms as a table of Markdown, differences to the federation beside them."""
    rows = []
    for name, arm in summary["arms"].items():
        other = summary["differences"].get(f"{name} - {FEDERATED}")
        less = "" if other is None else f"{other['value']:+.4f} ({other['low']:+.4f} to {other['high']:+.4f})"
        sent = f"{arm['uploaded'] / 1e6:.1f} MB" if arm["uploaded"] else ""
        interval = f"{arm['low']:.4f} to {arm['high']:.4f}"
        rows.append((name, f"{arm['loss']:.4f}", interval, less, f"{arm['tokens']:,}", sent, f"{arm['seconds']:,.0f}"))
    head = ("arm", "held-out loss", "95 % interval", "less federated", "tokens", "uploaded", "seconds")
    return pages.table(head, rows) + gap_line(summary["gap_closed"]) + best_lines(summary["local_at_best"])


def best_lines(best: dict[str, Any] | None) -> str:
    """What is said of who learns alone and stops in time, below a table."""
    if best is None:
        return ""
    told = ", ".join(
        f"{arm} after round {one['round']} ({one['loss']:.4f}; less federated {one['value']:+.4f}, "
        f"{one['low']:+.4f} to {one['high']:+.4f})"
        for arm, one in best["arms"].items()
    )
    gap = best["gap_closed"]
    share = "" if gap is None else f" Of the gap from the best of these, federated closes {_share(gap)}."
    return f"\nStopped at their best judged round, as only the held-out records could have told them: {told}.{share}\n"


def _share(gap: dict[str, float]) -> str:
    return f"{gap['value']:.0%} ({gap['low']:.0%} to {gap['high']:.0%})"


def gap_line(gap: dict[str, float] | None) -> str:
    """What is said of the gap, below a table."""
    if gap is None:
        return ""
    return f"\nOf the gap from the best local arm to centralized, federated closes {_share(gap)}.\n"
