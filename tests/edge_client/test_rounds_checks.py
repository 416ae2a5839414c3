"""The client acts on no word of a server that it has not checked."""

from dataclasses import replace
from hashlib import sha256

import msgspec
import pytest
from cohorts import NOT_AFTER, SERVER, Cohort, Device, Upload

from edge_client.rounds import (
    TaskChangedError,
    UnagreedError,
    check_offer,
    check_result,
    check_roster,
    make_muster,
    require_agreed,
)
from edge_client.rounds.checks import LONGEST_PROMISE
from fedit_shared.adapter import file_size
from fedit_shared.errors import ForgedError, ProtocolError, UnsafeError
from fedit_shared.identity import SigningKey, verify
from fedit_shared.messages import Muster, Offer, Result, Roster, decode_task
from fedit_shared.secagg import Session
from fedit_shared.secagg.bodies import (
    OUTCOMES,
    MusterBody,
    OfferBody,
    ResultBody,
    Survivor,
    VoteBody,
    encode_certificate,
    encode_survivors,
    receipt_hash,
)

COHORT = Cohort(5, "checks")
DEVICE = COHORT.devices[2]
STRANGER = SigningKey(bytes(32))


def offer(*, signer: SigningKey = SERVER, to: bytes = DEVICE.identity, **changes: int) -> Offer:
    times = {"round": 1, "train_until": 1000, "not_after": NOT_AFTER} | changes
    body = OfferBody(
        COHORT.federation,
        to,
        sha256(COHORT.task).digest(),
        times["round"],
        COHORT.adapter,
        times["train_until"],
        times["not_after"],
    )
    return Offer(
        task=COHORT.task,
        adapter=COHORT.adapter,
        adapter_size=file_size(decode_task(COHORT.task).tensors),
        signature=signer.sign("checkin", body.encode()),
        **times,
    )


def test_an_offer_of_the_federation_to_this_device_is_read() -> None:
    assert check_offer(offer(), identity=DEVICE.key.public, server_key=SERVER.public).name == "test"


@pytest.mark.parametrize(
    "forged",
    [
        offer(signer=STRANGER),
        offer(to=COHORT.devices[0].identity),
        msgspec.structs.replace(offer(), not_after=NOT_AFTER + 1),
        msgspec.structs.replace(offer(), round=2),
        msgspec.structs.replace(offer(), adapter=bytes(32)),
        msgspec.structs.replace(offer(), task=COHORT.task + b"\0"),
    ],
)
def test_an_offer_changed_in_anything_that_matters_is_refused(forged: Offer) -> None:
    with pytest.raises(ForgedError):
        check_offer(forged, identity=DEVICE.key.public, server_key=SERVER.public)


@pytest.mark.parametrize("more", [-1, 1, 2**34])
def test_an_adapter_of_another_size_than_its_tensors_is_not_even_downloaded(more: int) -> None:
    vast = msgspec.structs.replace(offer(), adapter_size=offer().adapter_size + more)
    with pytest.raises(UnsafeError, match="the task's tensors have"):
        check_offer(vast, identity=DEVICE.key.public, server_key=SERVER.public)


def test_another_task_than_the_one_agreed_to_needs_the_owner() -> None:
    require_agreed(b"task", None)
    with pytest.raises(UnagreedError, match="not agreed") as first:
        require_agreed(b"task", None, ask=True)
    assert (first.value.task, first.value.exit_code) == (b"task", 5)
    require_agreed(b"task", sha256(b"task").digest())
    with pytest.raises(TaskChangedError, match="--accept-new-task") as error:
        require_agreed(b"another", sha256(b"task").digest())
    assert error.value.exit_code == 5


def test_a_muster_carries_the_devices_own_floor_and_promises_no_longer_than_it_will() -> None:
    key = COHORT.devices[0].round_key.public
    arguments = {"federation": COHORT.federation, "floor": 7}
    muster, not_after = make_muster(offer(), DEVICE.key, key, now=NOT_AFTER - 10, **arguments)
    verify(DEVICE.identity, "muster", muster.body, muster.signature)
    body = MusterBody.decode(muster.body)
    assert (body.floor, body.not_after, not_after) == (7, NOT_AFTER, NOT_AFTER)
    assert make_muster(offer(), DEVICE.key, key, now=0, **arguments)[1] == LONGEST_PROMISE


def mustered(device: Device, **changes: int) -> Muster:
    body = replace(COHORT.muster(device), **changes).encode()
    return Muster(body=body, round_key=device.round_key.public, signature=device.key.sign("muster", body))


def roster(cohort: Cohort = COHORT, signer: SigningKey = SERVER, named: bytes | None = None) -> Roster:
    body = cohort.roster().encode()
    return Roster(
        cohort=named or cohort.cohort,
        body=body,
        settings=cohort.settings,
        signature=signer.sign("roster", body),
        contribute_until=0,
    )


def check(given: Roster, muster: Muster, task: bytes = COHORT.task) -> Session:
    return check_roster(given, muster, task, identity=DEVICE.key.public, server_key=SERVER.public)


def test_a_roster_with_this_device_as_it_mustered_is_accepted() -> None:
    assert check(roster(), mustered(DEVICE)).index(DEVICE.identity) == 3


def test_a_roster_that_undercuts_this_devices_floor_is_refused() -> None:
    with pytest.raises(UnsafeError, match="as it mustered"):
        check(roster(), mustered(DEVICE, floor=5))


@pytest.mark.parametrize(
    ("given", "task"),
    [
        (roster(signer=STRANGER), COHORT.task),
        (roster(named=bytes(16)), COHORT.task),
        (roster(), COHORT.task + b"\0"),
    ],
)
def test_a_roster_that_is_forged_or_of_another_cohort_or_task_is_refused(given: Roster, task: bytes) -> None:
    with pytest.raises(ForgedError):
        check(given, mustered(DEVICE), task)


def test_a_roster_of_another_round_than_mustered_for_is_refused() -> None:
    with pytest.raises(UnsafeError):
        check(roster(Cohort(5, "checks", round_=2)), mustered(DEVICE))


SESSION = COHORT.session()
UPLOADS: dict[bytes, Upload] = COHORT.uploads(SESSION)


def receipt(identity: bytes) -> tuple[bytes, bytes]:
    contribution = UPLOADS[identity].contribution
    return contribution.deal, contribution.signature


def survivors(*left_out: Device) -> bytes:
    gone = {device.identity for device in left_out}
    return encode_survivors([Survivor(i, receipt_hash(*receipt(i))) for i in sorted(UPLOADS) if i not in gone])


def certificate(listed: bytes, voters: int = 4) -> bytes:
    body = VoteBody(SESSION.sid, sha256(listed).digest()).encode()
    return encode_certificate({d.identity: d.key.sign("vote", body) for d in COHORT.devices[:voters]})


def result(outcome: str, listed: bytes, votes: bytes, *, signer: SigningKey = SERVER, round_: int = 1) -> Result:
    body = ResultBody(SESSION.sid, round_, OUTCOMES.index(outcome), sha256(listed).digest(), COHORT.adapter, 9)
    return Result(
        cohort=COHORT.cohort,
        round=round_,
        outcome=outcome,
        survivors=listed,
        certificate=votes,
        adapter=COHORT.adapter,
        total_weight=9,
        mean_loss=1.0,
        signature=signer.sign("result", body.encode()),
    )


def judge(given: Result, own: tuple[bytes, bytes] | None = receipt(DEVICE.identity)) -> tuple[int, bool, bool]:
    verdict = check_result(given, SESSION, own, identity=DEVICE.key.public, server_key=SERVER.public)
    return len(verdict.survivors), verdict.counted, verdict.reusable


def test_a_published_result_counts_those_whose_receipts_are_listed() -> None:
    everyone, without = survivors(), survivors(DEVICE)
    assert judge(result("published", everyone, certificate(everyone))) == (5, True, False)
    assert judge(result("published", without, certificate(without))) == (4, False, True)
    assert judge(result("published", everyone, certificate(everyone)), own=receipt(COHORT.devices[0].identity)) == (
        5,
        False,
        True,
    )


def test_an_update_is_given_back_only_by_votes() -> None:
    assert judge(result("abandoned", b"", certificate(b""))) == (0, False, True)
    assert judge(result("failed", b"", b"")) == (0, False, False)
    everyone = survivors()
    assert judge(result("failed", everyone, certificate(everyone))) == (0, False, False)


@pytest.mark.parametrize(
    "forged",
    [
        result("published", survivors(), certificate(survivors()), signer=STRANGER),
        result("published", survivors(), certificate(survivors(), voters=3)),
        result("published", survivors(), certificate(survivors(DEVICE))),
        result("published", survivors(), b""),
        result("abandoned", b"", b""),
        msgspec.structs.replace(result("failed", b"", b""), outcome="abandoned"),
    ],
)
def test_a_result_without_the_servers_signature_or_enough_votes_is_refused(forged: Result) -> None:
    with pytest.raises(ForgedError):
        judge(forged)


@pytest.mark.parametrize(
    "contradiction",
    [
        result("published", b"", certificate(b"")),
        result("abandoned", survivors(), certificate(survivors())),
        result("failed", b"", b"", round_=2),
    ],
)
def test_a_result_that_contradicts_itself_is_refused(contradiction: Result) -> None:
    with pytest.raises(ProtocolError, match="contradicts itself"):
        judge(contradiction)
