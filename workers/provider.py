"""The provider worker: takes tickets, calls their models as soon as limits allow, stores what came back, hands capacity on."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from router_service.capacity.connection import end_loops
from router_service.capacity.limiter import Answer, Ended, Grants, Hindrance, Need, reservation
from router_service.capacity.measures import Measures
from router_service.capacity.scopes import account_scopes, model_scope, names, scopes_of
from router_service.capacity.tallies import Tally
from router_service.errors import UnavailableError
from router_service.failpoints import failpoint
from router_service.jobs.spec import TYPICAL_TOKENS_OUT
from router_service.policy.outcomes import Answered, Failed, OutOfTime
from router_service.store import calls as store
from router_service.store import dispatch
from router_service.store.calls import Fate
from router_service.telemetry.logs import logger
from router_service.tickets import decode
from workers.calls import TIMEOUT_CODE, Calls, left_s
from workers.desk import GONE, Desk
from workers.lessons import Lessons
from workers.tokenizers import Tokenizers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from router_service.capacity.scopes import Scope
    from router_service.catalog.models import Model
    from router_service.policy.outcomes import Outcome
    from router_service.store.calls import Claim
    from router_service.store.dispatch import Returned
    from workers.job import Job
    from workers.providers.base import Adapter
    from workers.runtime import Runtime

log = logger(__name__)
RENEWALS_PER_LEASE = 3
SORT_OUT_S = 1.0


class ProviderWorker:
    """Hundreds of calls at a time on one event loop, a desk for each model."""

    def __init__(
        self,
        runtime: Runtime,
        *,
        adapters: Mapping[str, Adapter],
        tokenizers: Tokenizers | None = None,
    ) -> None:
        self._runtime = runtime
        self._calls = Calls(runtime, adapters)
        self._desks: dict[str, Desk] = {}
        self._jobs: dict[tuple[UUID, int], Job] = {}
        self._lessons = Lessons(runtime)
        self._tokenizers = Tokenizers() if tokenizers is None else tokenizers
        self._tickets = 0

    async def open(self) -> None:
        await self._runtime.open()
        renew_s = self._runtime.settings.lease_s / RENEWALS_PER_LEASE
        self._runtime.every(renew_s, self._renew, name="renew")
        self._runtime.every(renew_s, self._renew_slots, name="renew slots")
        self._runtime.every(SORT_OUT_S, self._sort_out, name="sort out")
        self._runtime.every(SORT_OUT_S, self._listen, name="freed")

    async def drain(self) -> None:
        """Let calls end for a while; give everything else back to the queue, uncounted."""
        until = time.monotonic() + self._runtime.settings.drain_s
        while self._tickets:
            for desk in self._desks.values():
                await desk.clear(why="shutdown")
            if time.monotonic() >= until:
                for job in self._jobs.values():
                    job.cut_off()
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        await self.close_desks()
        await self._calls.close()
        await self._runtime.close()

    async def close_desks(self) -> None:
        """Stop, then settle what has ended, also what a loop was about to."""
        await end_loops([loop for desk in self._desks.values() for loop in desk.loops])
        for desk in self._desks.values():
            await self._flush(desk)

    async def call(self, raw: object, model_id: object) -> None:
        """The task: one ticket of one or more jobs. Raises ValueError on a message that is not ours."""
        tickets = decode(raw)
        if not isinstance(model_id, str):
            raise ValueError("the model of a ticket must be a name")  # noqa: TRY004
        self._tickets += 1
        try:
            desk = self._desk(model_id)
            jobs = [desk.add(ticket) for ticket in tickets]
            for job in jobs:
                await job.done.wait()
        finally:
            self._tickets -= 1

    def _desk(self, model_id: str) -> Desk:
        if model_id not in self._desks:
            self._desks[model_id] = Desk(model_id, self)
        return self._desks[model_id]

    def _scopes(self, of: Claim | Returned) -> tuple[Scope, ...]:
        """What limits a job; nothing where its model has left the catalog."""
        catalog = self._runtime.offer.catalog
        model = catalog.by_id.get(of.model_id)
        if model is None:
            return ()
        return scopes_of(
            model, catalog=catalog, tenant_id=of.tenant_id, batch_id=of.batch_id, batch_slots=of.batch_slots
        )

    # What a desk asks for.

    @property
    def lease_s(self) -> float:
        return self._runtime.settings.lease_s

    async def claim(self, jobs: Sequence[Job]) -> list[Job]:
        asked_at = asyncio.get_running_loop().time()
        claims = await self._calls.claim([job.ticket for job in jobs])
        ready: list[Job] = []
        stale: list[Job] = []
        for job, claim in zip(jobs, claims, strict=True):
            if claim is None:
                stale.append(job)
                job.done.set()
                continue
            job.claim, job.held_at = claim, asked_at
            self._jobs[claim.id, claim.attempt] = job
            if claim.model_id not in self._runtime.offer.catalog.by_id:
                job.task = asyncio.create_task(self._end_without_model(job, claim))
                continue
            job.scopes = self._scopes(claim)
            ready.append(job)
        if stale:
            self._runtime.tallies.add(Tally.STALE_TICKETS, len(stale), model=stale[0].model_id)
            await self._drop(stale)
        await self._tokenizers.count(ready, models=self._runtime.offer.catalog.by_id)
        return ready

    def need(self, job: Job, measures: Measures) -> Need:
        claim = job.claimed
        model = self._runtime.offer.catalog.by_id.get(claim.model_id)
        return Need(
            reservation=reservation(claim.id.hex, claim.epoch),
            scopes=job.scopes,
            tokens_in=measures.tokens_in(claim.tokens_in, is_counted=claim.is_counted),
            tokens_out=measures.tokens_out(
                claim.tokens_out,
                typical=TYPICAL_TOKENS_OUT,
                most=model.max_output_tokens if model else None,
            ),
            urgent=job.ticket.urgent,
        )

    def has_rates(self, model_id: str) -> bool:
        model = self._runtime.offer.catalog.by_id.get(model_id)
        return model is not None and bool(model_scope(model).rates or model.limit_group or self._lessons.has(model_id))

    async def exchange(self, model_id: str, ended: Sequence[Ended], needs: Sequence[Need]) -> Grants:
        catalog = self._runtime.offer.catalog
        model = catalog.by_id.get(model_id)
        if model is None:
            if ended:
                await self._runtime.limiter.settle(ended, breaker=catalog.breaker)
            gone = Hindrance(why=GONE, wait_s=1.0)
            return Grants(now_ms=0, answers=(), stopped=gone, next_s=0.0, free=0, measures=Measures())
        grants = await self._runtime.limiter.exchange(
            model, ended=ended, needs=needs, breaker=catalog.breaker, lease_s=self.lease_s
        )
        if ended:
            failpoint("provider.after_settle")
        if grants.answers:
            failpoint("provider.after_reserve")
        return grants

    async def make(self, job: Job) -> None:
        try:
            await self._make(job, job.claimed)
        except Exception:  # the row is as it was, and its lease runs out
            log.exception("a call could not be ended; its lease will expire", job=str(job.ticket.job_id))
            self._done(job)

    async def _make(self, job: Job, claim: Claim) -> None:
        """Make the call. Its slot is handed on as soon as the provider has answered, before the answer is stored."""
        loop, desk = asyncio.get_running_loop(), self._desk(job.model_id)
        model = self._runtime.offer.catalog.by_id.get(claim.model_id)
        left = left_s(claim, since=job.ready_at, now=loop.time())
        if left < (desk.measures.least_for(claim.tokens_out) or 0.0):
            desk.unused(job, job.start_ms)
            await self.uncalled([job], why="deadline")
            return
        began = loop.time()
        try:
            outcome = await self._calls.ask(claim, model, left_s=left)
        except asyncio.CancelledError:
            self._settle(job, claim, None, latency_s=0.0)
            if job.cut:
                await self._calls.give_back(claim, began=began)
            self._done(job)
            return
        ended = loop.time()
        job.ended = True
        failpoint("provider.after_call")
        if model is not None:
            self._runtime.tallies.add(Tally.CALLS, model=model.id)
            await self._lessons.take(model, outcome)
        self._settle(job, claim, outcome, latency_s=ended - began)
        await self._end(job, claim, model, outcome, began=began, ended=ended)

    async def uncalled(self, jobs: Sequence[Job], *, why: str) -> None:
        for job in jobs:
            job.ended = True
            self._runtime.tallies.add(Tally.GIVEN_BACK, model=job.model_id, reason=why)
        back = [self._calls.give_back(job.claimed, began=None) for job in jobs]
        for error in await asyncio.gather(*back, return_exceptions=True):
            if isinstance(error, Exception):
                log.error("a job could not be given back; its lease will expire", error=str(error))
        await self._drop(jobs)
        for job in jobs:
            self._done(job)

    async def give_back(self, jobs: Sequence[Job], *, why: str) -> None:
        back: Sequence[Returned] = ()
        try:
            async with self._runtime.database.transaction() as session:
                back = await dispatch.give_back(session, [(job.ticket.job_id, job.ticket.epoch) for job in jobs])
                failpoint("provider.before_give_back_commit")
            failpoint("provider.after_give_back_commit")
        except UnavailableError as error:
            log.warning("tickets could not be given back; the janitor issues them anew", error=str(error))
        returned = {each.id: each for each in back}
        for job in jobs:
            if job.ticket.job_id in returned:
                job.scopes = self._scopes(returned[job.ticket.job_id])
        log.info("tickets given back", count=len(back), why=why)
        self._runtime.tallies.add(Tally.GIVEN_BACK, len(back), model=jobs[0].model_id, reason=why)
        await self._drop(jobs)
        for job in jobs:
            job.done.set()

    def moved(self, model_id: str) -> None:
        self._runtime.ring_soon(hurry=self._desk(model_id).is_short)

    def waited(self, model_id: str, why: str, seconds: float) -> None:
        self._runtime.tallies.add(Tally.WAIT_SECONDS, seconds, model=model_id, reason=why)

    def exchanged(self, model_id: str) -> None:
        self._runtime.tallies.add(Tally.EXCHANGED, model=model_id)

    # The ends of calls.

    async def _end(
        self, job: Job, claim: Claim, model: Model | None, outcome: Outcome, *, began: float, ended: float
    ) -> None:
        left = left_s(claim, since=job.ready_at, now=ended)
        fate = await self._calls.end(claim, model, outcome, began=began, ended=ended, left_s=left)
        if fate is Fate.STALE:
            self._runtime.tallies.add(Tally.STALE_FINISHES, model=claim.model_id)
        self._done(job)
        self._runtime.ring_soon(hurry=False)

    async def _end_without_model(self, job: Job, claim: Claim) -> None:
        """The model has left the catalog since: there is nothing to call."""
        now = asyncio.get_running_loop().time()
        try:
            outcome = await self._calls.ask(claim, None, left_s=0.0)
            await self._end(job, claim, None, outcome, began=now, ended=now)
        except Exception:  # as in `make`
            log.exception("a call could not be ended; its lease will expire", job=str(claim.id))
            self._done(job)

    def _settle(self, job: Job, claim: Claim, outcome: Outcome | None, *, latency_s: float) -> None:
        """Hand the reservation back. A call that did not tell what it used keeps what was reserved: it may have been charged."""
        need = job.need
        if need is None:
            return
        tokens_in, tokens_out, answer = need.tokens_in, need.tokens_out, None
        if isinstance(outcome, Answered):
            tokens_in = need.tokens_in if outcome.tokens_in is None else outcome.tokens_in
            tokens_out = need.tokens_out if outcome.tokens_out is None else outcome.tokens_out
            if outcome.tokens_in is not None and outcome.tokens_out is not None:
                answer = Answer(
                    estimated_in=claim.tokens_in, tokens_in=tokens_in, tokens_out=tokens_out, latency_s=latency_s
                )
        is_timeout = isinstance(outcome, Failed) and outcome.code == TIMEOUT_CODE
        self._desk(job.model_id).end(
            Ended(
                need=need,
                start_ms=job.start_ms,
                requests=1,
                tokens_in=tokens_in,
                tokens_out=tokens_out,
                verdict=(outcome.verdict if outcome is not None else None) or "none",
                # The provider may not have noticed that nobody listens any more.
                hold=outcome is None or is_timeout or isinstance(outcome, OutOfTime),
                answer=answer,
            )
        )

    def _done(self, job: Job) -> None:
        claim = job.claim
        if claim is not None:
            self._jobs.pop((claim.id, claim.attempt), None)
        job.done.set()

    async def _drop(self, jobs: Sequence[Job]) -> None:
        """Give up the places of tickets that led to no call. What a stale one has of its tenant or batch expires by itself."""
        model = self._runtime.offer.catalog.by_id.get(jobs[0].model_id)
        if model is None:
            return
        scopes = sorted({*account_scopes(model)}.union(*(names(job.scopes) for job in jobs)))
        try:
            await self._runtime.limiter.leave(
                scopes, [reservation(job.ticket.job_id.hex, job.ticket.epoch) for job in jobs]
            )
        except UnavailableError as error:
            log.info("places are left to expire", count=len(jobs), error=str(error))

    # Loops.

    async def _renew(self) -> None:
        """Prolong the leases of all jobs at hand; stop calls that are no longer ours."""
        at_hand = dict(self._jobs)
        if not at_hand:
            return
        asked_at = asyncio.get_running_loop().time()
        async with self._runtime.database.transaction() as session:
            held = await store.renew(session, at_hand.keys(), lease_s=self.lease_s)
        for key, job in at_hand.items():
            if key in held:
                job.held_at = asked_at
            if key in held or job.ended or job.cut:
                continue
            self._desk(job.model_id).drop(job)
            if job.task is None:
                self._done(job)
            elif job.begun:
                job.task.cancel()

    async def _renew_slots(self) -> None:
        """Prolong the slots of calls under way. A call whose slot is gone, or cannot be kept, is cut off: it is not counted."""
        calls = [job for job in self._jobs.values() if job.task and not (job.ended or job.cut)]
        calling = {job.need.reservation: job for job in calls if job.need}
        if not calling:
            return
        lease_s, asked_at = self.lease_s, time.monotonic()
        try:
            held = [(name, job.scopes) for name, job in calling.items()]
            async with asyncio.timeout(lease_s / RENEWALS_PER_LEASE / 2):  # a server that is silent is as good as away
                gone = await self._runtime.limiter.renew(held, lease_s=lease_s)
            for name in calling.keys() - gone:
                calling[name].kept_at = asked_at
        except (UnavailableError, TimeoutError) as error:
            log.warning("slots cannot be prolonged", count=len(calling), error=str(error) or "no answer")
            oldest = time.monotonic() - lease_s * (1 - 1 / RENEWALS_PER_LEASE)
            gone = {name for name, job in calling.items() if job.kept_at < oldest}
        for name in gone:
            log.warning("a call that is not counted any more is cut off", job=str(calling[name].ticket.job_id))
            calling[name].cut_off()

    async def _sort_out(self) -> None:
        for desk in self._desks.values():
            await desk.sort_out()

    async def _listen(self) -> None:
        await self._runtime.listen(self._heard)

    def _heard(self, _scope: str) -> None:
        for desk in self._desks.values():
            desk.wake()

    async def _flush(self, desk: Desk) -> None:
        try:
            await desk.flush()
        except UnavailableError as error:
            log.warning("reservations are left to expire", model=desk.model_id, error=str(error))
