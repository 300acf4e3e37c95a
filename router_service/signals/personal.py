"""Flags what names or reaches a person: addresses, numbers with their checks. Says that it is there, never what it is.

Only regions with six digits or more are looked at, judged by their form and their own checksum. A form that a bare number has by
chance counts only beside a word that says what it is. Every pattern is bounded, so the time is linear in the text; what
stands among digits, which costs most, is looked at up to a limit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from router_service.signals import checksums

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from router_service.signals.request import Request
    from router_service.signals.signals import JSON

EMAIL, PHONE, IBAN, CARD, NATIONAL_ID = "pii.email", "pii.phone", "pii.iban", "pii.card", "pii.national_id"
NUMBERS = frozenset({PHONE, IBAN, CARD, NATIONAL_ID})
UNREAD = "unread.pii"  # as where the extractor fails
MOST_DENSE = 60_000  # characters
CONTEXT = 40  # characters before a number in which a word may say what it is
BESIDE = 8  # characters beside its digits that a number may have, such as the letters of an Italian one


class PersonalData:
    """`flags`: the kinds of personal data that the text holds."""

    name = "pii"
    version = "2"

    def extract(self, requests: Sequence[Request]) -> list[Mapping[str, JSON]]:
        return [{"flags": sorted(personal_data(request.sent))} for request in requests]


@dataclass(frozen=True, slots=True, kw_only=True)
class Number:
    """A number that a state gives to a person: its form, its check, and whether it needs a word beside it to be one."""

    form: re.Pattern[str]
    check: Callable[[str], bool]
    is_bare: bool = False


# Digits of other scripts, Arabic, Persian, Devanagari and full width, and signs of full width; each is read as its ASCII form.
_ZEROS = "\u0660\u06f0\u0966\uff10"
_WIDE = {0xFF0B: "+", 0xFF0D: "-", 0xFF08: "(", 0xFF09: ")", 0xFF20: "@", 0x3000: " "}
_OTHER_FORMS = {ord(zero) + digit: str(digit) for zero in _ZEROS for digit in range(10)} | _WIDE
_OTHER_DIGIT = re.compile(f"[{''.join(f'{zero}-{chr(ord(zero) + 9)}' for zero in _ZEROS)}]")

# Letters are those of ASCII: in Chinese and Japanese a number stands right beside other ones.
_EMAIL = re.compile(r"@(?<=[A-Za-z0-9_%+-]@)(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![A-Za-z0-9])")
_REGION = re.compile(r"[0-9](?:[^0-9\n]{0,10}[0-9]){5,400}+")
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}[0-9]{2} ?(?:[A-Z0-9]{4} ?){2,7}[A-Z0-9]{0,4}(?![A-Za-z0-9])")
_CARD = re.compile(
    r"(?<![A-Za-z0-9_.])(?:[0-9]{4}([ -]?)[0-9]{4}\1[0-9]{4}\1[0-9]{1,7}|[0-9]{4}([ -]?)[0-9]{6}\2[0-9]{5})(?![A-Za-z0-9_])"
)
_PHONE = re.compile(
    r"(?<![A-Za-z0-9_.,/])(?:"
    r"\+[0-9](?:[ ()./\u00a0\u2010-\u2015-]{0,2}[0-9]){7,14}|00[1-9](?:[ ()./-]{0,2}[0-9]){8,13}"  # international
    r"|\([0-9]{2,5}\) ?[0-9](?:[ -]?[0-9]){5,8}|[0-9]{3}[-.][0-9]{3}[-.][0-9]{4}"  # area code in brackets; North America
    r"|0[1-9](?:[ .][0-9]{2}){4}|0[0-9]{2,4}[-/] ?[0-9](?:[ -]?[0-9]){5,8}"  # France; Germany, Japan, Korea
    r"|1[3-9][0-9][ -]?[0-9]{4}[ -]?[0-9]{4})(?![A-Za-z0-9_-])"  # China
)
_DIGITS = re.compile(r"(?<![A-Za-z0-9_.,])[0-9](?:[ ()./-]{0,2}[0-9]){6,14}(?![A-Za-z0-9_-])")
_PHONE_WORD = re.compile(
    r"phone|\btel|mobil|handy\b|\bcall\b|\bcell|\bfax|telef|téléph|\bruf|anruf|appel|portable|llam|móvil|chiam|cellulare|ligue|"
    r"\bbel\b|zadzwoń|komórk|тел|звон|电话|電話|手机|手機|携帯|致电|전화|whatsapp",
    re.IGNORECASE,
)
_ID_WORD = re.compile(
    r"steuer|\bid\b|idnr|\btin\b|\btax|bsn|burgerservice|sofi|pesel|social sec|ssn|cpf|sozialv|rentenv|svnr|aadhaar|आधार|"
    r"personal|identi|身份",
    re.IGNORECASE,
)


def personal_data(text: str) -> set[str]:
    """The flags of `text`. Looks at each character a bounded number of times, at MOST_DENSE of those among digits.

    Where that ends it, what was not looked at is flagged as unread.
    """
    if not text.isascii() and _OTHER_DIGIT.search(text):
        text = text.translate(_OTHER_FORMS)
    found = {EMAIL} if "@" in text and _EMAIL.search(text) else set[str]()
    seen = 0
    for region in _REGION.finditer(text):
        start, end = region.span()
        if (seen := seen + end - start) > MOST_DENSE:
            return found | {UNREAD}
        beside = text[max(start - BESIDE, 0) : end + BESIDE]
        found |= _numbers(
            beside, context=text[max(start - CONTEXT, 0) : start] + text[end : end + CONTEXT // 2], known=found
        )
        if found >= NUMBERS:
            break
    return found


def _numbers(beside: str, *, context: str, known: set[str]) -> set[str]:
    """`known` need not be looked for, but where it keeps a number from being taken for another kind."""
    found = set[str]()
    if not known >= {IBAN, CARD}:
        for match in _IBAN.finditer(beside):
            if _is_iban(match[0]):
                found.add(IBAN)
                beside = beside.replace(match[0], " ")  # its digits are no card
    if CARD not in known and any(checksums.is_card(_digits(match[0])) for match in _CARD.finditer(beside)):
        found.add(CARD)
    if known >= {NATIONAL_ID, PHONE}:
        return found
    if any(_is_number(number, match, context) for number in _NUMBERS for match in number.form.finditer(beside)):
        found.add(NATIONAL_ID)
    elif PHONE not in known and (_PHONE.search(beside) or (_DIGITS.search(beside) and _PHONE_WORD.search(context))):
        found.add(PHONE)
    return found


def _is_iban(text: str) -> bool:
    """A word in capitals may stand right behind it: only as many characters count as its country has."""
    compact = text.replace(" ", "")
    return checksums.is_iban(compact[: checksums.IBAN_LENGTHS.get(compact[:2], 0)])


def _is_number(number: Number, match: re.Match[str], context: str) -> bool:
    named = not number.is_bare or _ID_WORD.search(f"{context} {match.string}") is not None
    return named and number.check(match[0])


def _digits(text: str) -> str:
    return "".join(each for each in text if each.isdigit())


def _is_swedish(text: str) -> bool:
    digits = _digits(text)[-10:]
    return checksums.is_luhn(digits) and 1 <= int(digits[2:4]) <= 12 and 1 <= int(digits[4:6]) <= 31


def _form(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z0-9_.,+-])(?:{pattern})(?![A-Za-z0-9_-])")


_NUMBERS: tuple[Number, ...] = (
    Number(form=_form(r"[0-9]{3}-[0-9]{2}-[0-9]{4}"), check=checksums.is_us_ssn),
    Number(form=_form(r"[0-9]{3} [0-9]{2} [0-9]{4}"), check=checksums.is_us_ssn, is_bare=True),
    Number(form=_form(r"[0-9]{2} ?[0-9]{6} ?[A-Z] ?[0-9]{3}"), check=checksums.is_german_pension_number),
    Number(form=_form(r"[2-9][0-9]{3} ?[0-9]{4} ?[0-9]{4}"), check=checksums.is_aadhaar, is_bare=True),
    Number(form=_form(r"[0-9]{11}"), check=checksums.is_brazilian_cpf, is_bare=True),
    Number(
        form=_form(r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z](?: ?[0-9]{2}){3} ?[A-D]"), check=bool
    ),
    Number(form=_form(r"[A-Z]{6}[0-9]{2}[A-EHLMPRST][0-9]{2}[A-Z][0-9]{3}[A-Z]"), check=checksums.is_italian_code),
    Number(form=_form(r"(?:[0-9]{8}|[XYZ][0-9]{7})-?[A-HJ-NP-TV-Z]"), check=checksums.is_spanish_id),
    Number(
        form=_form(r"[12](?: ?[0-9]{2}){3}(?: ?[0-9]{3}){2} ?[0-9]{2}"),
        check=lambda text: checksums.is_french_id(_digits(text)),
    ),
    Number(
        form=_form(r"[0-9]{2}(?: ?[0-9]{3}){3}"),
        check=lambda text: checksums.is_german_tax_id(_digits(text)) or checksums.is_polish_pesel(_digits(text)),
        is_bare=True,
    ),
    Number(
        form=_form(r"[0-9]{9}|[0-9]{4}\.[0-9]{2}\.[0-9]{3}"),
        check=lambda text: checksums.is_dutch_bsn(_digits(text)),
        is_bare=True,
    ),
    Number(form=_form(r"(?:19|20)?[0-9]{6}-[0-9]{4}"), check=_is_swedish),
    Number(
        form=_form(r"[0-9]{3}\.[0-9]{3}\.[0-9]{3}-[0-9]{2}"),
        check=lambda text: checksums.is_brazilian_cpf(_digits(text)),
    ),
    Number(form=_form(r"[0-9]{17}[0-9Xx]"), check=checksums.is_chinese_id),
)
