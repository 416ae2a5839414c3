"""Requests and enrolments, forged and replayed, at the server's gate."""

from dataclasses import replace
from hashlib import sha256

import msgspec
import pytest
from cohorts import SERVER

from agg_server.enrolment import check_enrol
from agg_server.web.auth import Gate
from fedit_shared.errors import ForgedError, UnauthorizedError
from fedit_shared.identity import SigningKey, federation_id, sign_request
from fedit_shared.identity.requests import LIFETIME
from fedit_shared.messages import Enrol
from fedit_shared.secagg.bodies import EnrolBody

FEDERATION = federation_id(SERVER.public)
DEVICE, STRANGER = SigningKey(bytes(32)), SigningKey(sha256(b"stranger").digest())
START = 1_900_000_000


class Clock:
    now = float(START)

    def __call__(self) -> float:
        return self.now


def token(nonce: int, time: float, key: SigningKey = DEVICE) -> str:
    return sign_request(key, FEDERATION, "POST", "/v1/vote", b"body", time=int(time), nonce=nonce.to_bytes(16, "big"))


def test_a_replayed_request_is_refused_for_as_long_as_its_token_is_good():
    """A request of a clock that is two minutes ahead is good for four; the server's memory turns over meanwhile."""
    clock = Clock()
    gate = Gate(FEDERATION, lambda: {DEVICE.public}, clock)
    for turn in range(1, 9):
        clock.now += LIFETIME // 2 + 1
        early = token(turn, clock.now + LIFETIME)
        gate.require_signed(early, "POST", "/v1/vote", b"body")
        sent = clock.now
        for later in range(0, 2 * LIFETIME + 1, 20):
            clock.now = sent + later
            if later % 40 == 0:  # others' requests turn the memory over
                gate.require_signed(token(1000 * turn + later, clock.now, STRANGER), "POST", "/v1/vote", b"body")
            with pytest.raises(UnauthorizedError, match="sent before"):
                gate.require_signed(early, "POST", "/v1/vote", b"body")
        clock.now = sent + 2 * LIFETIME + 1
        with pytest.raises(UnauthorizedError, match="signed"):
            gate.require_signed(early, "POST", "/v1/vote", b"body")


def test_what_names_no_device_is_refused_before_any_body_is_read():
    gate = Gate(FEDERATION, lambda: {DEVICE.public, b"short"}, Clock())
    good = token(1, START)
    assert gate.require_known(good) == DEVICE.public
    encoded = good.partition(" ")[2]
    for header in ("", "Fedit", f"Basic {encoded}", encoded, "Fedit c2hvcnQ=", "Fedit ###"):
        with pytest.raises(UnauthorizedError, match="not signed by a device"):
            gate.require_known(header)


def test_a_stranger_or_a_blocked_device_is_refused_before_any_body_is_read():
    active = {DEVICE.public}
    gate = Gate(FEDERATION, lambda: active, Clock())
    with pytest.raises(UnauthorizedError, match="not joined"):
        gate.require_known(token(1, START, STRANGER))
    gate.require_known(token(2, START))
    active.clear()
    with pytest.raises(UnauthorizedError, match="not joined"):
        gate.require_known(token(3, START))


def enrolment(**signed: object) -> Enrol:
    """An enrolment whose signature covers ``signed`` in place of what it says."""
    body = EnrolBody(FEDERATION, DEVICE.public, sha256(b"t" * 16).digest(), START)
    signature = DEVICE.sign("enrol", replace(body, **signed).encode())
    return Enrol(identity=DEVICE.public, token=b"t" * 16, time=START, signature=signature)


def test_an_enrolment_is_bound_to_token_device_federation_and_time():
    good = enrolment()
    for now in (START - LIFETIME, START, START + LIFETIME):
        assert check_enrol(good, FEDERATION, now) == sha256(b"t" * 16).digest()
    for now in (START - LIFETIME - 1, START + LIFETIME + 1):
        with pytest.raises(UnauthorizedError, match="clock"):
            check_enrol(good, FEDERATION, now)
    other = sha256(b"other").digest()
    for forged in (
        enrolment(federation=other),
        enrolment(identity=other),
        enrolment(token_hash=other),
        enrolment(time=START + 1),
        msgspec.structs.replace(good, identity=STRANGER.public),
        msgspec.structs.replace(good, token=b"u" * 16),
    ):
        with pytest.raises(ForgedError, match="join link"):
            check_enrol(forged, FEDERATION, START)
