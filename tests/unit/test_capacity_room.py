"""How many jobs a model's queue takes, from its limits and its live counters."""

from __future__ import annotations

from typing import Any

import pytest

from router_service.capacity import room
from router_service.capacity.limiter import Live
from router_service.capacity.measures import Measures
from router_service.capacity.records import Record
from router_service.capacity.scopes import Scope
from router_service.catalog.models import Limits
from router_service.routing.counters import RateUse, Speed

UNKNOWN = Measures()
KNOWN = Measures(estimated_in=100, real_in=100, real_out=20, latency_s=2.0)


def live(**changes: Any) -> Live:
    whole: dict[str, Any] = {
        "in_flight": 0,
        "waiting": 0,
        "paused_s": 0.0,
        "broken_s": 0.0,
        "is_failing": False,
        "factor": 1.0,
        "rate": None,
        "rate_wait_s": 0.0,
        "measures": UNKNOWN,
    }
    return Live(**(whole | changes))


@pytest.mark.parametrize(
    ("limits", "measures", "most"),
    [
        # Nothing is known of its calls yet.
        ({"slots": 5}, UNKNOWN, (10, 10)),
        ({"slots": 500}, UNKNOWN, (516, 516)),
        ({"slots": 500, "tpm": 1e6}, UNKNOWN, (516, 16)),
        # About a second of work: what ends in a second, or what the rates let start.
        ({"slots": 100}, KNOWN, (150, 150)),
        ({"slots": 100, "rpm": 600}, UNKNOWN, (110, 10)),
        ({"slots": 100, "rpm": 600}, KNOWN, (110, 10)),
        ({"slots": 4, "rpm": 600}, KNOWN, (6, 2)),
        ({"slots": 100, "tpm": 72_000}, KNOWN, (110, 10)),
        ({"slots": 100, "itpm": 60_000}, KNOWN, (110, 10)),
        ({"slots": 100, "otpm": 6000}, KNOWN, (105, 5)),
        ({"slots": 100, "rpm": 600, "otpm": 6000}, KNOWN, (105, 5)),
        # Never less than two, never more than a thousand.
        ({"slots": 1, "rpm": 1}, UNKNOWN, (3, 2)),
        ({"slots": 10_000, "rpm": 1e6}, UNKNOWN, (11_000, 1000)),
        # A day's limit says nothing about a second.
        ({"slots": 5, "rpd": 100}, UNKNOWN, (10, 10)),
    ],
)
def test_a_queue_holds_what_can_start_at_once_and_about_a_second_more(
    limits: dict[str, Any], measures: Measures, most: tuple[int, int]
) -> None:
    assert room.most(Limits(**limits), live(measures=measures)) == most


def test_a_throttled_models_queue_holds_less() -> None:
    limits = Limits(slots=100, rpm=600)
    assert room.most(limits, live(factor=0.5)) == (105, 5)


def test_a_model_whose_breaker_is_half_open_takes_one_job() -> None:
    limits = Limits(slots=100, rpm=600)
    assert room.most(limits, live(broken_s=-0.001, in_flight=7)) == (8, 1)
    assert room.counters_of(limits, live(broken_s=-0.001, in_flight=7)).room == 1
    full = room.counters_of(limits, live(broken_s=-0.001, waiting=1))
    assert (full.room, full.broken_s) == (0, 0.0)


@pytest.mark.parametrize(
    ("counters", "left"),
    [
        ({}, 10),
        ({"in_flight": 3}, 7),
        ({"in_flight": 3, "waiting": 2}, 5),
        ({"in_flight": 5, "waiting": 5}, 0),
        ({"in_flight": 5, "waiting": 9}, 0),
    ],
)
def test_room_is_what_neither_calls_nor_places_take(counters: dict[str, Any], left: int) -> None:
    found = room.counters_of(Limits(slots=5), live(**counters))
    assert found.room == left
    assert (found.in_flight, found.waiting) == (counters.get("in_flight", 0), counters.get("waiting", 0))
    assert found.held_by == ("slots" if left == 0 else None)


@pytest.mark.parametrize(
    ("counters", "held_by", "wait_s"),
    [
        ({"paused_s": 30.0}, "paused", 30.0),
        ({"broken_s": 4.0}, "breaker", 4.0),
        ({"paused_s": 3.0, "broken_s": 4.0}, "breaker", 4.0),
        ({"paused_s": 5.0, "broken_s": 4.0}, "paused", 5.0),
        ({"rate": "tpm", "rate_wait_s": 20.0}, "tpm", 20.0),
        ({"rate": "rpd", "rate_wait_s": 9000.0, "paused_s": 3.0}, "paused", 9000.0),
    ],
)
def test_a_model_that_lets_nothing_start_for_long_has_no_room(
    counters: dict[str, Any], held_by: str, wait_s: float
) -> None:
    found = room.counters_of(Limits(slots=5, tpm=1000), live(**counters))
    assert (found.room, found.held_by, found.wait_s) == (0, held_by, wait_s)
    assert found.paused_s == counters.get("paused_s", 0.0)
    assert found.broken_s == counters.get("broken_s", 0.0)


@pytest.mark.parametrize(
    "counters", [{"paused_s": 0.4}, {"broken_s": 0.4}, {"rate": "rpm", "rate_wait_s": 1.5}, {"paused_s": 0.5}]
)
def test_a_short_wait_is_no_reason_to_go_elsewhere(counters: dict[str, Any]) -> None:
    found = room.counters_of(Limits(slots=5, rpm=600), live(**counters))
    assert found.room > 0
    assert found.held_by is None
    assert found.wait_s == max(counters.get("paused_s", 0), counters.get("broken_s", 0), counters.get("rate_wait_s", 0))


def test_a_full_queue_is_held_by_the_rate_while_slots_are_free() -> None:
    limits = Limits(slots=50, rpm=600)
    waits = {"waiting": 10, "rate": "rpm", "rate_wait_s": 0.1}
    assert room.counters_of(limits, live(**waits)).held_by == "rpm"
    assert room.counters_of(limits, live(**waits, in_flight=50)).held_by == "slots"


def test_a_queue_waits_as_long_as_its_jobs_take_to_start() -> None:
    limits = Limits(slots=10)
    assert room.counters_of(limits, live(measures=KNOWN, in_flight=4, waiting=5)).wait_s == 0
    assert room.counters_of(limits, live(measures=KNOWN, in_flight=10, waiting=4)).wait_s == 1.0
    assert room.counters_of(limits, live(in_flight=10, waiting=4)).wait_s == 0


def test_the_latency_is_told_once_it_is_known() -> None:
    assert room.counters_of(Limits(slots=5), live()).latency_s is None
    assert room.counters_of(Limits(slots=5), live(measures=KNOWN)).latency_s == 2.0


@pytest.mark.parametrize(
    ("slots", "rates", "most"),
    [
        (3, {}, (5, 5)),
        (3, {"rpm": 6000}, (5, 5)),
        (None, {"rpm": 600}, (None, 10)),
        (None, {"rpm": 1}, (None, 2)),
        (None, {"tpm": 1000}, (None, 16)),
    ],
)
def test_a_tenant_and_a_batch_hold_little_more_than_their_slots(
    slots: int | None, rates: dict[str, float], most: tuple[int | None, int]
) -> None:
    assert room.most_of(Scope(kind="tenant", name="tenant:acme", slots=slots, rates=rates)) == most


@pytest.mark.parametrize(("slots", "most"), [(3, (19, 1000)), (None, (None, 1000))])
def test_a_groups_models_bound_their_queues_themselves(slots: int | None, most: tuple[int | None, int]) -> None:
    assert room.most_of(Scope(kind="group", name="group:account", slots=slots, rates={"rpm": 60})) == most


@pytest.mark.parametrize(
    ("rates", "rpm", "tpm"),
    [
        ({}, 3.0, 4.0),  # nothing limits it: what has ended
        ({"rpm": 7.0}, 7.0, 4.0),
        ({"tpm": 9.0, "itpm": 2.0, "otpm": 1.0}, 3.0, 9.0),
        ({"itpm": 2.0, "otpm": 1.0}, 3.0, 3.0),
        ({"itpm": 2.0}, 3.0, 4.0),  # half of the tokens are not counted by a limit
        ({"rpd": 900.0, "tpd": 9000.0}, 3.0, 4.0),  # a day says nothing about a minute
    ],
)
def test_use_is_what_the_limits_count_else_what_has_ended(rates: dict[str, float], rpm: float, tpm: float) -> None:
    uses = tuple(RateUse(name=name, limit=1e6, used=used) for name, used in rates.items())
    found = room.counters_of(Limits(slots=5), live(rates=uses, record=Record(used_rpm=3.0, used_tpm=4.0)))
    assert (found.used_rpm, found.used_tpm) == (rpm, tpm)
    assert found.rates == uses


def test_what_the_record_tells_is_in_the_counters() -> None:
    speed = Speed(base_s=0.5, token_s=0.01)
    found = room.counters_of(Limits(slots=5), live(record=Record(speed=speed, error_rate=0.25, judged=8)))
    assert (found.speed, found.error_rate, found.judged) == (speed, 0.25, 8)
