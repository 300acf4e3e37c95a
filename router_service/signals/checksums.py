"""Checks of numbers by their own digits, so that a number of the right length is not taken for one that names a person.

All take text of the form that the number has (digits alone unless said) and answer whether it could be a real one.
"""

from __future__ import annotations

import re
from itertools import cycle

# Lengths of IBANs by country, from the registry of ISO 13616 (SWIFT).
IBAN_LENGTHS = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "CH": 21, "CR": 22,
    "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18, "FO": 18, "FR": 27, "GB": 22,
    "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22, "IL": 23, "IS": 26, "IT": 27, "JO": 30,
    "KW": 30, "KZ": 20, "LB": 28, "LI": 21, "LT": 20, "LU": 20, "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MT": 31,
    "NL": 18, "NO": 15, "PK": 24, "PL": 28, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SE": 24, "SI": 19, "SK": 24,
    "SM": 27, "TN": 24, "TR": 26, "UA": 29, "XK": 20,
}  # fmt: skip
CARD_LENGTHS = range(13, 20)
_PENSION_WEIGHTS = (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1)
_VERHOEFF_MOVES = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)

# What a character counts for at an odd place of a codice fiscale: of the digits and the letters A to J, then of K to Z.
_CF_ODD_LOW = (1, 0, 5, 7, 9, 13, 15, 17, 19, 21)
_CF_ODD_HIGH = (2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23)
_CF_ODD = dict(zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", (*_CF_ODD_LOW, *_CF_ODD_LOW, *_CF_ODD_HIGH), strict=True))


def is_luhn(digits: str) -> bool:
    """The sum of ISO/IEC 7812: every second digit from the right doubled."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def is_card(digits: str) -> bool:
    """A payment card: 13 to 19 digits, a first digit that networks use, Luhn's sum. One repeated digit is none."""
    return len(digits) in CARD_LENGTHS and digits[0] in "23456" and len(set(digits)) > 1 and is_luhn(digits)


def is_iban(text: str) -> bool:
    """ISO 13616: the length of its country, and 1 modulo 97 (ISO 7064)."""
    if IBAN_LENGTHS.get(text[:2]) != len(text):
        return False
    turned = text[4:] + text[:4]
    return int("".join(str(int(character, 36)) for character in turned)) % 97 == 1


def is_us_ssn(text: str) -> bool:
    """Social Security number, written 3-2-4: the ranges that were never given out."""
    area, group, serial = re.split("[- ]", text)
    return area not in {"000", "666"} and area < "900" and group != "00" and serial != "0000"


def is_german_tax_id(digits: str) -> bool:
    """Steuerliche Identifikationsnummer: 11 digits, ISO 7064 mod 11,10; the first is not 0, one digit comes more than once."""
    if len(digits) != 11 or digits[0] == "0" or len(set(digits[:10])) not in {8, 9}:
        return False
    product = 10
    for digit in digits[:10]:
        product = 2 * ((int(digit) + product) % 10 or 10) % 11
    return (11 - product) % 10 == int(digits[10])


def is_german_pension_number(text: str) -> bool:
    """Versicherungsnummer (VKVV, section 2): area, date of birth, a letter, serial, check; weighted digits modulo 10."""
    compact = text.replace(" ", "")
    digits = f"{compact[:8]}{ord(compact[8]) - ord('A') + 1:02}{compact[9:11]}"
    weighted = [int(digit) * weight for digit, weight in zip(digits, _PENSION_WEIGHTS, strict=True)]
    return sum(value // 10 + value % 10 for value in weighted) % 10 == int(compact[11])


def is_aadhaar(text: str) -> bool:
    """12 digits, the check of J. Verhoeff, "Error detecting decimal codes" (1969): moves in the dihedral group of order 10."""
    state = 0
    for place, digit in enumerate(reversed(text.replace(" ", ""))):
        moved = int(digit)
        for _time in range(place % 8):
            moved = _VERHOEFF_MOVES[moved]
        state = _in_dihedral_group(state, moved)
    return state == 0


def _in_dihedral_group(left: int, right: int) -> int:
    """The product of two of its elements: 0 to 4 are rotations, 5 to 9 reflections."""
    turned = left + right if left < 5 else left - right
    return turned % 5 + (0 if (left < 5) == (right < 5) else 5)


def is_spanish_id(text: str) -> bool:
    """DNI and NIE: a number and the letter of it modulo 23."""
    text = text.replace("-", "")
    number = str("XYZ".find(text[0])) + text[1:8] if text[0] in "XYZ" else text[:8]
    return "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23] == text[8]


def is_italian_code(text: str) -> bool:
    """Codice fiscale: 16 characters, the last a check of the others (Decreto Ministeriale 23/12/1976)."""
    even = sum(int(each, 36) - (0 if each.isdigit() else 10) for each in text[1:15:2])
    odd = sum(_CF_ODD[each] for each in text[0:15:2])
    return chr(ord("A") + (even + odd) % 26) == text[15]


def is_french_id(digits: str) -> bool:
    """NIR: sex, year, month, place, serial, and 97 less those modulo 97."""
    return digits[0] in "12" and (1 <= int(digits[3:5]) <= 12) and 97 - int(digits[:13]) % 97 == int(digits[13:])


def is_polish_pesel(digits: str) -> bool:
    """PESEL: a date of birth (with the century in the month), a serial, a weighted sum modulo 10."""
    month, day = int(digits[2:4]) % 20, int(digits[4:6])
    weighted = sum(int(digit) * weight for digit, weight in zip(digits[:10], cycle((1, 3, 7, 9)), strict=False))
    return 1 <= month <= 12 and 1 <= day <= 31 and (10 - weighted % 10) % 10 == int(digits[10])


def is_dutch_bsn(digits: str) -> bool:
    """BSN: 9 digits that pass the test of eleven, the last one weighted -1."""
    weighted = sum(int(digit) * weight for digit, weight in zip(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1), strict=True))
    return digits != "000000000" and weighted % 11 == 0


def is_brazilian_cpf(digits: str) -> bool:
    """CPF: nine digits and two checks, each modulo 11."""
    for length in (9, 10):
        weighted = sum(int(digit) * (length + 1 - place) for place, digit in enumerate(digits[:length]))
        if 10 * weighted % 11 % 10 != int(digits[length]):
            return False
    return len(set(digits)) > 1


def is_chinese_id(text: str) -> bool:
    """GB 11643: 17 digits with a date of birth, and a check modulo 11-2 of ISO 7064, X for ten."""
    weighted = sum(int(digit) * (2 ** (17 - place) % 11) for place, digit in enumerate(text[:17]))
    is_date = text[6:8] in {"18", "19", "20"} and 1 <= int(text[10:12]) <= 12 and 1 <= int(text[12:14]) <= 31
    return is_date and "10X98765432"[weighted % 11] == text[17].upper()
