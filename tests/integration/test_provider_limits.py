"""What a worker makes of a provider's limits: its 429s and headers, what it counted, and starts that were missed."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from router_service.chat.request import TOKENS_PER_MESSAGE
from router_service.policy.outcomes import Answered, Failed, Outcome, Seen, Throttled
from tests.support.catalogs import entry
from tests.support.polling import until
from tests.support.steps import ANSWER
from tests.support.tokenizers import needs_tokenizer
from tests.support.workers import GOOD, HeldProvider, ScriptedProvider, always
from workers import desk as desk_module
from workers import lessons as lessons_module
from workers.provider import ProviderWorker
from workers.tokenizers import Tokenizers

if TYPE_CHECKING:
    import redis

    from router_service.catalog.models import Model
    from router_service.chat.tokens import Count
    from router_service.policy.outcomes import Seen as SeenLimits
    from tests.conftest import OpenWorkers
    from tests.support.steps import Sql, Steps
    from tests.support.workers import Workers

STATE = "waybill:state:model:alpha"


async def units(workers: Workers, admin_redis: redis.Redis, rate: str) -> float:
    """What a rate's log holds once everything has been settled."""
    await workers.settled()
    return float(admin_redis.hget(STATE, f"{rate}:sum") or 0)


async def told(workers: Workers) -> dict[str, float]:
    """The tallies, as `name label...` -> sum."""
    await workers.runtime.tallies.flush()
    counts = await workers.runtime.tallies.read()
    return {" ".join([name, *(value for _label, value in labels)]): count for (name, labels), count in counts.items()}


async def test_a_throttle_consumes_no_try_and_pauses_the_model(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    provider = always(Throttled(retry_after_s=60.0))
    workers = await open_workers(entry("alpha"), adapter=provider, num_retries=0)
    (message,) = await workers.routed(steps)
    await workers.provider.call(*message)
    job = await sql.one("SELECT * FROM jobs")
    assert (job["state"], job["tries"], job["attempt"]) == ("retry_wait", 0, 1)
    assert await sql.value("SELECT available_at > now() + interval '50 s' FROM jobs")
    assert await sql.value("SELECT outcome FROM attempts") == "throttled"
    await workers.idle()
    live = await workers.live()
    assert live.paused_s > 50
    assert live.factor == pytest.approx(0.8, abs=0.01)


async def test_a_throttle_lets_nothing_more_start_and_what_waits_goes_back_with_its_places(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    provider = always(Throttled(retry_after_s=60.0))
    workers = await open_workers(
        entry("alpha", params={"max_parallel_requests": 1}),
        adapter=provider,
        router={"tenants": {"acme": {"max_parallel_requests": 2}}},
    )
    tasks = workers.calling(*await workers.routed(steps, count=4))
    async with asyncio.timeout(10):
        await asyncio.gather(*tasks)
    assert provider.calls == [("alpha", 1)]
    rows = await sql.rows("SELECT state, count(*) AS jobs FROM jobs GROUP BY 1")
    assert {row["state"]: row["jobs"] for row in rows} == {"retry_wait": 1, "queued": len(tasks) - 1}
    assert await sql.value("SELECT count(*) FROM attempts WHERE outcome = 'uncalled'") <= 1
    await workers.idle()
    assert (await workers.live()).waiting == 0
    assert await places(workers, "tenant:acme") == 0
    assert (await told(workers))["given_back alpha paused"] == len(tasks) - 1


async def places(workers: Workers, scope: str) -> int:
    return int(await workers.runtime.limiter._redis.zcard(f"waybill:places:{scope}"))


async def test_what_throttles_wait_for_is_over_at_last_and_the_job_has_used_no_try(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    async def busy_at_first(_model: Model, attempt: int) -> Outcome:
        return Throttled(retry_after_s=0.05) if attempt <= 2 else GOOD

    workers = await open_workers(entry("alpha"), adapter=ScriptedProvider(busy_at_first), num_retries=0)
    await steps.accept(count=1)

    async def done() -> bool:
        await workers.janitor.queue_due_retries()
        await workers.work("alpha")
        return bool(await sql.value("SELECT state = 'succeeded' FROM jobs"))

    await until(done)
    assert await sql.one("SELECT attempt, tries FROM jobs") == {"attempt": 3, "tries": 0}
    await workers.idle()


async def test_a_limit_that_headers_tell_is_learned_once_and_again_only_after_a_while(
    open_workers: OpenWorkers, steps: Steps, monkeypatch: pytest.MonkeyPatch, admin_redis: redis.Redis
) -> None:
    seen = Seen(rpm=6000.0, tpm=None)
    workers = await open_workers(
        entry("alpha", params={"rpm": 60_000}),
        adapter=always(Answered(body=ANSWER, tokens_in=1, tokens_out=1, seen=seen)),
    )
    learned: list[SeenLimits] = []
    learn = workers.runtime.limiter.learn

    async def listening(model: Model, news: SeenLimits) -> None:
        learned.append(news)
        await learn(model, news)

    monkeypatch.setattr(workers.runtime.limiter, "learn", listening)
    await steps.accept(count=8)
    await workers.work("alpha")
    assert learned == [seen]
    assert admin_redis.hget(STATE, "cap:rpm") == b"6000"
    monkeypatch.setattr(lessons_module, "LEARN_AGAIN_S", 0.0)
    await steps.accept(count=2)
    await workers.work("alpha")
    assert learned == [seen] * 3


@pytest.mark.parametrize(
    ("seen", "is_news"),
    [
        (Seen(rpm=600.0), False),
        (Seen(rpm=6000.0, tpm=5.0), True),
        (Seen(rpm=599.0), True),
        (Seen(exhausted_s=3.0), True),
        (Seen(), False),
    ],
)
async def test_only_what_is_lower_than_ours_or_used_up_is_news(
    open_workers: OpenWorkers, steps: Steps, seen: SeenLimits, *, is_news: bool
) -> None:
    workers = await open_workers(
        entry("alpha", params={"rpm": 600}), adapter=always(Answered(body=ANSWER, tokens_in=1, tokens_out=1, seen=seen))
    )
    (message,) = await workers.routed(steps)
    await workers.provider.call(*message)
    assert bool(workers.provider._lessons._learnt) is is_news
    assert ((await workers.live()).paused_s > 2) is (seen.exhausted_s > 0)


@pytest.mark.parametrize(
    ("tokens_in", "tokens_out", "left"),
    [(1, 1, 2), (None, None, 80_000), (None, 5, 40_005), (50_000, 41_000, 91_000)],
)
async def test_what_was_used_counts_and_where_nobody_counted_what_was_reserved(
    open_workers: OpenWorkers,
    steps: Steps,
    admin_redis: redis.Redis,
    tokens_in: int | None,
    tokens_out: int | None,
    left: float,
) -> None:
    answered = Answered(body=ANSWER, tokens_in=tokens_in, tokens_out=tokens_out)
    workers = await open_workers(entry("alpha", params={"tpm": 100_000}), adapter=always(answered))
    (message,) = await workers.routed(steps, tokens_in=40_000, tokens_out=40_000)
    await workers.provider.call(*message)
    assert await units(workers, admin_redis, "tpm") == left
    await workers.idle()


def asking(text: str) -> str:
    return json.dumps({"model": "alpha", "messages": [{"role": "user", "content": text}]})


@needs_tokenizer
async def test_the_exact_count_of_a_prompt_is_reserved_and_learned_from(
    open_workers: OpenWorkers, steps: Steps, admin_redis: redis.Redis
) -> None:
    provider = HeldProvider()
    counted = entry("alpha", params={"tpm": 100_000}, router={"tokenizer": "o200k_base"})
    workers = await open_workers(counted, adapter=provider)
    (message,) = await workers.routed(
        steps, body=asking("<|endoftext|> is text here"), tokens_in=40_000, tokens_out=500
    )
    tasks = workers.calling(message)
    await provider.called()
    exact = 10 + TOKENS_PER_MESSAGE
    assert await units(workers, admin_redis, "tpm") == exact + 500
    provider.let_go()
    await asyncio.gather(*tasks)
    await workers.idle()
    assert GOOD.tokens_in is not None
    assert await units(workers, admin_redis, "tpm") == GOOD.tokens_in + (GOOD.tokens_out or 0)
    measures = (await workers.live()).measures
    assert (measures.estimated_in, measures.real_in) == (exact, GOOD.tokens_in)


async def test_without_the_tokenizers_package_the_estimate_is_reserved(
    open_workers: OpenWorkers, steps: Steps, admin_redis: redis.Redis
) -> None:
    def missing(_encoding: str) -> Count:
        raise ModuleNotFoundError("No module named 'bpe_openai'")

    provider = HeldProvider()
    counted = entry("alpha", params={"tpm": 100_000}, router={"tokenizer": "o200k_base"})
    workers = await open_workers(counted, adapter=provider)
    workers.provider = ProviderWorker(
        workers.runtime,
        adapters={"simulated": provider},
        tokenizers=Tokenizers(load=missing),
    )
    (message,) = await workers.routed(steps, tokens_in=40_000, tokens_out=500)
    tasks = workers.calling(message)
    await provider.called()
    assert await units(workers, admin_redis, "tpm") == 40_500
    provider.let_go()
    await asyncio.gather(*tasks)


async def test_a_failed_call_keeps_what_was_reserved(
    open_workers: OpenWorkers, steps: Steps, admin_redis: redis.Redis
) -> None:
    failed = Failed(code="http_500", message="it broke", status_code=500)
    workers = await open_workers(entry("alpha", params={"tpm": 100_000}), adapter=always(failed))
    (message,) = await workers.routed(steps, tokens_in=400, tokens_out=100)
    await workers.provider.call(*message)
    assert await units(workers, admin_redis, "tpm") == 500


async def test_a_start_that_was_missed_is_exchanged_and_its_rate_is_given_back(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, admin_redis: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = always(GOOD)
    workers = await open_workers(entry("alpha", params={"rpm": 6000}), adapter=provider)
    (message,) = await workers.routed(steps)
    exchanged = workers.provider.exchanged

    def in_time_from_now_on(model_id: str) -> None:
        monkeypatch.setattr(desk_module, "LATE_S", 60.0)
        exchanged(model_id)

    monkeypatch.setattr(desk_module, "LATE_S", -60.0)
    monkeypatch.setattr(workers.provider, "exchanged", in_time_from_now_on)
    await workers.provider.call(*message)
    assert provider.calls == [("alpha", 1)]
    assert await sql.one("SELECT state, epoch, attempt FROM jobs") == {"state": "succeeded", "epoch": 1, "attempt": 1}
    assert await units(workers, admin_redis, "rpm") == 1
    assert (await told(workers))["exchanged alpha"] == 1


async def test_a_job_given_back_uncalled_has_used_no_rate(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, admin_redis: redis.Redis
) -> None:
    workers = await open_workers(entry("alpha", params={"rpm": 600, "tpm": 100_000}), adapter=always(GOOD))
    (message,) = await workers.routed(steps)
    (call,) = workers.calling(message)

    async def is_granted() -> bool:
        return any(job.task for job in workers.provider._jobs.values())

    while not await is_granted():
        await asyncio.sleep(0)
    await workers.provider.drain()
    await call
    assert await sql.value("SELECT outcome FROM attempts") == "uncalled"
    assert [await units(workers, admin_redis, rate) for rate in ("rpm", "tpm")] == [0, 0]
    await workers.idle()


async def test_what_happens_is_counted(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    provider = HeldProvider()
    workers = await open_workers(entry("alpha", params={"max_parallel_requests": 1}), adapter=provider)
    one, two, three = await workers.routed(steps, count=3)
    tasks = workers.calling(one, two, three)
    await provider.called()
    await until(lambda: _waits_for_a_slot(workers))
    await workers.provider._desks["alpha"].clear(why="slots")
    await sql.rows(
        "UPDATE jobs SET state = 'retry_wait', available_at = now(), lease_until = NULL WHERE state = 'running'"
    )
    await sql.rows("UPDATE attempts SET ended_at = now(), outcome = 'lost' WHERE ended_at IS NULL")
    provider.let_go()
    await asyncio.gather(*tasks)
    await workers.provider.call(*one)
    await workers.settled()
    counted = await told(workers)
    waited = {name: counted.pop(name) for name in list(counted) if name.startswith("wait_seconds")}
    assert counted == {
        "calls alpha": 1,
        "given_back alpha slots": 2,
        "stale_finishes alpha": 1,
        "stale_tickets alpha": 1,
    }
    assert set(waited) == {"wait_seconds alpha slots"}


async def _waits_for_a_slot(workers: Workers) -> bool:
    return workers.provider._desks["alpha"]._held_by == "slots"


async def _starts_ms(sql: Sql) -> list[Any]:
    rows = await sql.rows("SELECT extract(epoch FROM started_at)::float8 * 1000 AS at FROM attempts ORDER BY 1")
    return [row["at"] for row in rows]


async def test_a_start_that_lies_ahead_is_waited_for(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    workers = await open_workers(entry("alpha", params={"rpm": 600}, router={"burst_s": 0}), adapter=always(GOOD))
    await steps.accept(count=4)
    await workers.work("alpha")
    starts = await _starts_ms(sql)
    assert len(starts) == 4
    assert starts[-1] - starts[0] > 300 - 1000 * desk_module.LATE_S, "the first may have been late, none was early"


async def test_a_throttled_job_whose_deadline_comes_before_the_wait_is_over_goes_to_an_idle_fallback(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    """Also one that comes while the model is paused, of whose calls nothing is known."""

    async def first_says_wait(model: Model, _attempt: int) -> Outcome:
        return Throttled(retry_after_s=60.0) if model.id == "alpha" else GOOD

    workers = await open_workers(
        entry("alpha"), entry("beta"), adapter=ScriptedProvider(first_says_wait), fallbacks=[{"alpha": ["beta"]}]
    )
    await steps.accept(count=1, deadline=datetime.now(UTC) + timedelta(seconds=20))
    await workers.route()
    await workers.call()
    await steps.accept(count=1, deadline=datetime.now(UTC) + timedelta(seconds=20))
    await workers.janitor.queue_due_retries()
    await workers.work("alpha", "beta")
    assert (
        await sql.rows("SELECT state, tries, model_id FROM jobs")
        == [{"state": "succeeded", "tries": 0, "model_id": "beta"}] * 2
    )
