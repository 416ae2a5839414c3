"""Members that report falsely, answer falsely, or say nothing: what a round bears, and where it ends."""

from hashlib import sha256
from itertools import combinations

import pytest
from attackers import Round, false_checks, false_edges, wrong_answer
from cohorts import Device

from fedit_shared.errors import SumError
from fedit_shared.parameters import COHORT_MAX, COHORT_MIN, CohortParameters
from fedit_shared.secagg.selection import Edges, select


def report(round_: Round, liars: dict[bytes, tuple[bytes, bytes]], absent: int = 0) -> None:
    """Everybody but the last ``absent`` devices reports; who is in ``liars`` says that."""
    for device in round_.devices[: len(round_.devices) - absent]:
        said = liars.get(device.identity) or round_.member(device).report(round_.prepare(device))
        round_.aggregator.add_report(device.identity, *said)


# False reports.


@pytest.mark.parametrize("size", [4, 5, 7, 8, 10, 13])
def test_members_that_claim_that_no_packet_opens_are_written_off_up_to_the_bound(size):
    round_ = Round(size)
    liars = round_.devices[: size - round_.session.parameters.threshold]
    report(round_, {liar.identity: false_edges(round_, liar, round_.identities) for liar in liars})
    assert round_.chosen() == round_.identities


@pytest.mark.parametrize("size", [4, 5, 6, 7, 8, 9, 10, 13])
def test_one_liar_more_than_that_can_have_chosen_updates_dropped_but_not_below_the_floor(size):
    round_ = Round(size)
    liars = round_.devices[: size - round_.session.parameters.threshold + 1]
    victims = round_.identities[-(size - round_.session.floor) :]
    report(round_, {liar.identity: false_edges(round_, liar, victims) for liar in liars})
    assert round_.chosen() == [identity for identity in round_.identities if identity not in victims]
    again = Round(size)
    one_more = again.identities[-(size - again.session.floor + 1) :]
    report(again, {liar.identity: false_edges(again, liar, one_more) for liar in liars})
    assert again.aggregator.choose_survivors() is None


@pytest.mark.parametrize(("size", "liars"), [(10, 1), (13, 1), (16, 2)])
def test_members_that_report_wrong_check_values_are_written_off_up_to_the_bound(size, liars):
    round_ = Round(size)
    assert liars == (size - 1 - round_.session.parameters.threshold) // 2
    lies = {d.identity: false_checks(round_, d, round_.identities) for d in round_.devices[:liars]}
    report(round_, lies)
    assert round_.chosen() == round_.identities
    assert not round_.aggregator.suspects(), "no dealer is blamed for it"


@pytest.mark.parametrize("size", [7, 8, 9])
def test_one_liar_in_a_cohort_of_7_to_9_can_have_updates_dropped_down_to_the_floor_or_the_cohort_given_up(size):
    round_ = Round(size)
    liar, victims = round_.devices[0], round_.identities[round_.session.floor :]
    report(round_, {liar.identity: false_checks(round_, liar, victims)})
    assert round_.chosen() == round_.identities[: round_.session.floor]
    again = Round(size)
    report(again, {liar.identity: false_checks(again, liar, again.identities)})
    assert again.aggregator.choose_survivors() is None


@pytest.mark.parametrize("size", [3, 4, 5, 6])
def test_wrong_check_values_change_nothing_in_a_cohort_too_small_to_check(size):
    round_ = Round(size)
    lies = {d.identity: false_checks(round_, d, round_.identities) for d in round_.devices[:1]}
    report(round_, lies)
    assert round_.chosen() == round_.identities


def outcome(size: int, edges: Edges, absent: int) -> int:
    """How many updates of ``size`` are in U if the last ``absent`` members say nothing; 0: given up."""
    numbers = CohortParameters(size)
    names = [bytes([k]) for k in range(size)]
    chosen = select(names[: size - absent], names, edges, threshold=numbers.threshold, floor=numbers.floor)
    return len(chosen or [])


def test_no_claim_of_one_liar_among_4_5_or_7_drops_an_update_while_all_report():
    """Every set of false edges of one member is tried. In a cohort of 6 or 9, and of 3, see the next test."""
    for size in (4, 5, 7):
        for count in range(size):
            for victims in combinations(range(1, size), count):
                assert outcome(size, {(bytes([0]), bytes([v])) for v in victims}, absent=0) == size


def test_a_liar_that_is_needed_for_a_quorum_can_veto_updates_but_never_below_the_floor():
    """Every set of false edges of one member, while as many members as may be are absent."""
    for size in range(3, 8):
        numbers = CohortParameters(size)
        absent = size - numbers.threshold
        for count in range(size):
            for victims in combinations(range(1, size), count):
                left = size - count
                expected = left if left >= numbers.floor else 0
                assert outcome(size, {(bytes([0]), bytes([v])) for v in victims}, absent) == expected


def test_liars_and_absent_members_together_drop_nothing_up_to_a_third_of_the_cohort():
    for size in range(COHORT_MIN, 65):
        spare = size - CohortParameters(size).threshold
        for liars in range(spare + 1):
            edges = {(bytes([k]), bytes([v])) for k in range(liars) for v in range(size) if v != k}
            assert outcome(size, edges, absent=spare - liars) == size


def test_the_liar_is_written_off_and_not_those_it_accuses():
    """It accuses two; one of them rightly accuses it. Two updates would be lost if dealers alone were taken away."""
    liar, first, second = (bytes([k]) for k in (2, 1, 4))
    assert outcome(5, {(liar, first), (liar, second), (second, liar)}, absent=0) == 4


def test_check_values_that_two_members_and_more_contradict_in_turn_are_not_decoded():
    """Each of the eight could be decoded; but the bound is on members, and two of ten are beyond it."""
    round_ = Round(10)
    victim = round_.identities[-1]
    lies = {
        device.identity: false_checks(round_, device, [victim], word=word)
        for device, word in zip(round_.devices[:2], (0, 7), strict=True)
    }
    report(round_, lies)
    assert round_.chosen() == round_.identities[:-1]


def test_the_table_of_the_threat_model_is_what_the_numbers_give():
    """docs/threat-model.md, "How much lying a round bears"."""
    table = {
        # n: T, absent or lying about openings, lying about checks (0: told, not by whom; −1: not told), lying answers,
        #    updates that more liars can have dropped
        3: (1, 0, -1, 0, 0),
        4: (1, 1, -1, 0, 1),
        5: (1, 1, -1, 0, 2),
        7: (2, 2, 0, 1, 3),
        10: (3, 3, 1, 1, 4),
        16: (5, 5, 2, 2, 7),
        32: (10, 10, 4, 5, 15),
        64: (21, 21, 10, 10, 31),
        128: (42, 42, 20, 21, 63),
        255: (85, 84, 41, 42, 127),
    }
    for size, row in table.items():
        numbers = CohortParameters(size)
        spare = size - numbers.threshold
        assert row == (numbers.corrupt, spare, (spare - 1) // 2 if spare > 1 else -1, spare // 2, size - numbers.floor)
    assert COHORT_MAX in table


# False answers.


def answers(round_: Round, liars: list[Device], silent: list[Device]) -> None:
    survivors, certificate = round_.certify()
    honest = [device for device in round_.devices if device not in [*liars, *silent]]
    for liar in liars:
        survivors_hash, said = sha256(survivors).digest(), wrong_answer(round_, liar, survivors, certificate)
        round_.aggregator.add_answer(liar.identity, survivors_hash, *said)
    round_.answer_all(survivors, certificate, honest)


@pytest.mark.parametrize(("size", "liars"), [(5, 0), (7, 1), (10, 1), (13, 2)])
def test_wrong_answers_up_to_the_bound_are_left_out_and_who_gave_them_is_known(size, liars):
    round_ = Round(size)
    answers(round_, round_.devices[:liars], [])
    mean = round_.publish()
    assert mean.survivors == size
    assert set(round_.aggregator.suspects()) == {device.identity for device in round_.devices[:liars]}


@pytest.mark.parametrize(("size", "liars"), [(5, 1), (7, 2), (10, 2), (13, 3)])
def test_wrong_answers_beyond_the_bound_open_nothing(size, liars):
    round_ = Round(size)
    answers(round_, round_.devices[:liars], [])
    assert not list(round_.aggregator.open_key())


def test_answers_that_lie_in_turn_beyond_the_bound_open_nothing():
    """Each prime's words could be decoded; but two of ten are beyond the bound."""
    round_ = Round(10)
    survivors, certificate = round_.certify()
    for liar, word in zip(round_.devices[:2], (0, -1), strict=True):
        lie = wrong_answer(round_, liar, survivors, certificate, word=word)
        round_.aggregator.add_answer(liar.identity, sha256(survivors).digest(), *lie)
    round_.answer_all(survivors, certificate, round_.devices[2:])
    assert not list(round_.aggregator.open_key())


@pytest.mark.parametrize("word", [-1, 1365])
def test_a_wrong_word_in_the_last_block_shows_in_the_padding_of_the_key(word):
    round_ = Round(5)
    assert round_.session.parameters.blocks == 1366
    survivors, certificate = round_.certify()
    lie = wrong_answer(round_, round_.devices[0], survivors, certificate, word=word)
    round_.aggregator.add_answer(round_.devices[0].identity, sha256(survivors).digest(), *lie)
    round_.answer_all(survivors, certificate, round_.devices[1:4])
    assert not list(round_.aggregator.open_key())


@pytest.mark.parametrize("size", [3, 5, 6, 9])
def test_a_wrong_answer_among_just_enough_is_noticed_by_the_sum_and_one_more_honest_answer_heals_nothing(size):
    round_ = Round(size)
    spare = size - round_.session.parameters.threshold
    answers(round_, round_.devices[:1], round_.devices[size - spare :])
    with pytest.raises(SumError, match="does not open"):
        round_.publish()
    if spare:
        survivors, certificate = round_.aggregator.survivors or b"", round_.aggregator.certificate() or b""
        round_.answer_all(survivors, certificate, round_.devices[size - spare : size - spare + 1])
        assert not list(round_.aggregator.open_key())


@pytest.mark.parametrize("size", [4, 5, 7, 10])
def test_silent_members_up_to_the_bound_cost_nothing_and_one_more_leaves_the_sum_closed(size):
    spare = size - CohortParameters(size).threshold
    for silent in (spare, spare + 1):
        round_ = Round(size)
        answers(round_, [], round_.devices[:silent])
        if silent == spare:
            mean = round_.publish()
            assert mean.survivors == size
        else:
            assert not list(round_.aggregator.open_key())


@pytest.mark.parametrize("size", [4, 5])
def test_a_member_that_reported_an_edge_is_not_asked_for_its_share_of_that_dealer(size):
    """It lied and then answers wrongly: its answer is not among those that are opened."""
    round_ = Round(size)
    liar = round_.devices[0]
    report(round_, {liar.identity: false_edges(round_, liar, round_.identities)})
    survivors = round_.choose()
    certificate = round_.vote_all(survivors)
    round_.aggregator.add_answer(
        liar.identity, sha256(survivors).digest(), *wrong_answer(round_, liar, survivors, certificate)
    )
    round_.answer_all(survivors, certificate, round_.devices[1:])
    mean = round_.publish()
    assert mean.survivors == size


def test_a_false_late_report_does_not_undo_what_is_chosen():
    round_ = Round(10)
    late = round_.devices[0]
    round_.report(round_.devices[1:])
    survivors = round_.choose()
    round_.aggregator.add_report(late.identity, *false_edges(round_, late, round_.identities))
    certificate = round_.vote_all(survivors)
    round_.answer_all(survivors, certificate)
    mean = round_.publish()
    assert mean.survivors == 10
