"""What the server and T members can compute of honest secrets: the sum that was voted for, and nothing else. By rank:
everything they see is linear in the honest dealers' polynomials, so what they know of the secrets is the intersection
of two spaces of rows."""

from hashlib import sha256
from itertools import combinations

import numpy as np
import pytest
from attackers import Round, certificate_of, open_packets
from cohorts import Device
from numpy.typing import NDArray

from fedit_shared.errors import ForgedError
from fedit_shared.identity import SigningKey
from fedit_shared.parameters import COHORT_MAX, COHORT_MIN, PRIMES, CohortParameters
from fedit_shared.secagg import RoundKey
from fedit_shared.secagg.masking import RingKey
from fedit_shared.secagg.prg import key_from
from fedit_shared.secagg.sharing import evaluate, lagrange, to_blocks

Rows = NDArray[np.int64]
P = PRIMES[0]
BLOCKS, CHECKS = 2, 2
"""So many blocks and check polynomials stand for all: each is treated like the next."""


def rank(rows: Rows) -> int:
    """Rank mod p, by elimination; entries below 2³¹, so that products fit."""
    left, found = rows.copy() % P, 0
    for column in range(left.shape[1]):
        pivots = np.flatnonzero(left[found:, column])
        if not pivots.size:
            continue
        left[[found, found + pivots[0]]] = left[[found + pivots[0], found]]
        left[found] = left[found] * pow(int(left[found, column]), -1, P) % P
        below = left[found + 1 :]
        below -= below[:, column : column + 1] * left[found] % P
        below %= P
        found += 1
    return found


class Unknowns:
    """The honest dealers' random values: for each dealer, polynomial (blocks, then checks) and place −1 … −r a
    column. Members 1 … T are corrupt, the dealers T + 1 … n honest."""

    def __init__(self, size: int) -> None:
        self.numbers = CohortParameters(size)
        self.corrupt = list(range(1, self.numbers.corrupt + 1))
        self.honest = list(range(self.numbers.corrupt + 1, size + 1))
        points = tuple(-x for x in range(1, self.numbers.threshold + 1))
        self._shares = lagrange(points, tuple(range(1, size + 1)), 0).astype(np.int64)
        self._side = (BLOCKS + CHECKS) * self.numbers.threshold

    def share(self, dealer: int, polynomial: int, member: int) -> Rows:
        """The row of one share."""
        row = np.zeros((len(self.honest), BLOCKS + CHECKS, self.numbers.threshold), np.int64)
        row[self.honest.index(dealer), polynomial] = self._shares[member - 1]
        return row.reshape(1, -1)

    def seen_by_members(self, members: list[int]) -> Rows:
        """All that these members' packets hold."""
        return np.concatenate(
            [self.share(d, f, k) for d in self.honest for f in range(BLOCKS + CHECKS) for k in members]
        )

    def answers(self, survivors: list[int], members: list[int]) -> Rows:
        """These members' answers for a list of survivors."""
        return np.concatenate([sum(self.share(d, f, k) for d in survivors) for f in range(BLOCKS) for k in members])

    def reports(self, rho: int) -> Rows:
        """All members' check values of all honest dealers; ``rho`` stands for what the deal's hash gives."""
        return np.concatenate(
            [
                self.share(d, BLOCKS + c, k)
                + sum(pow(rho + c, b + 1, P) * self.share(d, b, k) % P for b in range(BLOCKS))
                for d in self.honest
                for c in range(CHECKS)
                for k in range(1, self.numbers.members + 1)
            ]
        )

    def secrets(self, dealers: list[int]) -> Rows:
        """The secret words of these dealers, one row each."""
        count = len(self.honest) * self._side
        place = np.arange(count).reshape(len(self.honest), BLOCKS + CHECKS, self.numbers.threshold)
        wanted = place[[self.honest.index(d) for d in dealers], :BLOCKS, : self.numbers.packing].reshape(-1)
        return np.eye(count, dtype=np.int64)[wanted]

    def known(self, *views: Rows, of: list[int] | None = None) -> int:
        """How many independent combinations of the secret words of ``of`` (all, if None) the views determine."""
        view, secrets = np.concatenate(views), self.secrets(of or self.honest)
        return rank(view) + len(secrets) - rank(np.concatenate([view, secrets]))


@pytest.mark.parametrize("size", range(3, 11))
def test_any_t_shares_are_independent_of_the_secret_and_each_one_more_leaks_one_word_of_a_block(size):
    numbers = CohortParameters(size)
    points = tuple(-x for x in range(1, numbers.threshold + 1))
    secret = np.eye(numbers.threshold, dtype=np.int64)[: numbers.packing]
    for count in range(1, numbers.threshold + 1):
        for members in combinations(range(1, size + 1), count):
            shares = lagrange(points, members, 0).astype(np.int64)
            leaked = rank(shares) + len(secret) - rank(np.concatenate([shares, secret]))
            assert leaked == max(0, count - numbers.corrupt)


@pytest.mark.parametrize("size", range(3, 9))
def test_the_server_and_t_members_learn_the_sum_and_no_other_combination_of_honest_secrets(size):
    unknowns = Unknowns(size)
    everybody = list(range(1, size + 1))
    view = (
        unknowns.seen_by_members(unknowns.corrupt),
        unknowns.reports(rho=12345),
        unknowns.answers(unknowns.honest, everybody),
    )
    of_the_sum = BLOCKS * unknowns.numbers.packing
    assert unknowns.known(*view) == of_the_sum
    assert unknowns.known(*view, of=unknowns.honest[:1]) == 0


@pytest.mark.parametrize("size", range(4, 9))
def test_without_a_vote_each_answer_for_a_second_list_leaks_a_word_of_every_block_of_one_secret(size):
    unknowns = Unknowns(size)
    victim, others = unknowns.honest[0], unknowns.honest[1:]
    numbers = unknowns.numbers
    first = unknowns.honest[: numbers.threshold - numbers.corrupt]
    opened = (unknowns.seen_by_members(unknowns.corrupt), unknowns.answers(unknowns.honest, first))
    second = [member for member in unknowns.honest if member not in first]
    assert unknowns.known(*opened, of=[victim]) == 0
    for count in range(1, len(second) + 1):
        view = (*opened, unknowns.answers(others, second[:count]))
        assert unknowns.known(*view, of=[victim]) == BLOCKS * min(count, numbers.packing)
    both = unknowns.answers(others, [*second, *first])
    assert unknowns.known(*opened, both, of=[victim]) == BLOCKS * numbers.packing


def test_two_challenges_for_one_check_polynomial_would_leak():
    unknowns = Unknowns(6)
    shares, once, twice = unknowns.seen_by_members(unknowns.corrupt), unknowns.reports(12345), unknowns.reports(54321)
    assert unknowns.known(shares, once) == 0
    assert unknowns.known(shares, once, twice) == len(unknowns.honest) * CHECKS * unknowns.numbers.packing


def test_two_certificates_for_one_session_take_more_double_votes_than_there_may_be_corrupt_members():
    for size in range(COHORT_MIN, COHORT_MAX + 1):
        numbers = CohortParameters(size)
        honest = size - numbers.corrupt
        for votes in range(honest + 1):
            first, second = votes + numbers.corrupt, honest - votes + numbers.corrupt
            assert first < numbers.threshold or second < numbers.threshold
        assert numbers.floor - numbers.corrupt >= 2, "two honest survivors hide each other"


def split_view(round_: Round) -> tuple[Device, bytes, bytes]:
    """The victim, a list with it, and one without."""
    victim = round_.devices[-1]
    return victim, round_.listing(round_.devices), round_.listing(round_.devices[:-1])


def test_members_that_answer_two_lists_give_away_shares_of_the_victims_key():
    round_ = Round(7)
    numbers, session = round_.session.parameters, round_.session
    victim, everybody, without = split_view(round_)
    corrupt, first, second = round_.devices[:2], round_.devices[2:5], round_.devices[5:]
    as_if = {u: certificate_of(session, u, round_.devices) for u in (everybody, without)}  # votes that mean nothing

    def answers(survivors: bytes, devices: list[Device]) -> dict[int, NDArray[np.uint32]]:
        return {
            session.index(d.identity): np.frombuffer(words, "<u4")[: numbers.blocks]
            for d in devices
            if (words := (round_.member(d).answer(round_.prepare(d), survivors, as_if[survivors]) or (b"",))[0])
        }

    opened = answers(everybody, [*corrupt, *first])
    places = tuple(session.index(device.identity) for device in second)
    whole = evaluate(tuple(opened), np.stack(list(opened.values())), places, 0)
    partial = np.stack(list(answers(without, second).values()))
    stolen = (whole.astype(np.int64) - partial) % P
    held = open_packets(round_, victim)
    assert np.array_equal(stolen, [held[k - 1][: numbers.blocks] for k in places])
    # With the T shares of its accomplices, these are two of the three words' worth of every block of the key.
    shares = np.concatenate([stolen, [held[k][: numbers.blocks] for k in range(2)]])
    points = (*places, 1, 2)
    noise = evaluate(tuple(-x for x in range(1, numbers.threshold + 1)), np.eye(5, dtype=np.uint32), points, 0)
    secret = to_blocks(numbers, key_from(victim.randomness, session.sid)[0]).astype(object)
    combine = left_kernel(noise[:, numbers.packing :].astype(object))
    assert len(combine) == 2
    assert np.array_equal(
        combine @ noise[:, : numbers.packing].astype(object) % P @ secret % P, combine @ shares.astype(object) % P
    )


def test_with_the_vote_no_member_answers_for_a_second_list_however_the_server_splits_the_votes():
    round_ = Round(7)
    _, everybody, without = split_view(round_)
    corrupt, honest = round_.devices[:2], round_.devices[2:]
    for count in range(len(honest) + 1):
        answered = []
        for survivors, voters in ((everybody, honest[:count]), (without, honest[count:])):
            votes = {d.identity: round_.member(d).vote(round_.prepare(d), survivors) for d in voters}
            assert len(votes) == len(voters)
            certificate = certificate_of(round_.session, survivors, [*voters, *corrupt])
            answered.append(0)
            for device in honest:
                try:
                    round_.member(device).answer(round_.prepare(device), survivors, certificate)
                    answered[-1] += 1
                except ForgedError:
                    pass
        assert 0 in answered, "two sums were opened"
        assert set(answered) <= {0, len(honest)}


def test_a_dealer_that_deals_twice_learns_nothing_more_of_the_honest_ones():
    round_ = Round(7)
    dealer, member = round_.devices[0], round_.devices[3]
    before = round_.member(member).report(round_.prepare(member))[0]
    own = round_.prepare(member)
    dealer.randomness = sha256(b"again").digest()
    round_.deal_instead((dealer, round_.cohort.upload(round_.session, dealer)))
    after = round_.member(member).report(round_.prepare(member))[0]
    size = len(before) // 6
    assert before[:size] != after[:size], "the dealer's own two deals"
    assert before[size:] == after[size:], "one value of each honest dealer's check polynomials, and no second"
    # What one member was shown, no list of the other deal opens.
    other = round_.listing(round_.devices)
    with pytest.raises(ForgedError):
        round_.member(member).vote(own, other)
    with pytest.raises(ForgedError):
        round_.member(member).answer(own, other, certificate_of(round_.session, other, round_.devices))


def left_kernel(matrix: NDArray[np.object_]) -> NDArray[np.object_]:
    """A basis of the row vectors that ``matrix`` takes to 0, mod p."""
    height, width = matrix.shape
    joined = np.concatenate([matrix % P, np.eye(height, dtype=object)], axis=1)
    found = 0
    for column in range(width):
        pivot = next((i for i in range(found, height) if joined[i, column]), None)
        if pivot is None:
            continue
        joined[[found, pivot]] = joined[[pivot, found]]
        joined[found] = joined[found] * pow(int(joined[found, column]), -1, P) % P
        for i in range(found + 1, height):
            joined[i] = (joined[i] - joined[i, column] * joined[found]) % P
        found += 1
    return joined[found:, width:]


def test_secrets_do_not_show_in_a_repr():
    key, round_key, ring_key = (
        SigningKey(b"\x07" * 32),
        RoundKey(b"\x07" * 96),
        RingKey(np.full((2, 4096), 7, np.uint32)),
    )
    assert "07" * 4 not in repr(key) + repr(round_key)
    assert "7" not in repr(ring_key)
