"""What reaches, pays or unlocks somebody is found; what only looks like it is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_client.data.personal import find_personal, mask

EMAIL, PHONE, IBAN, CARD, IP, KEY, SSN = (
    "e-mail address",
    "telephone number",
    "bank account (IBAN)",
    "payment card",
    "IP address",
    "key or password",
    "social security number",
)
# Keys are put together here, so that nobody's scanner takes these for real ones.
GITHUB, AWS, HUB, JWT = "gh" + "p_" + "a1B2" * 9, "AK" + "IA" + "Z7" * 8, "hf" + "_" + "Qw3" * 11, "ey" + "JhbGciOiJI"

THERE = [
    (EMAIL, "Write to {} soon.", "jane.doe+news@mail.somewhere.co.uk"),
    (EMAIL, "<{}>", "j_d@a-b.io"),
    (EMAIL, "{}, or nobody", "ÄRGER@firma.de"),
    (EMAIL, "an {}:", "müller@exämple.de"),
    (PHONE, "Tél. {}", "06 12 34 56 78"),
    (PHONE, "Call {}!", "+49 171 2345678"),
    (PHONE, "Call {}.", "+1 (415) 555-2671"),
    (PHONE, "Call {}", "+442079460958"),
    (PHONE, "({})", "415-867-5309"),
    (PHONE, "at {},", "(415) 867-5309"),
    (PHONE, "{}", "1-800-867-5309"),
    (PHONE, "Tel. {}", "030/1234567"),
    (PHONE, "Tel. {}", "020 7946 0958"),
    (PHONE, "mobile: {}", "0410787999"),
    (IBAN, "to {} please", "DE89 3704 0044 0532 0130 00"),
    (IBAN, "to {} from me", "GB29NWBK60161331926819"),
    (IBAN, "to {} 2021 for", "NL91ABNA0417164300"),
    (IBAN, "{} ABCD", "NO93 8601 1117 947"),
    (CARD, "card {}, 12/27", "4111 1111 1111 1111"),
    (CARD, "{}", "5500005555555559"),
    (CARD, "{}", "3782-822463-10005"),
    (CARD, "{}", "6011 0009 9013 9424"),
    (IP, "from {} at noon", "93.184.216.34"),
    (IP, "[{}]", "2606:4700:4700::1111"),
    (IP, "{}", "2a00:1450:4001:0831:0000:0000:0000:200e"),
    (KEY, "token {}", GITHUB),
    (KEY, "{}", AWS),
    (KEY, "'{}'", HUB),
    (KEY, "Bearer {}", f"{JWT}.{JWT}.{JWT}"),
    (KEY, "{}\nMIIE", "-----BEGIN " + "RSA PRIVATE KEY-----"),
    (KEY, "password = '{}'", "hunter2-Xy9!"),
    (KEY, "DB_PASSWORD={}", "t0p5ecretThing"),
    (KEY, "Passwort: {}", "hunter2-Xy9!"),
    (KEY, "Mot de passe : {}", "hunter2-Xy9!"),
    (SSN, "SSN: {}", "219-09-9999"),
    (SSN, "my social security number is {}.", "219-09-9999"),
    (KEY, '"api_key": "{}"', "9f8e7d6c5b4a"),
]
NOT_THERE = {
    "an address for documents": "someone@example.com, a@b.example.org, c@host.test, me@localhost",
    "a handle": "@someone, and 5 @ 3 dollars, a @ b.com",
    "a picture for fine screens": "icon@2x.png",
    "a repository": "git@github.com:owner/name.git",
    "dates": "2021-03-04, 04/05/2021, 1914-1918, 2020-01-01T10:00:00, 01.02.2003",
    "a number of a book": "ISBN 978-3-16-148410-0, 0-306-40615-2",
    "numbers": "3.14159265358979, 1,234,567,890, 0.0000012345, 10000000000, 1 000 000 000",
    "a telephone number of films": "415-555-0132, (212) 555-0199",
    "a subtraction": "400-30-2000, 123+4567, 123-456-789",
    "no social security number": "SSN 000-12-3456, SSN 666-12-3456, SSN 219-09-99991",
    "pairs": "10 12 34 56 78, 06 12 34 56",
    "bits": "0101 1010 1100, 00 0000 0000",
    "a sum of bytes": "0123456789abcdef0123456789abcdef",
    "a bank account with a slip": "DE88 3704 0044 0532 0130 00, XX89 3704 0044 0532 0130 00",
    "a bank account that is cut off": "DE89 3704 0044 0532 0130",
    "a card with a slip": "4111 1111 1111 1112, 5500005555555558",
    "a long number that passes Luhn": "1234567812345670, 0000000000000000",
    "a part of a longer number": "94111111111111111112222",
    "addresses of nobody": "127.0.0.1, 192.168.1.10, 10.0.0.1, 0.0.0.0, 203.0.113.7, 2001:db8::1, ::1, fe80::1",
    "no address": "256.1.1.1, 1.2.3.4.5, version 1.2.3.4, v8.8.4.4, 93.184.216",
    "a time and a scope": "12:30:45, std::vector, a::b, 20:30:40:50",
    "no key": "sk-short, AKIA12, the password: something, password = changeme, secret: the-truth-about-it",
    "words that ask for one": "Enter your password: ________",
}


@pytest.mark.parametrize(("kind", "around", "it"), THERE, ids=[it[:24] for _, _, it in THERE])
def test_what_is_there_is_found_whole(kind: str, around: str, it: str) -> None:
    text = around.format(it)
    assert [(found.kind, text[found.start : found.end]) for found in find_personal(text)] == [(kind, it)]


@pytest.mark.parametrize("what", NOT_THERE)
def test_what_only_looks_like_it_is_not(what: str) -> None:
    text = NOT_THERE[what]
    assert [(found.kind, text[found.start : found.end]) for found in find_personal(text)] == []


@pytest.mark.parametrize("it", ["DE89370400440532013000", "4111111111111111"])
def test_a_checksum_tells_any_one_wrong_digit(it: str) -> None:
    for place in range(2, len(it)):
        wrong = it[:place] + str((int(it[place]) + 1) % 10) + it[place + 1 :]
        assert [found for found in find_personal(wrong) if found.kind in (IBAN, CARD)] == []


@given(st.text(), st.sampled_from(THERE))
def test_what_stands_before_changes_nothing_once_a_line_ends(before: str, there: tuple[str, str, str]) -> None:
    kind, around, it = there
    text = f"{before}\n{around.format(it)}"
    assert (kind, it) in [(found.kind, text[found.start : found.end]) for found in find_personal(text)]


@given(st.text(alphabet="aA0149@.:-_+ /=\nkeysgDE", max_size=300))
def test_finds_are_in_order_and_apart(text: str) -> None:
    end = 0
    for found in find_personal(text):
        assert end <= found.start < found.end <= len(text)
        end = found.end


def test_a_mask_leaves_the_ends_and_the_form() -> None:
    assert mask("jane@mail.de") == "j•••@••••.•e"
    assert mask("ab") == "••"
    assert set(mask("s" * 500)) == {"s", "•", "…"}
    assert len(mask("s" * 500)) < 40
