"""A name means one device, a signature one purpose, a request one request, and a link one federation."""

import base64
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedit_shared.errors import FeditError, ForgedError, ProtocolError, UnauthorizedError, UserError
from fedit_shared.identity import (
    JoinLink,
    SigningKey,
    federation_id,
    public_key,
    sign_request,
    verify,
    verify_request,
)
from fedit_shared.identity.requests import LIFETIME
from fedit_shared.installing import UPGRADE_CLIENT

# Edwards curve of RFC 8032, section 5.1
P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
GROUP_ORDER = 2**252 + 27742317777372353535851937790883648493
NOW = 1_900_000_000
FEDERATION, NONCE = bytes(range(32)), bytes(range(16))
DEVICE = SigningKey(bytes(32))
POST = ("POST", "/v1/vote?x=1", b"body")


def point(y: int) -> tuple[int, int] | None:
    """One of the points at y, by the formula of RFC 8032 5.1.3; None where there is none."""
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    for root in (pow(square, (P + 3) // 8, P), pow(square, (P + 3) // 8, P) * pow(2, (P - 1) // 4, P) % P):
        if root * root % P == square:
            return root, y
    return None


def add(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    product = D * a[0] * b[0] * a[1] * b[1] % P
    x = (a[0] * b[1] + a[1] * b[0]) * pow(1 + product, -1, P) % P
    return x, (a[1] * b[1] + a[0] * b[0]) * pow(1 - product, -1, P) % P


def multiple(k: int, a: tuple[int, int]) -> tuple[int, int]:
    total = (0, 1)
    for bit in f"{k:b}":
        total = add(total, total)
        total = add(total, a) if bit == "1" else total
    return total


def small_order_keys() -> set[bytes]:
    """Every encoding, canonical or not, of the eight points of small order, made by arithmetic on the curve."""
    torsion = {multiple(GROUP_ORDER, a) for y in range(2, 40) if (a := point(y))}
    whole = {add(a, b) for a in torsion for b in torsion}
    assert len(whole) == 8
    heights = {y for _, y in whole} | {y + P for _, y in whole if y + P < 2**255}
    return {(y | sign << 255).to_bytes(32, "little") for y in heights for sign in (0, 1)}


def test_every_key_of_small_order_is_refused_in_every_encoding() -> None:
    keys = small_order_keys()
    assert len(keys) == 2 * (5 + 2)
    for raw in keys:
        with pytest.raises(ProtocolError):
            public_key(raw)
        with pytest.raises(ProtocolError):
            verify(raw, "vote", b"body", bytes(64))


@pytest.mark.parametrize("y", [P, P + 3, P + 18, 2**255 - 1])
@pytest.mark.parametrize("sign", [0, 1])
def test_a_key_that_is_not_canonical_is_refused(y: int, sign: int) -> None:
    with pytest.raises(ProtocolError):
        public_key((y | sign << 255).to_bytes(32, "little"))


def test_a_key_that_is_no_point_of_the_curve_or_has_another_length_is_refused() -> None:
    off = next(y for y in range(2, 40) if point(y) is None)
    for raw in (off.to_bytes(32, "little"), DEVICE.public[:-1], DEVICE.public + b"\0", b""):
        with pytest.raises(ProtocolError):
            public_key(raw)
    assert public_key(DEVICE.public) == DEVICE.public


def test_a_signature_holds_for_its_own_key_purpose_and_body_alone() -> None:
    signature = DEVICE.sign("vote", b"body")
    verify(DEVICE.public, "vote", b"body", signature)
    other = SigningKey(b"\1" * 32).public
    cut, long = signature[:-1], signature + b"\0"
    high_s = signature[:32] + (int.from_bytes(signature[32:], "little") + GROUP_ORDER).to_bytes(32, "little")
    for key, purpose, body, wrong in [
        (other, "vote", b"body", signature),
        (DEVICE.public, "answer", b"body", signature),
        (DEVICE.public, "vote", b"bodY", signature),
        (DEVICE.public, "vote", b"body", cut),
        (DEVICE.public, "vote", b"body", long),
        (DEVICE.public, "vote", b"body", high_s),
        (DEVICE.public, "vote", b"body", b""),
    ]:
        with pytest.raises(ForgedError):
            verify(key, purpose, body, wrong)


def test_a_purpose_cannot_be_stretched_into_a_body() -> None:
    signature = DEVICE.sign("deal", b"\0body")
    with pytest.raises(ForgedError):
        verify(DEVICE.public, "deal", b"body", signature)


def test_a_federation_is_named_by_its_servers_key() -> None:
    assert federation_id(DEVICE.public) == sha256(b"fedit/1/federation\0" + DEVICE.public).digest()
    with pytest.raises(ProtocolError):
        federation_id(bytes(32))


def test_a_key_comes_back_from_its_seed() -> None:
    assert SigningKey(DEVICE.seed()).public == DEVICE.public


# Requests


def header(**change: object) -> str:
    given = {"method": POST[0], "path": POST[1], "body": POST[2], "time": NOW, "nonce": NONCE, "key": DEVICE} | change
    return sign_request(
        given["key"],
        FEDERATION,
        given["method"],
        given["path"],
        given["body"],
        time=given["time"],
        nonce=given["nonce"],
    )


def test_a_request_names_its_sender_its_time_and_its_nonce() -> None:
    assert verify_request(header(), FEDERATION, *POST, now=NOW) == (DEVICE.public, NOW, NONCE)
    assert len(base64.urlsafe_b64decode(header().removeprefix("Fedit "))) == 120


@pytest.mark.parametrize(
    ("federation", "method", "path", "body"),
    [
        (bytes(32), *POST),
        (FEDERATION, "PUT", *POST[1:]),
        (FEDERATION, "POST", "/v1/vote", b"body"),
        (FEDERATION, "POST", "/v1/vote?x=2", b"body"),
        (FEDERATION, "POST", "/v1/answer", b"body"),
        (FEDERATION, "POST /v1", "/vote?x=1", b"body"),
        (FEDERATION, "POST", "/v1/vote?x=1", b"other"),
        (FEDERATION, "POST", "/v1/vote?x=1", b""),
        (FEDERATION, "POST", "/v1/vote?x=\udcff", b"body"),
    ],
)
def test_a_request_is_good_for_nothing_else(federation: bytes, method: str, path: str, body: bytes) -> None:
    with pytest.raises(UnauthorizedError):
        verify_request(header(), federation, method, path, body, now=NOW)


@pytest.mark.parametrize("age", [-LIFETIME, -1, 0, 1, LIFETIME])
def test_a_request_is_good_for_two_minutes_either_way(age: int) -> None:
    assert verify_request(header(), FEDERATION, *POST, now=NOW + age).time == NOW


@pytest.mark.parametrize(("age", "word"), [(LIFETIME + 1, "before"), (-LIFETIME - 1, "after")])
def test_a_stale_request_is_refused_with_advice_about_the_clock(age: int, word: str) -> None:
    with pytest.raises(UnauthorizedError, match=word) as refused:
        verify_request(header(), FEDERATION, *POST, now=NOW + age)
    assert "clock" in refused.value.advice


def test_who_changes_time_or_nonce_or_name_of_a_request_breaks_it() -> None:
    raw = bytearray(base64.urlsafe_b64decode(header().removeprefix("Fedit ")))
    for place in (0, 31, 32, 40, 55, 56, 119):
        changed = bytearray(raw)
        changed[place] ^= 1
        with pytest.raises(UnauthorizedError):
            verify_request("Fedit " + base64.urlsafe_b64encode(changed).decode(), FEDERATION, *POST, now=NOW)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda token: "",
        lambda token: token.removeprefix("Fedit "),
        lambda token: token.replace("Fedit", "Bearer"),
        lambda token: token[:-4],
        lambda token: token + "AAAA",
        lambda token: token[:-1] + "é",
        lambda token: token[:20] + "!" + token[21:],
        lambda token: "Fedit",
        lambda token: "Fedit " + base64.urlsafe_b64encode(bytes(120)).decode(),
    ],
    ids=["nothing", "no scheme", "another scheme", "cut off", "longer", "no ASCII", "no base64", "empty", "zeros"],
)
def test_what_is_no_token_is_refused(spoil) -> None:
    with pytest.raises(UnauthorizedError):
        verify_request(spoil(header()), FEDERATION, *POST, now=NOW)


# Join links

LINK = JoinLink("https://fed.example:8443", bytes(range(32)), bytes(range(16)), bytes(range(1, 33)))


@given(
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=16, max_size=16),
    st.none() | st.binary(min_size=32, max_size=32),
)
def test_a_link_comes_back_as_it_was_given_out(federation: bytes, token: bytes, pin: bytes | None) -> None:
    link = JoinLink("https://[2001:db8::1]:8443", federation, token, pin)
    assert JoinLink.parse(f"  {link}\n") == link


def test_a_link_cut_off_anywhere_is_refused_or_loses_its_whole_pin() -> None:
    text = str(LINK)
    no_pin = text.rindex(".")
    assert JoinLink.parse(text[:no_pin]) == JoinLink(LINK.address, LINK.federation, LINK.token, None)
    for end in set(range(len(text))) - {no_pin}:
        with pytest.raises(UserError) as refused:
            JoinLink.parse(text[:end])
        assert refused.value.advice


@pytest.mark.parametrize(
    "text",
    [
        str(LINK).replace("https:", "http:"),
        str(LINK).replace("https://", ""),
        str(LINK).replace("/join", "/joined"),
        str(LINK).replace("/join", "/join?x=1"),
        str(LINK).replace("fed.example", "user@fed.example"),
        str(LINK).replace("fed.example", ":secret@fed.example"),
        str(LINK).replace("fed.example:8443", ""),
        str(LINK).replace(":8443", ":99999"),
        str(LINK).replace(":8443", ":port"),
        str(LINK).replace("fed.example", "[fed"),
        str(LINK).replace("#1.", "#1"),
        str(LINK).replace("#1.", "#x."),
        str(LINK).replace("#", "%23"),
        str(LINK) + ".AAAA",
        str(LINK) + "é",
        str(LINK) + "=",
        str(LINK)[:-2] + " A",
        "",
        "join",
    ],
)
def test_what_is_no_join_link_is_refused_with_advice(text: str) -> None:
    with pytest.raises(UserError) as refused:
        JoinLink.parse(text)
    assert "link" in refused.value.message
    assert refused.value.advice
    assert refused.value.exit_code == 2


def test_a_link_of_a_later_version_says_to_upgrade() -> None:
    with pytest.raises(UserError, match="version 2") as refused:
        JoinLink.parse(str(LINK).replace("#1.", "#2."))
    assert refused.value.advice == UPGRADE_CLIENT


def test_a_link_does_not_show_its_token_in_a_repr_or_an_error() -> None:
    secret = str(LINK).split(".")[-2]
    assert LINK.token.hex() not in repr(LINK)
    assert repr(LINK.token) not in repr(LINK)
    with pytest.raises(FeditError) as refused:
        JoinLink.parse(str(LINK)[:-3])
    assert secret not in str(refused.value)
