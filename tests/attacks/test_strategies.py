"""A server that names a strategy, or plays with the numbers of rounds, gains nothing by it."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
import pytest
from attackers import Round
from cohorts import Cohort
from victims import Victim

from benchmarks.demo.plain import plain_slots
from edge_client.rounds import TaskChangedError, require_agreed
from fedit_shared.errors import ForgedError, ProtocolError, UserError
from fedit_shared.messages import decode_task, encode
from fedit_shared.parameters import upload_size
from fedit_shared.secagg import Contribution, Contributor, check_vector
from fedit_shared.strategies import STRATEGIES

A, B = 33, 67
"""Sizes of the two factors in a cohort's task."""
SUMMED = {("fedavg", 1): A + B, ("ffa-lora", 2): B, ("rolora", 1): B, ("rolora", 2): A, ("shared-a", 1): A}


@pytest.mark.parametrize(("strategy", "number"), SUMMED)
def test_a_session_sums_just_what_its_round_says_in_the_ranges_of_just_that(strategy: str, number: int) -> None:
    round_ = Round(5, strategy=strategy, round_=number)
    session, ranges = round_.session, round_.session.settings.clip
    assert session.dimension == SUMMED[strategy, number]
    assert session.quantizer.clip == {A: ranges[:1], B: ranges[1:], A + B: ranges}[session.dimension]
    round_.run()
    plain = [plain_slots(session, device.update, device.randomness) for device in round_.devices]
    assert np.array_equal(round_.slots(), sum(plain))


@pytest.mark.parametrize("strategy", ["ffa-lora", "rolora", "shared-a"])
def test_an_update_of_the_whole_adapter_or_of_the_other_factor_is_never_masked(strategy: str) -> None:
    cohort = Cohort(3, strategy=strategy)
    session, device = cohort.session(), cohort.devices[0]
    for size in {A, B, A + B} - {session.dimension}:
        device.update = replace(device.update, delta=np.zeros(size, np.float32))
        with pytest.raises(UserError, match="the task aggregates"):
            cohort.upload(session, device)


def sealed(folder: Path, private: bytes) -> tuple[bytes, bytes]:
    """What a device that keeps these values to itself masks: its vector, and the hash of that in its deal."""
    victim = Victim.in_cohort(folder, strategy="shared-a")

    def contribute(session, update, randomness, sink) -> Contribution:  # type: ignore[no-untyped-def]
        return Contributor(session, victim.device.key).contribute(update, victim.device.randomness, sink)

    with victim.state() as state:
        update = victim.train(state)
        state.private.keep(victim.round.cohort.adapter, decode_task(victim.round.cohort.task), private)
        update.begin_with(private)
        attempt = victim.muster(state, update)
        made = victim.seat(state, attempt).seal(contribute)
        return attempt.vector.read_bytes(), made.deal[64:96]


def test_what_is_sent_depends_on_private_tensors_through_the_delta_of_the_others_alone(tmp_path: Path) -> None:
    drawn = [np.random.default_rng(seed).normal(0, 1, B).astype("<f4").tobytes() for seed in (1, 2)]
    first, second = (sealed(tmp_path / str(place), private) for place, private in enumerate(drawn))
    assert first == second
    assert len(first[0]) == upload_size(A, 16)


def test_an_agreed_strategy_cannot_be_changed_unseen() -> None:
    tasks = [Cohort(3, strategy=strategy).task for strategy in STRATEGIES]
    tasks.append(encode(msgspec.structs.replace(decode_task(tasks[1]), strategy="fedavg")))
    for agreed in tasks:
        for offered in tasks:
            if offered == agreed:
                require_agreed(offered, sha256(agreed).digest())
                continue
            with pytest.raises(TaskChangedError):
                require_agreed(offered, sha256(agreed).digest())


def test_a_roster_for_the_other_turn_is_not_what_its_members_mustered_for() -> None:
    cohort = Cohort(3, strategy="rolora", round_=1)
    roster = cohort.roster()
    assert cohort.session(roster).dimension == B
    with pytest.raises(ForgedError):
        cohort.session(replace(roster, round=2))


def test_a_vector_of_the_other_turns_length_is_no_upload_of_this_session() -> None:
    of_b, of_a = (Round(3, strategy="rolora", round_=number, dimension=60_000) for number in (1, 2))
    vector = of_a.uploads[of_a.devices[0].identity].vector
    check_vector(of_a.session, vector)
    with pytest.raises(ProtocolError):
        check_vector(of_b.session, vector)
