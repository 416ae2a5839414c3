"""Kinds of case: what the server takes, refuses and computes. Inputs of every case: see :mod:`.cohorts`.

Shares and uploads follow from the devices' randomness, so these cases name dealers, members and survivors by place.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedit_shared.messages import Receipt
from fedit_shared.parameters import PRIMES
from fedit_shared.quantize import read_mean
from fedit_shared.secagg import Aggregator, Session, VectorSum, check_vector
from fedit_shared.secagg.kernels import add_words
from fedit_shared.secagg.opening import open_sum
from fedit_shared.secagg.prg import key_from

from .cohorts import contributed, device_of, session_of
from .signed import ACCEPTED
from .values import Inputs, Result, digest, words


def take_deal(given: Inputs) -> Result:
    """in: dealer, deal, signature. out: accepted."""
    opened = session_of(given)
    dealer = opened.identities[given.integer("dealer") - 1]
    Aggregator(opened).add_deal(dealer, given.raw("deal"), given.raw("signature"))
    return ACCEPTED


def take_report(given: Inputs) -> Result:
    """in: receipts (shown to everybody), member, report, signature. out: accepted."""
    aggregator = _aggregator(given)
    _report(aggregator, given)
    return ACCEPTED


def survivors(given: Inputs) -> Result:
    """in: receipts, reports (member, report, signature). out: survivors (U; null while there is none).

    U is the server's choice. These cases leave it none: the largest U is the only one with as few dealers dropped.
    """
    aggregator = _aggregator(given)
    for part in given.parts("reports"):
        _report(aggregator, part)
    return {"survivors": aggregator.choose_survivors()}


def take_vote(given: Inputs) -> Result:
    """in: receipts, offered (U), member, voted (hash), signature. out: accepted."""
    aggregator = _aggregator(given)
    aggregator.offer(given.raw("offered"))
    member = aggregator.session.identities[given.integer("member") - 1]
    aggregator.add_vote(member, given.raw("voted"), given.raw("signature"))
    return ACCEPTED


def take_answer(given: Inputs) -> Result:
    """in: receipts, offered (U), votes (member, voted, signature), member, words, signature. out: accepted."""
    aggregator = _aggregator(given)
    aggregator.offer(given.raw("offered"))
    identities = aggregator.session.identities
    for vote in given.parts("votes"):
        aggregator.add_vote(identities[vote.integer("member") - 1], vote.raw("voted"), vote.raw("signature"))
    member = identities[given.integer("member") - 1]
    aggregator.add_answer(member, given.raw("answered"), given.raw("words"), given.raw("signature"))
    return ACCEPTED


def upload(given: Inputs) -> Result:
    """in: dealer, changes ([word's place, value], …), rows (absent: all of this round's). out: accepted."""
    opened = session_of(given)
    vector = contributed(given, given.integer("dealer")).upload.copy()
    flat = vector.reshape(-1)
    for place, value in given.value("changes"):
        flat[place] = value
    rows = opened.rows if "rows" not in given else given.size("rows")
    check_vector(opened, np.resize(vector, (rows, *vector.shape[1:])))
    return ACCEPTED


def opening(given: Inputs) -> Result:
    """in: dealers (U), members (who answers), lies ([member, word's place, value], …). out: S (digests; null if it does
    not open), liars."""
    opened = session_of(given)
    answers = {member: _sum_of_shares(given, opened, member) for member in given.integers("members")}
    for member, place, value in given.value("lies"):
        answers[member][place] = value
    found = open_sum(opened.parameters, answers)
    key = None if found.key is None else [digest(half) for half in found.key]
    return {"S": key, "liars": sorted(found.liars)}


def unmask(given: Inputs) -> Result:
    """in: dealers (whose uploads are summed), keys (whose secrets S is the sum of), poison ([dealer, row, coefficient,
    amount added to M], …). out: slots (digest, 4 bytes, no padding), mean (digest), total_weight, loss, clipped."""
    opened = session_of(given)
    total = VectorSum(opened)
    dealers = given.integers("dealers")
    for place in dealers:
        total.add(_poisoned(given, place))
    key = np.zeros((2, 4096), np.uint64)
    for place in given.integers("keys"):
        key += key_from(device_of(given, place).randomness, opened.sid)
    key %= np.array(PRIMES, np.uint64)[:, None]
    slots = total.slots(key.astype(np.uint32), len(dealers))
    mean = read_mean(opened.quantizer, slots, len(dealers))
    return {
        "slots": digest(slots.astype(np.uint32)),
        "mean": digest(mean.delta),
        "total_weight": mean.total_weight,
        "loss": mean.loss,
        "clipped": mean.clipped,
    }


def _aggregator(given: Inputs) -> Aggregator:
    aggregator = Aggregator(session_of(given))
    for part in given.parts("receipts"):
        receipt = Receipt(identity=part.raw("identity"), body=part.raw("deal"), signature=part.raw("signature"))
        aggregator.add_deal(receipt.identity, receipt.body, receipt.signature)
    return aggregator


def _report(aggregator: Aggregator, given: Inputs) -> None:
    member = aggregator.session.identities[given.integer("member") - 1]
    aggregator.add_report(member, given.raw("report"), given.raw("signature"))


def _sum_of_shares(given: Inputs, opened: Session, member: int) -> NDArray[np.uint32]:
    total = np.zeros(opened.parameters.words, np.uint32)
    for dealer in given.integers("dealers"):
        plaintext = words(contributed(given, dealer).plaintexts[member - 1])
        add_words(total, plaintext[: opened.parameters.words], *PRIMES)
    return total


def _poisoned(given: Inputs, place: int) -> NDArray[np.uint32]:
    vector = contributed(given, place).upload
    changes: Sequence[Sequence[int]] = given.value("poison")
    for dealer, row, coefficient, amount in changes:
        if dealer == place:
            vector = vector.copy()
            for half, prime in enumerate(PRIMES):
                vector[row, half, coefficient] = (int(vector[row, half, coefficient]) + amount) % prime
    return vector


KINDS = {
    "take deal": take_deal,
    "take report": take_report,
    "survivors": survivors,
    "take vote": take_vote,
    "take answer": take_answer,
    "upload": upload,
    "opening": opening,
    "unmask": unmask,
}
