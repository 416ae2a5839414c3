"""What is on disk says what comes next, for every state a kill can leave behind."""

from itertools import product

import pytest

from edge_client.rounds import STEPS, Action, Held, next_action, require_expected
from fedit_shared.errors import ConflictError
from fedit_shared.messages import Accepted, Certificate, Closed, Prepare, Roster, ServerMessage, Survivors, Wait
from fedit_shared.messages.client import Step

IN_TIME, UNTIL = 100, 100
ROSTER = Roster(cohort=bytes(16), body=b"", settings=b"", signature=bytes(64), contribute_until=UNTIL)
PREPARE = Prepare(receipts=[], packets=[])
SURVIVORS = Survivors(survivors=b"")
CERTIFICATE = Certificate(survivors=b"", certificate=b"")


def test_a_round_without_interruption_goes_through_the_table_in_order() -> None:
    way = [
        (Held(), Action.MUSTER),
        (Held(past="mustered"), Action.ASK),
        (Held(past="mustered", roster=True), Action.CONTRIBUTE),
        (Held(past="mustered", roster=True, sealed=True), Action.UPLOAD),
        (Held(past="contributed", roster=True, sealed=True), Action.ASK),
        (Held(past="contributed", roster=True, sealed=True, prepare=True), Action.REPORT),
        (Held(past="reported", roster=True, sealed=True, prepare=True), Action.ASK),
        (Held(past="reported", roster=True, sealed=True, prepare=True, vote=True), Action.SEND_VOTE),
        (Held(past="voted", roster=True, sealed=True, prepare=True, vote=True), Action.ASK),
        (Held(past="voted", roster=True, sealed=True, prepare=True, vote=True, answer=True), Action.SEND_ANSWER),
        (Held(past="answered", roster=True, sealed=True, prepare=True, vote=True, answer=True), Action.ASK),
        (Held(ended=True), Action.NOTHING),
    ]
    assert [next_action(held, now=IN_TIME, contribute_until=UNTIL) for held, _ in way] == [action for _, action in way]


def test_a_sealed_vector_is_sent_even_late_but_none_is_made_late() -> None:
    late = 10**6
    bound = Held(past="mustered", roster=True)
    sealed = Held(past="mustered", roster=True, sealed=True)
    assert next_action(bound, now=late, contribute_until=UNTIL) is Action.SKIP_UPLOAD
    assert next_action(sealed, now=late, contribute_until=UNTIL) is Action.UPLOAD


def test_no_state_of_the_disk_leads_to_masking_twice_or_voting_before_a_vote_is_kept() -> None:
    for past, *flags in product((None, *STEPS), *[(False, True)] * 5):
        held = Held(past, *flags)
        action = next_action(held, now=IN_TIME, contribute_until=UNTIL)
        if action is Action.CONTRIBUTE:
            assert not held.sealed
        if action is Action.SEND_VOTE:
            assert held.vote
        if action is Action.SEND_ANSWER:
            assert held.answer
        if action is Action.UPLOAD:
            assert held.sealed


ALLOWED: dict[Step, tuple[ServerMessage, ...]] = {
    "mustered": (ROSTER,),
    "contributed": (PREPARE,),
    "reported": (SURVIVORS, CERTIFICATE),
    "voted": (CERTIFICATE,),
    "answered": (),
}


@pytest.mark.parametrize("after", STEPS)
def test_only_what_may_follow_a_step_is_accepted_after_it(after: Step) -> None:
    always = (Wait(reason="", seconds=0), Closed(reason=""))
    for reply in (ROSTER, PREPARE, SURVIVORS, CERTIFICATE, Accepted(), *always):
        if reply in ALLOWED[after] or reply in always:
            require_expected(after, reply)
        else:
            with pytest.raises(ConflictError, match=type(reply).__name__):
                require_expected(after, reply)
