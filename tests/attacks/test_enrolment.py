"""A device takes nobody for the federation that it was invited to but the one whose key the invitation names."""

import asyncio
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest
from cohorts import SERVER, Cohort

from edge_client.client.enrolment import Enrolment
from edge_client.client.trainer import _begun_update
from edge_client.state import FederationState, Membership
from edge_client.transport import ClockError
from fedit_shared.errors import FeditError, ForgedError, ProtocolError, UnauthorizedError, UserError
from fedit_shared.identity import JoinLink, SigningKey, federation_id
from fedit_shared.messages import Accepted, Enrolled, Offer, decode_task
from fedit_shared.messages.fields import Message

FEDERATION = federation_id(SERVER.public)
STRANGER = SigningKey(sha256(b"stranger").digest())
LINK = JoinLink("https://hospital.example", FEDERATION, bytes(16), None)


class Server:
    """Answers everything with one message, or refuses it."""

    def __init__(self, reply: Message | FeditError) -> None:
        self.reply = reply

    async def send(self, message: Message) -> Message:
        if isinstance(self.reply, FeditError):
            raise self.reply
        return self.reply


def enrolled(key: SigningKey) -> Enrolled:
    return Enrolled(server_key=key.public, federation_name="hospitals")


def join(state: FederationState, link: JoinLink | None, reply: Message) -> bytes:
    return asyncio.run(
        Enrolment(state, link, accept_new_task=False).join(Server(reply), lambda event: None, lambda: 1.0)
    )


def test_a_server_with_another_key_than_the_invitation_names_is_refused_and_its_key_not_kept(tmp_path: Path):
    """It may have the right address and a certificate that everybody trusts."""
    with FederationState(tmp_path) as state:
        with pytest.raises(ForgedError, match="not of the federation that the link names"):
            join(state, LINK, enrolled(STRANGER))
        assert state.membership == Membership(federation=FEDERATION, address=LINK.address, pin=None)
        assert join(state, LINK, enrolled(SERVER)) == SERVER.public
        assert state.membership is not None
        assert state.membership.server_key == SERVER.public


def test_an_enrolment_is_answered_by_its_own_message(tmp_path: Path):
    with FederationState(tmp_path) as state, pytest.raises(ProtocolError, match="with a Accepted"):
        join(state, LINK, Accepted())


def test_a_folder_serves_one_federation(tmp_path: Path):
    other = JoinLink(LINK.address, federation_id(STRANGER.public), bytes(16), None)
    with FederationState(tmp_path) as state:
        join(state, LINK, enrolled(SERVER))
        with pytest.raises(UserError, match="belongs to another federation"):
            Enrolment(state, other, accept_new_task=False)
        assert state.membership is not None
        assert state.membership.federation == FEDERATION


def test_without_an_invitation_a_device_joins_nothing(tmp_path: Path):
    with FederationState(tmp_path) as state:
        with pytest.raises(UserError, match="has joined no federation"):
            Enrolment(state, None, accept_new_task=False)
        Enrolment(state, LINK, accept_new_task=False)
        with pytest.raises(UserError, match="not finished"):
            join(state, None, enrolled(SERVER))


@pytest.mark.parametrize(("refused", "left"), [(ClockError("late"), False), (UnauthorizedError("unknown"), True)])
def test_a_device_has_left_when_the_server_says_so_or_does_not_know_it(tmp_path: Path, refused: FeditError, left: bool):
    with FederationState(tmp_path) as state:
        join(state, LINK, enrolled(SERVER))
        enrolment = Enrolment(state, None, accept_new_task=False)
        try:
            asyncio.run(enrolment.leave(Server(refused)))
        except ClockError:
            assert not left
        assert enrolment.left is left


def offer(task: bytes, adapter: bytes) -> Offer:
    return Offer(task=task, round=1, adapter=adapter, adapter_size=0, train_until=1, not_after=1, signature=bytes(64))


@pytest.mark.parametrize(
    "change",
    [
        lambda task, adapter: offer(task + b" ", adapter),
        lambda task, adapter: offer(task, sha256(adapter).digest()),
    ],
)
def test_an_update_is_of_the_task_and_the_adapter_that_are_offered(
    tmp_path: Path, change: Callable[[bytes, bytes], Offer]
):
    cohort = Cohort(3)
    with FederationState(tmp_path) as state:
        task = decode_task(cohort.task)
        first = _begun_update(state, offer(cohort.task, cohort.adapter), task)
        assert _begun_update(state, offer(cohort.task, cohort.adapter), task).name == first.name
        begun = _begun_update(state, changed := change(cohort.task, cohort.adapter), task).begun()
        assert begun is not None
        assert (begun.task_hash, begun.adapter) == (sha256(changed.task).digest(), changed.adapter)


def test_a_spent_update_is_not_mustered_again(tmp_path: Path):
    cohort = Cohort(3)
    with FederationState(tmp_path) as state:
        first = _begun_update(state, offer(cohort.task, cohort.adapter), decode_task(cohort.task))
        seed = first.begun()
        first.spend("000001-1")
        again = _begun_update(state, offer(cohort.task, cohort.adapter), decode_task(cohort.task))
        assert again.name != first.name
        assert again.begun() != seed
