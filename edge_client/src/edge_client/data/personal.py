"""Finds what is likely personal in a text: addresses, numbers that reach or pay somebody, keys.

It errs on both sides: it knows no names, and a telephone number is told from other numbers by its form alone. What has
a checksum (IBAN: ISO 13616, cards: ISO/IEC 7812) has it verified. What is found is for the eyes of the data's owner.
"""

import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Kind = Literal[
    "e-mail address",
    "telephone number",
    "bank account (IBAN)",
    "payment card",
    "IP address",
    "key or password",
    "social security number",
]

_NO_DOMAINS = re.compile(r"(?:.*\.)?(?:example\.(?:com|org|net)|example|test|invalid|localhost)")
"""Reserved for documentation (RFC 2606)."""
_FILE_SUFFIXES = frozenset(
    "png jpg jpeg gif svg webp avif ico css js ts py sh html htm json xml md txt pdf zip".split()
)
_IBAN_LENGTHS = {
    entry[:2]: int(entry[2:])
    for entry in (
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DK18 DO28 EE20 EG29 ES24 FI18 "
        "FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 "
        "LU20 LV21 LY25 MC27 MD24 ME22 MK19 MR27 MT31 MU30 NL18 NO15 PK24 PL28 PS29 PT25 QA29 RO24 RS22 SA24 SC31 SE24 "
        "SI19 SK24 SM27 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20"
    ).split()
}
_VERSION = re.compile(r"(?:\bv|version|release|build|section|chapter)\.?\s*$", re.IGNORECASE)
_ENTROPY = 3.0
"""Bits a character: a password that stands in a text has more than a word in its place."""


@dataclass(frozen=True)
class Found:
    """Something at ``text[start:end]``."""

    kind: Kind
    start: int
    end: int


def find_personal(text: str) -> list[Found]:
    """What is likely personal in ``text``, in its order; overlapping finds are one, of the kind that comes first in
    the table below."""
    taken: list[Found] = []
    for kind, needs, pattern, measure in _FINDERS:
        if not needs.search(text):
            continue
        for match in pattern.finditer(text):
            start, end = match.span("it") if "it" in pattern.groupindex else match.span()
            end = start + measure(text[start:end], text[max(0, start - 16) : start])
            if start < end and not any(start < found.end and found.start < end for found in taken):
                taken.append(Found(kind, start, end))
    return sorted(taken, key=lambda found: found.start)


def mask(text: str) -> str:
    """``text``, shortened, with every letter and digit hidden but the first and the last one."""
    return hide(f"{text[:20]}…{text[-8:]}" if len(text) > 40 else text)


def hide(text: str) -> str:
    """``text``, as long as it is, with every letter and digit hidden but the first and the last one."""
    inner = "".join("•" if character.isalnum() else character for character in text[1:-1])
    return text[:1] + inner + text[-1:] if len(text) > 2 else "•" * len(text)


def _is_email(found: str, before: str) -> bool:
    user, _, domain = found.lower().rpartition("@")
    if domain.rpartition(".")[2] in _FILE_SUFFIXES or user == "git":
        return False
    return not _NO_DOMAINS.fullmatch(domain)


def _is_phone(found: str, before: str) -> bool:
    digits = re.sub(r"\D", "", found)
    if found.startswith("+"):
        return 8 <= len(digits) <= 15  # E.164
    if found.startswith("0"):
        return 9 <= len(digits) <= 12 and len(set(digits)) > 2
    return not re.fullmatch(r"\d{3}55501\d\d", digits)  # 555-01xx is for films


def _iban(found: str, before: str) -> int:
    """What stands behind it in groups of four may look like a part of it: the country says how long it is."""
    plain = found.replace(" ", "").upper()[: _IBAN_LENGTHS.get(found[:2].upper(), 0)]
    if len(plain) < 15 or len(plain) != _IBAN_LENGTHS[plain[:2]]:
        return 0
    if int("".join(str(int(character, 36)) for character in plain[4:] + plain[:4])) % 97 != 1:
        return 0
    length = 0
    for _ in plain:
        length += 1 + (found[length] == " ")
    return 0 if found[length : length + 1].isalnum() else length


def _is_card(found: str, before: str) -> bool:
    digits = re.sub(r"\D", "", found)
    if len(set(digits)) == 1 or not _CARD_NUMBER.fullmatch(digits):
        return False
    doubled = (sum(divmod(2 * int(digit), 10)) for digit in digits[-2::-2])
    return (sum(map(int, digits[-1::-2])) + sum(doubled)) % 10 == 0


def _is_ip4(found: str, before: str) -> bool:
    try:
        return ipaddress.IPv4Address(found).is_global and not _VERSION.search(before)
    except ValueError:
        return False


def _is_ip6(found: str, before: str) -> bool:
    try:
        return ipaddress.IPv6Address(found).is_global
    except ValueError:
        return False


def _is_secret(found: str, before: str) -> bool:
    """A value that was assigned to something called a key or password."""
    share = [count / len(found) for count in Counter(found).values()]
    mixed = any(c.isdigit() for c in found) and any(c.isalpha() for c in found)
    return mixed and -sum(part * math.log2(part) for part in share) >= _ENTROPY


_CARD_NUMBER = re.compile(
    r"4\d{12}(?:\d{3}){0,2}|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
    r"|3(?:0[0-5]|[689]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}|6(?:011|5\d\d|4[4-9]\d)\d{12}|62\d{14,17}"
)
"""Visa, Mastercard, American Express, Diners, JCB, Discover, UnionPay."""

Measure = Callable[[str, str], int]
"""Of what a pattern matched, and the text before it: how many characters are the thing looked for; 0: it is none."""


def _if(is_one: Callable[[str, str], bool]) -> Measure:
    return lambda found, before: len(found) if is_one(found, before) else 0


_DIGIT = re.compile("[0-9]")
_FINDERS: list[tuple[Kind, re.Pattern[str], re.Pattern[str], Measure]] = [
    (
        "key or password",
        re.compile("[-_][A-Za-z0-9]|AKIA|AIza|SG|eyJ"),
        re.compile(
            r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"
            r"|\b(?:sk-[\w-]{20,}|[sr]k_live_\w{16,}|gh[pousr]_\w{36,}|github_pat_\w{22,}|glpat-[\w-]{20,}|hf_\w{30,}"
            r"|npm_\w{36}|AKIA[0-9A-Z]{16}|AIza[\w-]{35}|xox[abprs]-[\w-]{10,}|SG\.[\w-]{16,64}\.[\w-]{16,64}"
            r"|eyJ[\w-]{8,4096}\.eyJ[\w-]{8,4096}\.[\w-]{8,4096})"
        ),
        _if(lambda found, before: True),
    ),
    (
        "key or password",
        re.compile("[=:]"),
        re.compile(
            r"(?i:\b[\w-]{0,30}(?:passwor[dt]|passwd|kennwort|mot de passe|contraseña|senha|wachtwoord|secret"
            r"|api[_-]?key|access[_-]?key|auth[_-]?token|access[_-]?token))"
            r"[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?P<it>[^\s\"'<>]{8,128})"
        ),
        _if(_is_secret),
    ),
    (
        "e-mail address",
        re.compile("@"),
        re.compile(r"(?<![\w.+-])[\w][\w.+-]{0,63}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}[^\W\d_]{2,24}(?![\w-])"),
        _if(_is_email),
    ),
    (
        "bank account (IBAN)",
        _DIGIT,
        re.compile(r"\b[A-Za-z]{2}\d{2}(?: ?[A-Za-z0-9]{4}){2,7}(?: ?[A-Za-z0-9]{1,3})?\b"),
        _iban,
    ),
    (
        "payment card",
        _DIGIT,
        re.compile(
            r"(?<![\w.,-])(?:\d{13,19}|\d{4}(?:[ -]\d{4}){3}(?:[ -]\d{3})?|\d{4}[ -]\d{6}[ -]\d{4,5})(?!\w|-|[.,]\d)"
        ),
        _if(_is_card),
    ),
    (
        "social security number",  # by its label: subtractions look the same
        re.compile("(?i:ssn|social security)"),
        re.compile(
            r"(?i:\b(?:ssn|social security)\b[^\d\n]{0,20})(?P<it>(?!000|666|9)\d{3}-(?!00)\d{2}-(?!0000)\d{4})(?!\w|-)"
        ),
        _if(lambda found, before: True),
    ),
    ("IP address", _DIGIT, re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\d)"), _if(_is_ip4)),
    (
        "IP address",
        re.compile("[0-9a-fA-F]:"),
        re.compile(r"(?<![\w:.])[23][0-9a-fA-F]{3}:(?:[0-9a-fA-F]{0,4}:){1,6}[0-9a-fA-F]{0,4}(?![\w:])"),
        _if(_is_ip6),
    ),
    (
        "telephone number",
        _DIGIT,
        re.compile(
            r"(?<![\w.,/+-])(?<!\d )(?:"
            r"\+[1-9]\d{0,2}[ .-]?(?:\(\d{1,4}\)[ .-]?)?\d(?:[ ./-]?\d){5,12}"  # written internationally
            r"|(?:1[ .-])?(?:\([2-9][0-8]\d\) ?|[2-9][0-8]\d[.-])[2-9]\d{2}[.-]\d{4}"  # North America
            r"|0[1-9](?:[ .-]\d{2}){4}"  # in pairs: France, Belgium
            r"|0[1-9]\d{8,9}|\(?0\d{1,4}\)?[ /-]\d{3,4}(?:[ -]?\d{2,4}){1,3}"  # with the 0 of most other countries
            r")(?!\w|[./,-]\d)"
        ),
        _if(_is_phone),
    ),
]
