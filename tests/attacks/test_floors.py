"""A floor that its owner raises in the midst of a round holds from then on."""

from pathlib import Path

import pytest
from attackers import certificate_of
from victims import Victim, contributed

from edge_client.data import DataSource
from edge_client.state import FederationState, Preferences
from fedit_shared.errors import UnsafeError
from fedit_shared.messages import Certificate, Survivors


def wants(state: FederationState, floor: int) -> None:
    state.preferences = Preferences(data=DataSource(path="none"), min_survivors=floor)


def test_a_floor_that_was_raised_after_the_muster_keeps_a_device_out_of_a_smaller_cohort(tmp_path: Path):
    victim = Victim.in_cohort(tmp_path)
    with victim.state() as state:
        attempt = victim.muster(state, victim.train(state))
        seat = victim.seat(state, attempt)
        wants(state, 6)
        with pytest.raises(UnsafeError, match="fewer than 6"):
            seat.seal(victim.contribute)
        assert attempt.deal() is None
        wants(state, 5)
        seat.seal(victim.contribute)


def test_a_floor_that_was_raised_after_the_upload_gets_no_vote_and_no_answer_for_a_smaller_sum(tmp_path: Path):
    victim, attempt = contributed(tmp_path)
    survivors = victim.round.listing(victim.round.devices)
    with victim.state() as state:
        seat = victim.seat(state, attempt)
        wants(state, 6)
        with pytest.raises(UnsafeError, match="fewer than 6"):
            seat.vote(Survivors(survivors=survivors))
        votes = certificate_of(victim.round.session, survivors, victim.round.devices)
        with pytest.raises(UnsafeError, match="fewer than 6"):
            seat.answer(Certificate(survivors=survivors, certificate=votes))
        assert attempt.vote() is None
        assert attempt.answer() is None
        wants(state, 5)
        seat.vote(Survivors(survivors=survivors))
        assert seat.answer(Certificate(survivors=survivors, certificate=votes))


def test_whoever_wants_more_than_there_are_still_votes_to_give_the_cohort_up(tmp_path: Path):
    victim, attempt = contributed(tmp_path)
    with victim.state() as state:
        wants(state, 6)
        victim.seat(state, attempt).vote(Survivors(survivors=b""))
        assert attempt.vote() is not None
