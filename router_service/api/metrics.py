"""`/metrics` in Prometheus' text format: public, and without anything that belongs to a tenant.

Read from the shared stores at each scrape, so that every API process tells the same. docs/metrics.md has the table for people;
a test compares it with METRICS and with the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from router_service.api.state import Here, State
from router_service.capacity.connection import unavailable
from router_service.capacity.limiter import Live
from router_service.capacity.tallies import LABELS, RECOVERIES, Counts, Tally
from router_service.catalog.models import Model
from router_service.errors import UnavailableError
from router_service.jobs.states import JobState
from router_service.routing.counters import SIZES
from router_service.store import jobs
from router_service.tickets import ROUTE_QUEUE, dead_letter_queue, model_queue

routes = APIRouter(tags=["health"])
ANSWER_SIZES = (*(f"<={most}" for most in SIZES), f">{SIZES[-1]}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A line of docs/metrics.md."""

    name: str
    kind: Literal["gauge", "counter"]
    labels: tuple[str, ...]
    meaning: str


def _gauge(name: str, meaning: str, *labels: str) -> Metric:
    return Metric(name=f"waybill_{name}", kind="gauge", labels=labels, meaning=meaning)


def _counter(tally: Tally, meaning: str) -> Metric:
    return Metric(name=f"waybill_{tally}_total", kind="counter", labels=LABELS[tally], meaning=meaning)


METRICS = (
    _gauge("up", "Whether a dependency answered this scrape", "dependency"),
    _gauge("workers", "Workers alive", "role"),
    _gauge("jobs", "Jobs that are not finished", "state", "model"),
    _gauge("queue_oldest_seconds", "How long the job has waited that is next in line, by the model asked for", "model"),
    _gauge("queue_messages", "Messages waiting in a broker queue", "queue"),
    _gauge("places", "Jobs in a model's queue that wait for their start", "model"),
    _gauge("leases", "Jobs that a worker holds under a lease", "model"),
    _gauge("in_flight", "Calls that hold a slot of a model", "model"),
    _gauge("slots_in_use", "The same, beside the limit", "model"),
    _gauge("slots_limit", "Calls that a model may have at a time", "model"),
    _gauge("paused_seconds", "How long a model is paused for", "model"),
    _gauge("breaker_open", "1 while a model's breaker lets nothing through", "model"),
    _gauge("limit_factor", "The share of its limits that a model is given, below 1 after a 429", "model"),
    _gauge(
        "latency_p95_seconds", "What 95 of 100 calls to a model take at most, by tokens answered", "model", "tokens_out"
    ),
    _gauge("error_share", "The share of a model's last hundred calls or so that failed", "model"),
    _counter(Tally.CALLS, "Calls to a provider that came to an end"),
    _counter(
        Tally.THROTTLED, "Calls that the provider asked to make later: 429, or 503 and 529 where it is overloaded"
    ),
    _counter(
        Tally.WAIT_SECONDS,
        "Seconds that jobs waited in a model's queue, by what for; of `no_model` in the line",
    ),
    _counter(Tally.EXCHANGED, "Reserved starts that were missed and reserved anew"),
    _counter(Tally.GIVEN_BACK, "Jobs that went back from a model's queue to the line in Postgres"),
    _counter(Tally.STALE_FINISHES, "Answers that came after their job had been given to another worker"),
    _counter(Tally.STALE_TICKETS, "Tickets of jobs that had moved on"),
    _counter(Tally.DUPLICATE_CALLS, "Calls that were perhaps made twice, since their worker fell silent"),
    _counter(Tally.RECOVERED, "What the janitor mended"),
)


class Page(Collector):
    """One scrape's samples. What was not read has none: a zero would look like a restart."""

    def __init__(self) -> None:
        kinds = {"gauge": GaugeMetricFamily, "counter": CounterMetricFamily}
        self._families = {
            metric.name: kinds[metric.kind](metric.name, metric.meaning, labels=metric.labels) for metric in METRICS
        }

    def add(self, name: str, value: float, *labels: str) -> None:
        self._families[f"waybill_{name}"].add_metric(labels, value)

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        yield from self._families.values()

    def text(self) -> bytes:
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)


@routes.get("/metrics", response_class=Response)
async def metrics(here: Here) -> Response:
    """Prometheus' text format."""
    page = Page()
    for dependency, read in (("postgres", _read_postgres), ("redis", _read_redis)):
        try:
            await read(here, page)
            page.add("up", 1, dependency)
        except UnavailableError:
            page.add("up", 0, dependency)
    return Response(page.text(), media_type=CONTENT_TYPE_LATEST)


async def _read_postgres(here: State, page: Page) -> None:
    async with here.database.transaction() as session:
        depths = await jobs.live_depths(session)
        line = await jobs.oldest_queued(session)
    for depth in depths:
        page.add("jobs", depth.jobs, depth.state, depth.model)
        if depth.state == JobState.RUNNING:
            page.add("leases", depth.jobs, depth.model)
    for row in line:
        page.add("queue_oldest_seconds", row.age_s, row.model)


async def _read_redis(here: State, page: Page) -> None:
    """The counters' Redis, then the broker's; what was read before one fails is shown."""
    models = here.catalog.models if here.catalog else ()
    with unavailable():
        live = await here.limiter.snapshot(models)
        alive = await here.presence.alive()
        counts = await here.tallies.read()
    for model in models:
        _show_live(page, model, live[model.id])
    for role, workers in alive.items():
        page.add("workers", workers, role)
    _show_counts(page, counts, models)
    if here.queue_lengths is not None:
        queues = [queue(model.id) for model in models for queue in (model_queue, dead_letter_queue)]
        for name, length in (await here.queue_lengths.read([ROUTE_QUEUE, *queues])).items():
            page.add("queue_messages", length, name)


def _show_live(page: Page, model: Model, live: Live) -> None:
    page.add("in_flight", live.in_flight, model.id)
    page.add("slots_in_use", live.in_flight, model.id)
    page.add("slots_limit", model.limits.slots, model.id)
    page.add("places", live.waiting, model.id)
    page.add("paused_seconds", live.paused_s, model.id)
    page.add("breaker_open", live.broken_s > 0, model.id)
    page.add("limit_factor", live.factor, model.id)
    speed = live.record.speed
    for size, latency in zip((*ANSWER_SIZES, "any"), (*speed.by_size, speed.latency), strict=True):
        if latency is not None and latency.p95_s is not None:
            page.add("latency_p95_seconds", latency.p95_s, model.id, size)
    if live.record.error_rate is not None:
        page.add("error_share", live.record.error_rate, model.id)


def _show_counts(page: Page, counts: Counts, models: Sequence[Model]) -> None:
    for tally, names in LABELS.items():
        shown = dict.fromkeys(_firsts(names, models), 0.0)
        for (name, labels), amount in counts.items():
            if name == tally:
                values = dict(labels)
                shown[tuple(values.get(each, "") for each in names)] = amount
        for found, amount in shown.items():
            page.add(f"{tally}_total", amount, *found)


def _firsts(names: tuple[str, ...], models: Sequence[Model]) -> list[tuple[str, ...]]:
    """What is shown as 0 before it is counted: a rate needs a first value to rise from."""
    if names == ("model",):
        return [(model.id,) for model in models]
    return [(what,) for what in RECOVERIES] if names == ("what",) else []
