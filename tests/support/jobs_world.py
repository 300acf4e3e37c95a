"""Jobs, limiter and time together, for a test that decides who does what, when, and who falls silent meanwhile.

Router, dead-letter worker and janitor are the real ones. A provider worker is played step by step (claim, reserve, finish,
settle), so that anything may come between two of its steps. Time passes by moving back what Postgres and Redis keep.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import dict_row

from router_service.capacity.limiter import Ended, Need, reservation
from router_service.capacity.scopes import scopes_of
from router_service.jobs.states import JobState
from router_service.store import calls, catalogs, dead_letters, jobs
from router_service.store.dead_letters import Selection
from router_service.store.session import Database
from router_service.tickets import dead_letter_queue, decode, model_queue
from tests.support.clock import Clock
from tests.support.loops import Loop
from tests.support.steps import TENANT, Steps, answered, gone_wrong
from tests.support.workers import Workers
from workers.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    import redis

    from router_service.capacity.limiter import Grants
    from router_service.settings import Settings
    from router_service.store.calls import Claim, Fate, Finish
    from router_service.store.jobs import NewJob
    from router_service.tickets import Ticket

EMPTY = "; ".join(
    f"DELETE FROM {table}" for table in ("jobs", "job_inputs", "job_results", "attempts", "decisions", "dead_letters")
)
MOMENTS = {
    "jobs": ("lease_until", "available_at", "deadline", "routed_at", "held_until"),
    "attempts": ("started_at", "ended_at"),
    "dead_letters": ("sent_at",),
}
UNLIMITED_OUT = 160  # what is reserved for an answer whose length is not limited
LOOK = """
SELECT j.id, j.state, j.epoch, j.attempt, j.tries, j.deadline IS NOT NULL AS may_expire, r.body,
  (SELECT count(*) FROM attempts a WHERE a.job_id = j.id) AS calls,
  (SELECT count(*) FROM attempts a WHERE a.job_id = j.id AND a.ended_at IS NULL) AS open_calls,
  (SELECT count(*) FROM dead_letters d WHERE d.job_id = j.id AND d.state = 'open' AND d.attempt = j.attempt) AS open_letters
FROM jobs j LEFT JOIN job_results r ON r.job_id = j.id"""
TOKENS = 100  # of each prompt and of each answer
AGE = "SELECT extract(epoch FROM now() - pg_postmaster_start_time())::float8 AS age_s"


@dataclass(slots=True)
class Known:
    """What is known of a job from outside: how often it was claimed, its tries, and its end once it was seen."""

    claims: int = 0
    tries: int = 0
    epoch: int = 0
    attempt: int = 0
    cancelled: bool = False
    answer: str | None = None
    end: str | None = None


@dataclass(slots=True, eq=False)
class Hand:
    """A job in a worker's hands. Moments are the world's, in ms. A frozen worker renews nothing and may wake any time."""

    claim: Claim
    need: Need
    held_ms: int
    is_frozen: bool = False
    start_ms: int | None = None
    slot_until_ms: float = 0.0
    entry: list[int] = field(default_factory=list)


class JobsWorld:
    """One database, one Redis, one process of each role over them. Every method is one step of somebody's."""

    def __init__(self, settings: Settings, admin: redis.Redis, document: Mapping[str, Any]) -> None:
        self.admin = admin
        self.clock = Clock(admin)
        self.lease_s = settings.lease_s
        self._loop = Loop()
        self._sql = psycopg.connect(settings.database_url.get_secret_value(), autocommit=True, row_factory=dict_row)
        self.runtime = Runtime(settings, role="test", name="test-1")
        self.run(self._open(document))
        self.workers = self.run(self._workers())
        self.steps = Steps(self.runtime.database)

    def close(self) -> None:
        self.run(self.workers.close())
        self.run(self.runtime.close())
        self._sql.close()
        self._loop.close()

    def empty(self) -> None:
        """As on the first day: no job, counters that are whole."""
        self._sql.execute(EMPTY.encode())
        self.admin.flushall()
        self.run(self.runtime.limiter.rebuild([], []))
        self.clock.passed_ms = 0

    def run(self, work: Any) -> Any:
        return self._loop.run(work)

    # --- time

    def pass_by(self, gap_s: float) -> None:
        """For everybody at once, in whole buckets of the limiter's logs."""
        before_ms = self.clock.passed_ms
        self.clock.pass_by(gap_s)
        gap = {"gap_s": (self.clock.passed_ms - before_ms) / 1000}
        for table, columns in MOMENTS.items():
            moved = ", ".join(f"{column} = {column} - make_interval(secs => %(gap_s)s)" for column in columns)
            self._sql.execute(f"UPDATE {table} SET {moved}".encode(), gap)

    def now_ms(self) -> int:
        seconds, micros = self.admin.time()
        return int(seconds * 1000 + micros // 1000 + self.clock.passed_ms)

    def database_age_s(self) -> float:
        """How long Postgres has run: leases of before its start are not judged by the janitor at once."""
        return float(self.rows(AGE)[0]["age_s"])

    # --- looking

    def rows(self, statement: str, *parameters: object) -> list[dict[str, Any]]:
        return self._sql.execute(statement.encode(), parameters or None).fetchall()

    def row(self, job_id: UUID) -> dict[str, Any]:
        """A job's row, and how many seconds are left to its deadline."""
        (row,) = self.rows(
            "SELECT *, extract(epoch FROM deadline - now())::float8 AS left_s FROM jobs WHERE id = %s", job_id
        )
        return row

    def live(self) -> list[dict[str, Any]]:
        """What has not ended."""
        return self.rows("SELECT id, state, model_id, lost_leases FROM jobs WHERE finished_at IS NULL")

    def look(self) -> list[dict[str, Any]]:
        """Every job, with its answer, its calls and its open dead letters."""
        return self.rows(LOOK)

    def in_flight(self, model_id: str) -> int:
        """What the limiter believes."""
        return int(self.run(self.workers.in_flight(model_id)))

    def tickets(self, model_id: str) -> list[Ticket]:
        """What waits in a model's queue; it is gone from there then."""
        return [ticket for raw in self.workers.pull(model_queue(model_id)) for ticket in decode(raw)]

    def letters(self, model_id: str) -> list[Ticket]:
        return [ticket for raw in self.workers.pull(dead_letter_queue(model_id)) for ticket in decode(raw)]

    # --- what a provider worker does

    def claim(self, ticket: Ticket) -> Claim | None:
        claims = self.run(self.steps.claim([(ticket.job_id, ticket.epoch)], lease_s=self.lease_s))
        return claims[0] if claims else None

    def need(self, claim: Claim) -> Need:
        catalog = self.runtime.offer.catalog
        return Need(
            reservation=reservation(claim.id.hex, claim.epoch),
            scopes=scopes_of(catalog.by_id[claim.model_id], catalog=catalog, tenant_id=claim.tenant_id),
            tokens_in=claim.tokens_in,
            tokens_out=claim.tokens_out or UNLIMITED_OUT,
        )

    def exchange(self, model_id: str, ended: Sequence[Ended], needs: Sequence[Need]) -> Grants:
        """Moments of starts are the limiter's own: not moved by the clock."""
        catalog = self.runtime.offer.catalog
        asked = self.runtime.limiter.exchange(
            catalog.by_id[model_id], ended=ended, needs=needs, breaker=catalog.breaker, lease_s=self.lease_s
        )
        grants: Grants = self.run(asked)
        return grants

    def finish(self, finish: Finish) -> Fate:
        fates: list[Fate] = self.run(self.steps.finish(finish))
        return fates[0]

    def renew(self, claims: Sequence[Claim], needs: Sequence[Need]) -> tuple[set[tuple[UUID, int]], set[str]]:
        """The calls whose lease was prolonged, and the reservations that are gone."""

        async def renewed() -> set[tuple[UUID, int]]:
            async with self.runtime.database.transaction() as session:
                return set(
                    await calls.renew(session, [(each.id, each.attempt) for each in claims], lease_s=self.lease_s)
                )

        held = [(need.reservation, need.scopes) for need in needs]
        gone = self.run(self.runtime.limiter.renew(held, lease_s=self.lease_s)) if held else set()
        return (self.run(renewed()) if claims else set()), gone

    # --- what clients and operators do

    def accept(self, *wanted: NewJob) -> None:
        self.run(self.steps.accept(*wanted))

    def cancel(self, job_id: UUID) -> bool:
        async def cancelled() -> bool:
            async with self.runtime.database.transaction() as session:
                return await jobs.cancel(session, job_id, tenant_id=TENANT) is not None

        return bool(self.run(cancelled()))

    def replay(self) -> int:
        async def replayed() -> int:
            async with self.runtime.database.transaction() as session:
                return await dead_letters.replay(
                    session, tenant_id=TENANT, selection=Selection(), to_model=None, most=100
                )

        return int(self.run(replayed()))

    async def _open(self, document: Mapping[str, Any]) -> None:
        database = Database(self.runtime.settings.database_url.get_secret_value(), pool=1, name="waybill-tests")
        async with database.transaction() as session:
            await catalogs.publish(session, document, source="the test's catalog")
        await database.close()
        await self.runtime.open()

    async def _workers(self) -> Workers:
        """Made inside the loop, where they belong."""
        await asyncio.sleep(0)
        return Workers(self.runtime, self.admin)


def finish_as(end: str, claim: Claim) -> Finish:
    match end:
        case "answered":
            return answered(claim, body=json.dumps([str(claim.id), claim.attempt]), tokens_in=TOKENS, tokens_out=TOKENS)
        case "failed":
            return gone_wrong(claim, JobState.RETRY_WAIT, delay_s=2.0)
        case "throttled":
            return gone_wrong(
                claim, JobState.RETRY_WAIT, outcome="throttled", status_code=429, counted=False, delay_s=1.0
            )
        case "dead":
            return gone_wrong(claim, JobState.DEAD)
        case _:
            return replace(gone_wrong(claim, JobState.FAILED), outcome="refused")
