from __future__ import annotations

import math

import pytest

from router_service.assignment.capacity import Capacity, Limit, Unit, Use
from router_service.catalog.models import Caps, Limits

FULL = Limits(slots=8, rpm=600, tpm=60_000, itpm=30_000, otpm=12_000, burst_s=2.0)


def by_name(capacity: Capacity) -> dict[str, Limit]:
    return {each.name: each for each in capacity.limits}


def test_rates_are_by_second_and_slots_are_seconds_of_calls() -> None:
    limits = by_name(Capacity.of({"m": FULL}))
    assert limits["rpm of m"].rate_per_s == 10
    assert limits["rpm of m"].burst == 20
    assert limits["tpm of m"].unit is Unit.TOKENS
    assert limits["otpm of m"].room(10.0) == pytest.approx(200 * 10 + 400)
    assert limits["slots of m"].room(10.0) == 80


def test_what_others_have_is_gone() -> None:
    use = Use(share=0.25, slots=3, opens_in_s=5.0)
    limits = by_name(Capacity.of({"m": FULL}, uses={"m": use}))
    assert limits["rpm of m"].rate_per_s == 7.5
    assert limits["slots of m"].room(6.0) == 5
    assert limits["slots of m"].room(5.0) == 0


def test_a_groups_cap_is_one_limit_over_its_models() -> None:
    shared = [("account", Caps(rpm=60, slots=4), ("a", "b"))]
    limits = by_name(Capacity.of({"a": FULL, "b": FULL}, shared=shared))
    assert limits["rpm of account"].models == ("a", "b")
    assert limits["slots of account"].rate_per_s == 4
    assert len(limits) == 12


def test_a_limit_per_day_is_whole_within_a_day_and_a_rate_beyond() -> None:
    daily = Limits(slots=1, rpd=1000)
    today = by_name(Capacity.of({"m": daily}, uses={"m": Use(day_share=0.4)}, horizon_s=3600.0))["rpd of m"]
    assert today.room(10.0) == 600
    assert today.time_s(601) == math.inf
    week = by_name(Capacity.of({"m": daily}, horizon_s=7 * 86_400.0))["rpd of m"]
    assert week.room(2 * 86_400.0) == pytest.approx(2000)


def test_time_and_room_are_each_others_inverse() -> None:
    limit = Limit(name="x", unit=Unit.TOKENS, models=("m",), rate_per_s=7.0, burst=3.0, opens_in_s=2.0)
    assert limit.room(limit.time_s(100.0)) == pytest.approx(100.0)
    assert limit.time_s(0) == 0
    assert limit.time_s(2.0) == 2.0
