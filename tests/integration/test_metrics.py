"""The page for Prometheus: what docs/metrics.md says is what it shows, and its numbers are those of the work."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from router_service.api.metrics import ANSWER_SIZES, METRICS
from router_service.capacity.limiter import Answer
from router_service.capacity.tallies import LABELS, Tally
from router_service.policy.outcomes import Answered, Throttled
from router_service.routing.counters import FEWEST_CALLS
from tests.conftest import client_of, running
from tests.support.capacity import BREAKER, ended, limited, needs, starts
from tests.support.catalogs import entry
from tests.support.steps import ANSWER
from tests.support.workers import ScriptedProvider

if TYPE_CHECKING:
    import redis
    from prometheus_client.metrics_core import Metric as Family

    from router_service.capacity.limiter import Limiter
    from router_service.catalog.models import Model
    from router_service.policy.outcomes import Outcome
    from router_service.settings import Settings
    from tests.conftest import OpenWorkers
    from tests.support.steps import Sql, Steps

DOCUMENT = Path(__file__).parents[2] / "docs" / "metrics.md"
ROW = re.compile(r"\| `(waybill_\w+)` \| (gauge|counter) \| (.*?) \| (.*?) \|")


async def scrape(settings: Settings) -> str:
    async with running(settings) as app, client_of(app, key=None) as nobody:
        response = await nobody.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    return response.text


def families(page: str) -> dict[str, Family]:
    """By the name that stands on the page; the parser takes a counter's `_total` off."""
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: family
        for family in text_string_to_metric_families(page)
    }


def value(page: str, name: str, **labels: str) -> float | None:
    """The sample with exactly these labels."""
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    return {(sample.name, *sorted(sample.labels.items())): sample.value for sample in samples}.get(
        (f"waybill_{name}", *sorted(labels.items()))
    )


def test_the_document_has_a_line_for_every_metric_and_no_other() -> None:
    told = [
        (name, kind, tuple(re.findall(r"`(\w+)`", labels)), meaning)
        for name, kind, labels, meaning in ROW.findall(DOCUMENT.read_text())
    ]
    assert told == [(metric.name, metric.kind, metric.labels, metric.meaning) for metric in METRICS]


async def test_the_page_has_every_metric_with_the_type_and_labels_that_are_documented(
    open_workers: OpenWorkers, settings: Settings, steps: Steps
) -> None:
    workers = await open_workers(entry("alpha"), entry("beta"))
    await steps.running(count=1)
    await steps.accept(count=3)
    for tally, names in LABELS.items():
        workers.runtime.tallies.add(tally, **dict.fromkeys(names, "alpha"))
    await workers.runtime._tell()
    await _answered(workers.runtime.limiter, calls=FEWEST_CALLS)
    found = families(await scrape(settings))
    assert {name: family.type for name, family in found.items()} == {metric.name: metric.kind for metric in METRICS}
    for metric in METRICS:
        samples = found[metric.name].samples
        assert {tuple(sorted(sample.labels)) for sample in samples} == {tuple(sorted(metric.labels))}, metric.name


async def _answered(limiter: Limiter, *, calls: int) -> None:
    model = limited("alpha")
    wanted = needs(model, count=calls)
    begun = starts(await limiter.exchange(model, ended=(), needs=wanted, breaker=BREAKER, lease_s=60))
    answer = Answer(estimated_in=10, tokens_in=10, tokens_out=100, latency_s=2.0)
    over = [ended(each, start_ms, answer=answer, verdict="ok") for each, start_ms in zip(wanted, begun, strict=True)]
    await limiter.settle(over, breaker=BREAKER)


async def test_a_latency_is_shown_by_the_size_of_the_answer_once_enough_calls_told_it(
    open_workers: OpenWorkers, settings: Settings
) -> None:
    workers = await open_workers(entry("alpha"))
    await _answered(workers.runtime.limiter, calls=FEWEST_CALLS - 1)
    page = await scrape(settings)
    assert value(page, "latency_p95_seconds", model="alpha", tokens_out="any") is None
    assert value(page, "error_share", model="alpha") == 0
    await _answered(workers.runtime.limiter, calls=1)
    page = await scrape(settings)
    shown = {
        size: value(page, "latency_p95_seconds", model="alpha", tokens_out=size) for size in (*ANSWER_SIZES, "any")
    }
    assert {size for size, found in shown.items() if found is not None} == {"<=256", "any"}
    assert 1.8 < (shown["any"] or 0) < 2.2


async def test_its_numbers_are_those_of_the_work(
    open_workers: OpenWorkers, settings: Settings, steps: Steps, sql: Sql
) -> None:
    async def throttled_at_first(_model: Model, attempt: int) -> Outcome:
        if attempt == 1:
            return Throttled(code="rate_limited", message="slow down", status_code=429, retry_after_s=60.0)
        return Answered(body=ANSWER, tokens_in=7, tokens_out=3)

    workers = await open_workers(
        entry("alpha", params={"max_parallel_requests": 5}), adapter=ScriptedProvider(throttled_at_first)
    )
    await steps.accept(count=1)
    await workers.work("alpha")
    (lost,) = await steps.running(count=1, lease_s=-1.0)
    await sql.rows("UPDATE jobs SET model_id = 'alpha' WHERE id = %s", lost.id)
    workers.runtime.settings = settings.model_copy(update={"lease_s": 1e-6})
    await workers.janitor.take_over_leases()
    await steps.running(count=1)
    await steps.accept(count=2, model="auto")
    await sql.rows("UPDATE jobs SET created_at = now() - interval '90 s' WHERE model = 'auto'")
    await workers.runtime._tell()
    page = await scrape(settings)
    assert value(page, "calls_total", model="alpha") == 1
    assert value(page, "throttled_total", model="alpha") == 1
    assert value(page, "stale_finishes_total", model="alpha") == 0
    assert value(page, "recovered_total", what="lease") == 1
    assert value(page, "recovered_total", what="counters") == 0
    assert value(page, "duplicate_calls_total", model="alpha") == 1
    assert value(page, "slots_limit", model="alpha") == 5
    assert value(page, "slots_in_use", model="alpha") == value(page, "in_flight", model="alpha") == 0
    assert value(page, "limit_factor", model="alpha") is not None
    assert 50 < (value(page, "paused_seconds", model="alpha") or 0) <= 60
    assert value(page, "leases", model="alpha") == 1
    assert value(page, "jobs", state="retry_wait", model="alpha") == 2
    assert 90 <= (value(page, "queue_oldest_seconds", model="auto") or 0) < 100
    assert value(page, "workers", role="test") == 1
    assert value(page, "up", dependency="postgres") == value(page, "up", dependency="redis") == 1


async def test_what_redis_does_not_tell_is_missing_and_not_zero(
    settings: Settings, catalog: object, tmp_path: Path
) -> None:
    nobody = f"unix://{tmp_path}/nobody.sock"
    down = type(settings)(
        database_url=settings.database_url, redis_url=nobody, broker_url=nobody.replace("unix", "redis+socket")
    )
    page = await scrape(down)
    assert value(page, "up", dependency="redis") == 0
    assert {name for name, family in families(page).items() if family.samples} == {"waybill_up"}


async def test_a_count_of_a_model_that_left_the_catalog_is_still_shown(
    open_workers: OpenWorkers, settings: Settings, admin_redis: redis.Redis
) -> None:
    workers = await open_workers(entry("alpha"))
    workers.runtime.tallies.add(Tally.CALLS, 4, model='gone "away"\n')
    workers.runtime.tallies.add("of_a_later_version", model="alpha")
    await workers.runtime.tallies.flush()
    page = await scrape(settings)
    assert value(page, "calls_total", model='gone "away"\n') == 4
    assert "of_a_later_version" not in page
