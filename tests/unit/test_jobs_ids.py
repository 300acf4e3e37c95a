from __future__ import annotations

from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.errors import NotFoundError
from router_service.jobs.ids import RANDOM_BYTES, Kind, new_id, parse, public

moments = st.integers(0, 2**48 - 1)
randoms = st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES)


@given(moments, randoms)
def test_an_id_is_a_version_7_uuid_of_its_moment(now_ms: int, random: bytes) -> None:
    made = new_id(now_ms=now_ms, random=random)
    assert (made.version, made.variant, made.int >> 80) == (7, RFC_4122, now_ms)


@given(moments, randoms, randoms)
def test_74_random_bits_are_kept(now_ms: int, one: bytes, other: bytes) -> None:
    kept = (2**80 - 1) & ~(0xF << 76) & ~(0b11 << 62)
    same = int.from_bytes(one, "big") & kept == int.from_bytes(other, "big") & kept
    assert kept.bit_count() == 74
    assert (new_id(now_ms=now_ms, random=one) == new_id(now_ms=now_ms, random=other)) == same


@given(moments, moments, randoms, randoms)
def test_ids_are_in_time_order_as_numbers_and_as_text(one: int, other: int, first: bytes, second: bytes) -> None:
    if one == other:
        return
    ids = [new_id(now_ms=one, random=first), new_id(now_ms=other, random=second)]
    assert (ids[0] < ids[1]) == (one < other)
    assert (public(Kind.JOB, ids[0]) < public(Kind.JOB, ids[1])) == (one < other)


@pytest.mark.parametrize("size", [0, 9, 11])
def test_too_few_or_too_many_random_bytes_are_refused(size: int) -> None:
    with pytest.raises(ValueError, match="10 random bytes"):
        new_id(now_ms=0, random=bytes(size))


@given(st.sampled_from(Kind), st.uuids())
def test_a_public_id_reads_back(kind: Kind, value: UUID) -> None:
    assert parse(kind, public(kind, value)) == value


@pytest.mark.parametrize("kind", list(Kind))
def test_a_malformed_id_is_one_that_nobody_has(kind: Kind) -> None:
    good = public(kind, UUID(int=5))
    other = next(public(each, UUID(int=5)) for each in Kind if each is not kind)
    digits = good.removeprefix(kind)
    for wrong in ("", kind, good[:-1], f"{good}0", digits, other, f"{kind}{'g' * 32}", f" {good}", f"{kind}{good}"):
        with pytest.raises(NotFoundError) as caught:
            parse(kind, wrong)
        assert caught.value.param == "id"


def test_an_id_in_another_spelling_of_a_number_is_malformed() -> None:
    for digits in (
        "{" + "0" * 30 + "}",
        "00000000-0000-0000-0000-00000000",
        "0x" + "0" * 30,
        "0_0" + "0" * 29,
        "A" * 32,
    ):
        with pytest.raises(NotFoundError):
            parse(Kind.JOB, f"job_{digits}")


def test_a_refused_id_is_quoted_only_in_its_beginning() -> None:
    with pytest.raises(NotFoundError) as caught:
        parse(Kind.JOB, "x" * 5000)
    assert len(caught.value.message) < 200
