from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.signals import checksums
from tests.support.people import IBANS

if TYPE_CHECKING:
    from collections.abc import Callable

# Numbers that issuers, registries and laws print as their example.
EXAMPLES: tuple[tuple[Callable[[str], bool], str], ...] = (
    (checksums.is_luhn, "79927398713"),
    (checksums.is_card, "4111111111111111"),
    (checksums.is_card, "378282246310005"),
    (checksums.is_german_tax_id, "86095742719"),
    (checksums.is_german_pension_number, "65170839J003"),
    (checksums.is_spanish_id, "12345678Z"),
    (checksums.is_spanish_id, "X1234567L"),
    (checksums.is_italian_code, "RSSMRA85T10A562S"),
    (checksums.is_french_id, "255081416802538"),
    (checksums.is_polish_pesel, "44051401359"),
    (checksums.is_dutch_bsn, "111222333"),
    (checksums.is_brazilian_cpf, "11144477735"),
    (checksums.is_chinese_id, "11010519491231002X"),
    (checksums.is_aadhaar, "2363"),
    (checksums.is_aadhaar, "123451"),
    *((checksums.is_iban, iban) for iban in IBANS),
)


@pytest.mark.parametrize(("check", "number"), EXAMPLES)
def test_an_example_passes_and_with_another_last_character_does_not(check: Callable[[str], bool], number: str) -> None:
    others = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if number[-1].isalpha() and number[-1] != "X" else "0123456789"
    assert check(number)
    assert not any(check(number[:-1] + last) for last in others if last != number[-1])


@given(st.text("0123456789", min_size=3, max_size=18), st.integers(0, 16))
def test_verhoeff_finds_every_swap_of_neighbours(digits: str, place: int) -> None:
    whole = next(digits + last for last in "0123456789" if checksums.is_aadhaar(digits + last))
    place %= len(whole) - 1
    swapped = whole[:place] + whole[place + 1] + whole[place] + whole[place + 2 :]
    assert checksums.is_aadhaar(swapped) == (swapped == whole)


def test_an_iban_has_the_length_of_its_country() -> None:
    assert not checksums.is_iban(IBANS[0] + "0")
    assert not checksums.is_iban("")


@pytest.mark.parametrize(
    ("number", "is_one"),
    [("219-09-9999", True), ("000-09-9999", False), ("900-09-9999", False), ("219-00-9999", False)],
)
def test_ranges_of_the_us_that_were_never_given_out(number: str, is_one: bool) -> None:  # noqa: FBT001  # a table
    assert checksums.is_us_ssn(number) is is_one
