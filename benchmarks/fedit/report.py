"""From the journal to what can be said: each arm's loss with its interval, paired differences, the gap closed."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks import pages
from edge_client.evaluation.statistics import Draws

from .figures import DIGITS, figures
from .gaps import told, way
from .journal import BASE, CENTRALIZED, FEDERATED, Entry, Header, Judged, is_local


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
    """The results as data: ``judged`` → category → its records that were judged (of ``records`` in all; the answer of
    the others was cut away); ``arms`` → loss, low, high, by_category, tokens, steps, uploaded, seconds; ``differences``
    → "A - B" → value, low, high and the same by_category, paired by record. Ways that the federation goes towards
    centralized, as :func:`.gaps.way` has them, or None: ``from_local``, from the best local arm, and ``from_base``;
    ``local_at_best``: who learns alone, had it stopped at the best of the rounds that were judged, which only the
    held-out records could have told it. ``took_part``: of each client that did, in how many rounds of the federation;
    ``unfinished``: of each arm that is not at its end, the rounds that it has done."""
    final = last_judged(entries)
    draws = Draws(len(header.categories), resamples, seed)
    arms: dict[str, Any] = {}
    for name, entry in final.items():
        assert entry.judged is not None
        interval = draws.interval(entry.judged.losses, entry.judged.tokens)
        categories = by_category(entry.judged, header.categories)
        arms[name] = figures(interval, "loss") | {
            "by_category": {category: round(loss, DIGITS) for category, loss in categories.items()},
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
        "judged": _judged_records(judged, header.categories),
        "clients": len(header.holdings),
        "heterogeneity": round(header.heterogeneity, DIGITS),
        "rounds": header.rounds,
        "machine": header.machine,
        "settings": header.settings,
        "arms": arms,
        "differences": _differences(judged, header.categories, resamples, seed),
        "from_local": _from_local(judged, draws),
        "from_base": _from(judged, BASE, draws),
        "local_at_best": _at_best(entries, judged, draws),
        "took_part": _took_part(entries),
        "unfinished": {arm: done for arm, done in _done(entries).items() if done < header.rounds},
    }


def _took_part(entries: Sequence[Entry]) -> dict[str, int]:
    counts = Counter(client for entry in entries if entry.arm == FEDERATED for client in entry.clients)
    return {str(client): count for client, count in sorted(counts.items())}


def _done(entries: Sequence[Entry]) -> dict[str, int]:
    """Of each arm that is trained, its last round."""
    trained = sorted(
        (entry for entry in entries if entry.arm != BASE), key=lambda entry: (_rank(entry.arm), entry.round)
    )
    return {entry.arm: entry.round for entry in trained}


def _judged_records(judged: dict[str, Judged], categories: Sequence[str]) -> dict[str, int]:
    tokens = np.array(next(iter(judged.values())).tokens if judged else np.zeros(len(categories)))
    names = np.array(categories)
    return {name: int((tokens[names == name] > 0).sum()) for name in sorted(set(categories))}


def _differences(judged: dict[str, Judged], categories: Sequence[str], resamples: int, seed: int) -> dict[str, Any]:
    """Every other arm against the federation."""
    if FEDERATED not in judged:
        return {}
    own, names = judged[FEDERATED], np.array(categories)
    groups = {name: names == name for name in sorted(set(categories))}
    draws = {name: Draws(int(chosen.sum()), resamples, seed) for name, chosen in groups.items()}
    whole, tokens = Draws(len(categories), resamples, seed), np.array(own.tokens)
    found = {}
    for name, other in judged.items():
        if name != FEDERATED:
            more = np.array(other.losses) - np.array(own.losses)
            found[f"{name} - {FEDERATED}"] = figures(whole.interval(more, tokens), "value") | {
                "by_category": {
                    category: figures(draws[category].interval(more[chosen], tokens[chosen]), "value")
                    for category, chosen in groups.items()
                    if tokens[chosen].any()
                }
            }
    return found


def _at_best(entries: Sequence[Entry], judged: dict[str, Judged], draws: Draws) -> dict[str, Any] | None:
    """``arms`` → round, loss, and what it has more than the federation at its end; ``way``: from the best of these."""
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
        arm: {"round": best[arm].round, "loss": round(loss_of(local[arm]), DIGITS)}
        | figures(draws.difference(local[arm].losses, own.losses, own.tokens), "value")
        for arm in sorted(local, key=_rank)
    }
    others = {arm: one for arm, one in judged.items() if not is_local(arm)}
    return {"arms": arms, "way": _from_local(others | local, draws)}


def _from_local(judged: dict[str, Judged], draws: Draws) -> dict[str, Any] | None:
    local = [name for name in judged if is_local(name)]
    return _from(judged, min(local, key=lambda name: loss_of(judged[name])), draws) if local else None


def _from(judged: dict[str, Judged], start: str, draws: Draws) -> dict[str, Any] | None:
    if not {start, FEDERATED, CENTRALIZED} <= judged.keys():
        return None
    return {"start": start} | way(judged[start], judged[FEDERATED], judged[CENTRALIZED], draws)


def table(summary: dict[str, Any]) -> str:
    """The arms as a table of Markdown, differences to the federation beside them; then what follows from it."""
    return arms_table(summary, list(summary["arms"])) + "".join(f"\n{each}\n" for each in said(summary))


def arms_table(summary: dict[str, Any], names: Sequence[str]) -> str:
    """These arms as a table of Markdown, each as it was judged last."""
    rows = []
    for name in names:
        arm, other = summary["arms"][name], summary["differences"].get(f"{name} - {FEDERATED}")
        less = "" if other is None else f"{other['value']:+.4f} ({other['low']:+.4f} to {other['high']:+.4f})"
        sent = f"{arm['uploaded'] / 1e6:.1f} MB" if arm["uploaded"] else ""
        interval = f"{arm['low']:.4f} to {arm['high']:.4f}"
        figures = f"{arm['loss']:.4f}", interval, less, f"{arm['tokens']:,}", sent, f"{arm['seconds']:,.0f}"
        rows.append((name, str(arm["round"]), *figures))
    head = ("arm", "round", "held-out loss", "95 % interval", "less federated", "tokens", "uploaded", "seconds")
    return pages.table(head, rows)


def said(summary: dict[str, Any]) -> list[str]:
    """What follows from the arms, as paragraphs: which shares of the gap to centralized the federation closes, from who
    learns alone and stops at the end or in time and from the base model, and what keeps these apart."""
    best = summary["local_at_best"]
    shares = (
        told(summary["from_local"], "the best local arm, at the end of equal tokens,"),
        told(best and best["way"], "the best local arm, stopped at its best judged round,"),
        told(summary["from_base"], "the base model"),
    )
    short = ", ".join(f"{arm} after {done} of {summary['rounds']}" for arm, done in summary["unfinished"].items())
    parts = (
        f"**Not finished**, in rounds: {short}. Each row is of the round that was judged last." if short else "",
        " ".join(each for each in (*shares, _overfit(summary)) if each),
        _best_words(best),
    )
    return [each for each in parts if each]


def _overfit(summary: dict[str, Any]) -> str:
    """Why the share from the end is so large, where that is the reason."""
    arms, best = summary["arms"], summary["local_at_best"]
    if best is None or BASE not in arms:
        return ""
    base, ends = arms[BASE]["loss"], [arms[arm]["loss"] for arm in best["arms"]]
    stopped = [one["loss"] for one in best["arms"].values()]
    if min(ends) <= base or max(stopped) >= base:
        return ""
    return (
        f"Every local arm ends worse than the base model ({min(ends):.4f} to {max(ends):.4f}; base {base:.4f}) and was "
        f"better at its best judged round ({min(stopped):.4f} to {max(stopped):.4f}): by the end it has its own few "
        "records by heart. The share from there is of a gap that this made; the other shares are the fair ones."
    )


def _best_words(best: dict[str, Any] | None) -> str:
    """What is said of who learns alone and stops in time."""
    if best is None:
        return ""
    arms = ", ".join(
        f"{arm} after round {one['round']} ({one['loss']:.4f}; less federated {one['value']:+.4f}, "
        f"{one['low']:+.4f} to {one['high']:+.4f})"
        for arm, one in best["arms"].items()
    )
    return f"Stopped at their best judged round, as only the held-out records could have told them: {arms}."
