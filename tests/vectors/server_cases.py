"""The cases of what a server takes, refuses and computes."""

import math
from typing import Any

from cohorts_in_full import Cohort
from reference import bodies, quantization, ring, sharing
from reference.ring import P, sha
from writing import Case, accepted, change, digest, float32, refused, seeded


def build(c: Cohort) -> list[Case]:
    """All of them."""
    cases = [case for part in (reports, choices, votes, openings, unmaskings, results) for case in part(c)]
    return cases + (answers(c) if c.shape.members == 10 else [])


def reports(c: Cohort) -> list[Case]:
    k, n = 1, c.shape.members
    whole = c.report(k)
    lines = [whole[i : i + 97] for i in range(0, len(whole), 97)]
    own = c.identities[k - 1] + sha(c.whole(k)) + lines[0][64:]
    cases = [
        accepted(
            f"a report of {i}, taken",
            "take report",
            member=i,
            report=c.report(i),
            signature=c.sign_report(i, c.report(i)),
        )
        for i in c.places
    ]
    cases.append(
        accepted(
            "a report of edges alone",
            "take report",
            member=k,
            **_signed(c, k, c.report(k, dict.fromkeys(range(2, n + 1)))),
        )
    )
    for name, error, report in (
        ("that omits a dealer", "malformed", b"".join(lines[:-1])),
        ("on nobody", "malformed", b""),
        ("on its own packet", "malformed", b"".join(sorted([*lines, own]))),
        ("on another receipt", "malformed", whole[:32] + seeded("receipt") + whole[64:]),
        ("with a check value that is p0", "malformed", whole[:65] + bodies.le(P[0], 4) + whole[69:]),
        ("with a check value that is p1", "malformed", whole[:81] + bodies.le(P[1], 4) + whole[85:]),
        ("in the wrong order", "malformed", b"".join([lines[1], lines[0], *lines[2:]])),
        ("with a dealer twice", "malformed", b"".join([lines[0], *lines])),
        ("with a byte too many", "malformed", whole + b"\0"),
        ("with values beside an edge", "malformed", whole[:64] + b"\0" + whole[65:]),
    ):
        cases.append(refused(f"a report {name}", "take report", error, member=k, **_signed(c, k, report)))
    accepted_value = whole[:65] + bodies.le(P[1], 4) + whole[69:]
    cases.append(
        accepted(
            "a report with a check value mod p0 that is p1", "take report", member=k, **_signed(c, k, accepted_value)
        )
    )
    stolen = {"report": whole, "signature": c.sign_report(2, whole)}
    cases.append(refused("a report that another signed", "take report", "forged", member=k, **stolen))
    return cases


def _signed(c: Cohort, member: int, report: bytes) -> dict[str, bytes]:
    return {"report": report, "signature": c.sign_report(member, report)}


def choices(c: Cohort) -> list[Case]:
    n, everybody = c.shape.members, list(c.places)
    r = sharing.sizes(n)[0]

    def chosen(name: str, said: dict[int, dict[int, list[int] | None]], dealers: list[int] | None) -> Case:
        parts = [{"member": k, **_signed(c, k, c.report(k, changed))} for k, changed in said.items()]
        out = {"survivors": None if dealers is None else c.survivors(dealers)}
        return accepted(name, "survivors", out, reports=parts)

    def lied(dealer: int, member: int) -> dict[int, list[int] | None]:
        values = c.checks(dealer, member)
        return {dealer: [*values[:7], (values[7] + 1) % P[1]]}

    def scattered(member: int) -> list[int] | None:
        return [word % 2**30 for word in ring.split4(seeded("scattered", member))]

    fewest = everybody[-r:]
    cases = [
        chosen("survivors when all report", {k: {} for k in everybody}, everybody),
        chosen("survivors when r report", {k: {} for k in fewest}, everybody),
        chosen("survivors when too few report", {k: {} for k in fewest[1:]}, None),
    ]
    without = [k for k in everybody if k != 2]
    unopened: dict[int, dict[int, list[int] | None]] = {k: {2: None} if k != 2 else {} for k in everybody}
    cases.append(
        chosen("survivors when nobody can open 2's packets", unopened, without if len(without) >= c.floor else None)
    )
    if n > r:
        one: dict[int, dict[int, list[int] | None]] = {k: {2: None} if k == 1 else {} for k in everybody}
        cases.append(chosen("survivors when one member cannot open a packet", one, everybody))
    if n == 10:
        liar = {k: lied(2, 1) if k == 1 else {} for k in everybody}
        cases.append(chosen("survivors when one member lies of a dealer", liar, everybody))
        random = {k: {2: scattered(k)} if k != 2 else {} for k in everybody}
        cases.append(chosen("survivors when a dealer's check values lie on no polynomial", random, without))
        few = {k: {2: scattered(k)} if k != 2 else {} for k in fewest}
        cases.append(chosen("survivors when nothing can be told of a dealer", few, everybody))
    return cases


def votes(c: Cohort) -> list[Case]:
    everybody = list(c.places)
    whole, member = c.survivors(everybody), 1
    given = {"offered": whole, "member": member, "voted": sha(whole), "signature": c.vote(member, whole)}
    cases = [accepted("a vote, taken", "take vote", **given)]
    for name, error, changed in (
        ("for a list that was not offered", "conflict", {"voted": sha(b""), "signature": c.vote(member, b"")}),
        ("that another signed", "forged", {"signature": c.vote(2, whole)}),
        ("for another list than it says", "forged", {"signature": c.vote(member, b"")}),
        ("on a list with a receipt of nobody", "malformed", {"offered": whole[:32] + seeded("receipt") + whole[64:]}),
    ):
        cases.append(refused(f"a vote {name}", "take vote", error, **{**given, **changed}))
    return cases


def answers(c: Cohort) -> list[Case]:
    everybody = list(c.places)
    r, member = sharing.sizes(len(everybody))[0], 3
    whole, words = c.survivors(everybody), c.answer(member, everybody)
    ballots = [{"member": k, "voted": sha(whole), "signature": c.vote(k, whole)} for k in everybody[:r]]
    raw = ring.words4(words)
    given = {"offered": whole, "votes": ballots, "member": member, "answered": sha(whole), "whole": raw}
    cases = [
        accepted("an answer, taken", "take answer", **given, words=raw, signature=c.sign_answer(member, whole, words))
    ]
    half = len(words) // 2
    for name, error, spoilt, changed in (
        ("with a share that is p0", "malformed", [P[0], *words[1:]], {}),
        ("with a share mod p1 that is p1", "malformed", [*words[:half], P[1], *words[half + 1 :]], {}),
        ("that is cut off", "malformed", words[:-1], {}),
        ("with a word too many", "malformed", [*words, 0], {}),
        ("before the certificate", "conflict", words, {"votes": ballots[:-1]}),
        ("for another list", "conflict", words, {"answered": sha(b"")}),
        ("to a cohort that is abandoned", "conflict", words, {"offered": b"", "votes": []}),
        ("of another member", "forged", words, {"member": 4}),
    ):
        data = ring.words4(spoilt)
        at = next((4 * i for i, (a, b) in enumerate(zip(words, spoilt, strict=False)) if a != b), 0)
        wrong = {"words": change("whole", at, data[at : at + 4], len(data))}
        wrong |= {"signature": c.sign_answer(member, whole, spoilt)}
        cases.append(refused(f"an answer {name}", "take answer", error, **{**given, **wrong, **changed}))
    return cases


def openings(c: Cohort) -> list[Case]:
    n, everybody = c.shape.members, list(c.places)
    r, _, width, blocks = sharing.sizes(n)
    fewest = everybody[-r:]
    opened = [digest(half) for half in c.secret_sum(everybody)]
    nothing = {"S": None, "liars": []}
    cases = [
        accepted(
            "S from all answers", "opening", {"S": opened, "liars": []}, dealers=everybody, members=everybody, lies=[]
        )
    ]
    if n > r:
        cases.append(
            accepted(
                "S from r answers", "opening", {"S": opened, "liars": []}, dealers=everybody, members=fewest, lies=[]
            )
        )
    cases.append(accepted("too few answers", "opening", nothing, dealers=everybody, members=fewest[1:], lies=[]))
    some = everybody[: c.floor]
    out = {"S": [digest(half) for half in c.secret_sum(some)], "liars": []}
    cases.append(accepted("S over as few as may be", "opening", out, dealers=some, members=fewest, lies=[]))
    told = {k: c.answer(k, everybody) for k in fewest}
    told[fewest[0]][0] = 1
    out = {"S": [digest(half) for half in sharing.interpolate(told, n)], "liars": []}
    lie = [[fewest[0], 0, 1]]
    name = "a wrong S, since r answers do not tell a liar"
    cases.append(accepted(name, "opening", out, dealers=everybody, members=fewest, lies=lie))
    if width * blocks > ring.N:
        last = [[fewest[0], blocks - 1, 1]]
        name = "r answers whose padding does not come out 0"
        cases.append(accepted(name, "opening", nothing, dealers=everybody, members=fewest, lies=last))
    correct = (n - r) // 2
    lies = [[k, 2 * blocks - k, k] for k in everybody[: correct + 1]]
    if correct:
        out = {"S": opened, "liars": everybody[:correct]}
        name = f"S from all answers, {correct} of them wrong"
        cases.append(accepted(name, "opening", out, dealers=everybody, members=everybody, lies=lies[:correct]))
    if n > r:
        name = "answers with more liars than can be told"
        cases.append(accepted(name, "opening", nothing, dealers=everybody, members=everybody, lies=lies))
    return cases


def unmaskings(c: Cohort) -> list[Case]:
    everybody, d = list(c.places), c.shape.dimension
    cases = []
    lists = {"all": everybody, "as few as may be": everybody[: c.floor]}
    for name, dealers in lists.items():
        if name == "all" or dealers != everybody:
            sums = c.unmasked(dealers)
            mean = quantization.mean(sums, c.clips, c.step, len(dealers), c.heaviest)
            total, bound = sums[d], 2 * c.step * sums[d]
            out = {"slots": digest(sums[: d + 3]), "mean": digest(float32(mean), "f"), "total_weight": total}
            out |= {"loss": 16.0 * sums[d + 1] / bound, "clipped": sums[d + 2] / bound}
            cases.append(accepted(f"the mean of {name}", "unmask", out, dealers=dealers, keys=dealers, poison=[]))
    sums = c.unmasked(everybody)
    total, n = sums[d], len(everybody)
    bound = 2 * c.step * total

    def poison(slot: int, amount: int) -> list[list[int]]:
        row, coefficient, factor = c.place(slot)
        return [[1, row, coefficient, amount * factor]]

    tail = math.isqrt(12**2 * 4**2 * n)
    room = tail - sum(ring.errors(device.randomness, c.sid, 0)[0] for device in c.devices)
    largest, beyond = ([[1, 0, 0, (room + more) * ring.T48]] for more in (0, 1))
    out = next(case["out"] for case in cases if case["name"] == "the mean of all")
    given = {"dealers": everybody, "keys": everybody}
    cases.append(accepted("a sum whose error is as large as it may be", "unmask", out, **given, poison=largest))
    for name, given in (
        ("whose error is too large", {"poison": beyond}),
        ("whose error is too small", {"poison": [[1, 0, 0, -2 * tail * ring.T48]]}),
        ("with a key too few", {"keys": everybody[1:]}),
        ("with a key twice", {"keys": [1, *everybody]}),
        ("with an upload twice", {"dealers": [1, *everybody]}),
        ("with no key", {"keys": []}),
        ("whose padding is not 0", {"poison": poison(d + 3, 1)}),
        ("whose last padding is not 0", {"poison": poison(len(sums) - 1, 1)}),
        ("with a value beyond the bound", {"poison": poison(0, bound + 1 - sums[0])}),
        ("with a loss beyond the bound", {"poison": poison(d + 1, bound + 1 - sums[d + 1])}),
        ("with more weight than there can be", {"poison": poison(d, n * c.heaviest + 1 - total)}),
        ("with less weight than survivors", {"poison": poison(d, n - 1 - total)}),
    ):
        inputs: dict[str, Any] = {"dealers": everybody, "keys": everybody, "poison": []} | given
        cases.append(refused(f"a sum {name}", "unmask", "sum", **inputs))
    return cases


def results(c: Cohort) -> list[Case]:
    cases = []
    whole = c.survivors(list(c.places))
    for outcome, chosen, total in ((0, whole, 40), (1, b"", 0), (2, whole, 0)):
        body = bodies.result(c.sid, 7, outcome, chosen, b"next", total)
        out = {"result": body, "signature": bodies.sign(c.server_seed, "result", body)}
        given = {"survivors": chosen, "round": 7, "outcome": outcome, "current": sha(b"next"), "total_weight": total}
        cases.append(accepted(f"a result of outcome {outcome}", "result", out, **given))
    return cases
