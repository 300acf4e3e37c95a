"""Settling on a real Valkey: once, exactly, and heard by whoever waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from router_service.capacity import freed
from router_service.capacity.connection import connect, end_loops
from router_service.capacity.limiter import FREED_CHANNEL, Answer, Hindrance, Limiter
from router_service.capacity.records import Record
from router_service.capacity.room import counters_of
from router_service.errors import UnavailableError
from router_service.routing.snapshot import Snapshot
from tests.support.capacity import BREAKER, World, ended, limited, need, needs, scope, starts, unused, world
from tests.support.polling import until
from workers.providers.openai_wire import MOST_TOKENS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis
    from redis.client import PubSub

    from router_service.capacity.limiter import Live, Need
    from router_service.catalog.models import Model


@pytest.fixture
def here(redis_url: str, admin_redis_url: str) -> Iterator[World]:
    with world(redis_url, admin_redis_url) as made:
        yield made


class Announcements:
    """What is announced from now on."""

    def __init__(self, admin: Redis) -> None:
        self._admin = admin
        self._channel: PubSub = admin.pubsub()  # type: ignore[no-untyped-call]
        self._channel.subscribe(FREED_CHANNEL)
        self._until("subscribe")

    def heard(self) -> list[str]:
        """Everything up to now: what is published last is a mark of the test's own."""
        self._admin.publish(FREED_CHANNEL, "mark")
        return self._until("mark")

    def close(self) -> None:
        self._channel.close()

    def _until(self, mark: str) -> list[str]:
        found = []
        for message in self._channel.listen():  # type: ignore[no-untyped-call]
            word = message["type"] if message["type"] == "subscribe" else message["data"].decode()
            if word == mark:
                break
            found.append(word)
        return found


@pytest.fixture
def announcements(here: World) -> Iterator[Announcements]:
    made = Announcements(here.admin)
    yield made
    made.close()


def live(here: World, model: Model) -> Live:
    found: Live = here.run(here.limiter.snapshot([model]))[model.id]
    return found


def begin(here: World, model: Model, wanted: Need) -> int:
    return starts(here.reserve(model, wanted))[0]


def test_a_reservation_settles_once_in_all_its_scopes(here: World) -> None:
    model, tenant, batch = limited(slots=2, rpm=6000), scope("tenant", slots=2, tpm=6000), scope("batch", "b", slots=2)
    one, two = need(model, tenant, batch), need(model, tenant, batch)
    begun = [begin(here, model, each) for each in (one, two)]
    over = [ended(one, begun[0]), unused(two, begun[1])]
    assert [here.settle(over[0]) for _time in range(2)] == [1, 0]
    assert here.settle(*over) == 1
    assert [here.admin.zcard(f"waybill:slots:{each.name}") for each in one.scopes] == [0, 0, 0]
    assert here.admin.hget("waybill:state:model:alpha", "rpm:sum") == b"1"
    assert here.admin.hget("waybill:state:tenant:acme", "tpm:sum") == b"15"


def test_a_slot_is_handed_on_in_the_round_trip_that_settles_it(here: World) -> None:
    model = limited(slots=1)
    one, two = needs(model, count=2)
    begun = begin(here, model, one)
    assert len(starts(here.exchange(model, [ended(one, begun)], [two]))) == 1


def test_a_call_that_the_provider_may_be_at_still_keeps_its_slot_until_that_expires(here: World) -> None:
    model = limited(slots=1, tpm=1000)
    wanted = need(model)
    begun = starts(here.reserve(model, wanted, lease_s=20))[0]
    assert here.settle(ended(wanted, begun, hold=True, tokens_in=0, verdict="failed")) == 0
    assert here.reserve(model).free == 0
    assert here.admin.hget("waybill:state:model:alpha", "tpm:sum") == b"15"
    here.clock.pass_by(21)
    assert here.reserve(model).free == 1


def test_a_settlement_may_come_twice_with_the_calls_after_it(here: World) -> None:
    """A reply was lost, so the worker sends the same settlement again with the next one."""
    model = limited(slots=5, tpm=60_000)
    first, second = needs(model, count=2, tokens_in=100, tokens_out=0)
    begun = begin(here, model, first)
    over = ended(first, begun, tokens_in=40)
    here.settle(over)
    begun = begin(here, model, second)
    assert here.settle(over, ended(second, begun)) == 1
    assert here.admin.hget("waybill:state:model:alpha", "tpm:sum") == b"140"


def test_a_refund_takes_no_more_than_its_bucket_holds(here: World) -> None:
    """After a loss of Redis the logs hold other buckets than the reservations were put in."""
    model = limited(tpm=1000)
    other, wanted = need(model, tokens_in=7, tokens_out=0), need(model, tokens_in=100, tokens_out=0)
    begun = begin(here, model, other)
    here.admin.zadd("waybill:slots:model:alpha", {wanted.reservation: 9e15})
    assert here.settle(ended(wanted, begun, tokens_in=0)) == 1
    assert here.admin.hget("waybill:state:model:alpha", "tpm:sum") == b"0"
    assert here.admin.zcard("waybill:log:tpm:model:alpha") == 0


@pytest.mark.parametrize(
    ("kind", "others"),
    [
        ("model:alpha", ()),
        ("group:account", (scope("group", "account", slots=1),)),
        ("tenant:acme", (scope("tenant", slots=1),)),
        ("batch:b", (scope("batch", "b", slots=1),)),
    ],
)
def test_who_was_told_to_wait_for_a_slot_hears_once_that_it_came_free(
    here: World, announcements: Announcements, kind: str, others: tuple[object, ...]
) -> None:
    model = limited(slots=1 if not others else 100)
    one, two, three = needs(model, *others, count=3)  # type: ignore[arg-type]
    begun = begin(here, model, one)
    for wanted in (two, three):
        assert starts(here.reserve(model, wanted)) == []
    assert announcements.heard() == []
    here.settle(ended(one, begun))
    assert announcements.heard() == [kind]
    begun = begin(here, model, two)
    here.settle(ended(two, begun))
    assert announcements.heard() == [], "nobody has asked since"


def test_a_look_that_finds_all_slots_taken_hears_when_one_comes_free(here: World, announcements: Announcements) -> None:
    model = limited(slots=1)
    wanted = need(model)
    begun = begin(here, model, wanted)
    assert here.reserve(model).stopped == Hindrance(why="slots", wait_s=0.0)
    here.settle(ended(wanted, begun))
    assert announcements.heard() == ["model:alpha"]


def test_nothing_is_announced_where_nobody_waits_for_a_slot(here: World, announcements: Announcements) -> None:
    model, wanted = limited(slots=2, rpm=1), need(limited())
    begun = begin(here, model, wanted)
    assert starts(here.reserve(model, need(model))) == [], "it waits for a rate"
    here.reserve(model)
    here.settle(ended(wanted, begun))
    assert announcements.heard() == []


def test_a_slot_that_is_held_back_is_not_announced(here: World, announcements: Announcements) -> None:
    model = limited(slots=1)
    wanted = need(model)
    begun = begin(here, model, wanted)
    here.reserve(model, need(model))
    here.settle(ended(wanted, begun, hold=True))
    assert announcements.heard() == []


async def test_a_listener_hears_the_name_of_the_scope_and_of_a_lost_connection(
    limiter: Limiter, redis_url: str, admin_redis: Redis
) -> None:
    connection, heard = connect(redis_url, name="listener"), list[str]()
    listening = asyncio.create_task(freed.listen(connection, heard.append))
    await until(lambda: _has(admin_redis.pubsub_numsub(FREED_CHANNEL)[0][1] == 1))
    model = limited(slots=1)
    one, two = needs(model, count=2)
    grants = await limiter.exchange(model, ended=(), needs=[one, two], breaker=BREAKER, lease_s=60)
    await limiter.settle([ended(one, starts(grants)[0])], breaker=BREAKER)
    await until(lambda: _has(heard == ["model:alpha"]))
    await end_loops([listening])
    away = asyncio.create_task(freed.listen(connect("unix:///nobody.sock", name="listener"), heard.append))
    with pytest.raises(UnavailableError):
        await away
    await connection.aclose()


async def _has(fact: bool) -> bool:  # noqa: FBT001
    return fact


def test_means_are_kept_of_what_calls_measured(here: World) -> None:
    model = limited()
    assert (live(here, model).measures.tokens, live(here, model).latency_s) == (None, None)
    for tokens_in, tokens_out, latency_s in ((100, 10, 1.0), (300, 30, 2.0)):
        wanted = need(model)
        begun = begin(here, model, wanted)
        answer = Answer(estimated_in=50, tokens_in=tokens_in, tokens_out=tokens_out, latency_s=latency_s)
        here.settle(ended(wanted, begun, answer=answer))
        here.settle(ended(wanted, begun, answer=answer))
    measures = live(here, model).measures
    assert (measures.estimated_in, measures.real_in, measures.real_out, measures.latency_s) == (50, 200, 20, 1.5)
    assert here.reserve(model).measures == measures


def test_old_calls_are_forgotten_little_by_little(here: World) -> None:
    model = limited()

    def answer(tokens_out: int, times: int) -> None:
        for _time in range(times):
            wanted = need(model)
            begun = begin(here, model, wanted)
            measured = Answer(estimated_in=10, tokens_in=10, tokens_out=tokens_out, latency_s=0.0)
            here.settle(ended(wanted, begun, answer=measured))

    answer(100, 40)
    answer(1000, 1)
    assert live(here, model).measures.real_out == 145
    answer(1000, 60)
    assert 950 < (live(here, model).measures.real_out or 0) < 1000


def test_the_least_that_a_call_took_is_forgotten_after_some_minutes_and_at_once_where_nothing_ends(here: World) -> None:
    model = limited()

    def answer(latency_s: float) -> float | None:
        wanted = need(model)
        measured = Answer(estimated_in=1, tokens_in=1, tokens_out=1, latency_s=latency_s)
        here.settle(ended(wanted, begin(here, model, wanted), answer=measured))
        return live(here, model).measures.least_s

    assert [answer(latency_s) for latency_s in (2.0, 1.0, 3.0)] == [2.0, 1.0, 1.0]
    here.clock.pass_by(61)
    assert live(here, model).measures.least_s is None, "it may be quicker by now"
    assert live(here, model).latency_s is not None
    assert answer(3.0) == 1.0
    here.clock.pass_by(250)
    assert answer(4.0) == 1.0
    here.clock.pass_by(301)
    assert answer(5.0) == 4.0, "the 1.0 is five to ten minutes old"
    here.clock.pass_by(1000)
    assert answer(6.0) == 6.0


def finish(here: World, model: Model, *calls: tuple[int, float], verdict: str = "ok") -> None:
    """Calls that end together: each with so many tokens out, after so many seconds."""
    wanted = needs(model, count=len(calls))
    begun = starts(here.reserve(model, *wanted))
    answers = [Answer(estimated_in=10, tokens_in=10, tokens_out=out, latency_s=latency_s) for out, latency_s in calls]
    over = [
        ended(each, start_ms, answer=answer, verdict=verdict)
        for each, start_ms, answer in zip(wanted, begun, answers, strict=True)
    ]
    assert here.settle(*over) == here.settle(*over) + len(calls), "what is settled again is not counted again"


def test_latencies_are_remembered_by_the_size_of_the_answer(here: World) -> None:
    model = limited()
    assert live(here, model).record == Record()
    finish(here, model, *[(10, 0.5)] * 30, *[(500, 5.0)] * 10)
    speed = live(here, model).record.speed
    short, nothing, long, longest = speed.by_size
    assert short is not None
    assert long is not None
    assert (nothing, longest) == (None, None)
    assert (short.calls, long.calls, long.p95_s) == (30, 10, None)
    assert short.p95_s == pytest.approx(0.5, rel=0.08)
    assert long.mean_s == pytest.approx(5.0, rel=0.08)
    assert speed.latency is not None
    assert speed.latency.p95_s == pytest.approx(5.0, rel=0.08)


def test_only_the_last_calls_of_each_size_are_remembered(here: World) -> None:
    model = limited()
    finish(here, model, *[(10, 9.0)] * 50)
    for _time in range(8):
        finish(here, model, *[(10, 0.5)] * 8)
    (short, *_others) = live(here, model).record.speed.by_size
    assert short is not None
    assert short.calls == 64
    assert short.p95_s == pytest.approx(0.5, rel=0.08)


def test_seconds_a_token_are_learned_from_answers_of_different_length(here: World) -> None:
    model = limited()
    finish(here, model, *[(tokens, 0.5 + tokens / 50) for tokens in (20, 400, 90, 1500, 60, 250) * 8])
    speed = live(here, model).record.speed
    assert speed.base_s == pytest.approx(0.5, rel=0.1)
    assert speed.token_s == pytest.approx(0.02, rel=0.02)


def test_it_makes_no_difference_whether_calls_end_together_or_one_by_one(here: World) -> None:
    together, alone = limited("together"), limited("alone")
    calls = [(30 * number, 0.2 * number) for number in range(1, 30)]
    finish(here, together, *calls)
    for call in calls:
        finish(here, alone, call)
    one, many = live(here, together), live(here, alone)
    assert one.record.speed.by_size == many.record.speed.by_size
    assert one.record.speed.token_s == pytest.approx(many.record.speed.token_s, rel=1e-4)
    assert one.record.used_tpm == pytest.approx(many.record.used_tpm, rel=0.05)
    assert one.measures.real_out == pytest.approx(many.measures.real_out, rel=1e-4)
    assert one.measures.least_s == many.measures.least_s


def test_the_share_of_failed_calls_fades_and_is_told_with_its_base(here: World) -> None:
    model = limited()
    for verdict in ("ok", "failed", "none", "ok", "failed"):
        finish(here, model, (1, 0.1), verdict=verdict)
    known = live(here, model).record
    assert known.judged == 4
    assert known.error_rate == pytest.approx(0.5)
    finish(here, model, *[(1, 0.1)] * 100)
    assert 0 < (live(here, model).record.error_rate or 0) < 0.05
    assert live(here, model).record.judged == 104


def test_a_call_that_keeps_its_slot_counts_as_failed_once(here: World) -> None:
    model, wanted = limited(slots=5), need(limited(slots=5))
    over = ended(wanted, begin(here, model, wanted), hold=True, verdict="failed")
    here.settle(over)
    here.settle(over)
    known = live(here, model).record
    assert (known.judged, known.error_rate) == (1, 1.0)
    assert known.used_rpm == pytest.approx(1.0, rel=0.01)


def test_what_a_minute_uses_is_known_of_a_model_without_limits(here: World) -> None:
    model = limited()
    finish(here, model, *[(90, 1.0)] * 10)
    known = live(here, model).record
    assert known.used_rpm == pytest.approx(10, rel=0.01)
    assert known.used_tpm == pytest.approx(1000, rel=0.01)
    here.clock.pass_by(60)
    assert live(here, model).record.used_tpm == pytest.approx(1000 / 2.718, rel=0.01)


def test_a_reservation_that_was_not_used_counts_for_nothing(here: World) -> None:
    model, wanted = limited(), need(limited())
    here.settle(unused(wanted, begin(here, model, wanted)))
    known = live(here, model).record
    assert (known.used_rpm, known.used_tpm, known.judged, known.error_rate) == (0, 0, 0, None)


def test_the_most_that_a_provider_can_claim_leaves_the_snapshot_readable(here: World) -> None:
    """A number that JSON does not have would blind the router to every model."""
    model = limited()
    finish(here, model, *[(MOST_TOKENS, 86_400.0), (0, 0.0)] * 50)
    known = counters_of(model.limits, live(here, model))
    assert 0 < (known.expected_latency_s(MOST_TOKENS) or 0) < 1e6
    assert Snapshot.from_json(Snapshot(counters={"alpha": known}).as_json()).counters == {"alpha": known}
