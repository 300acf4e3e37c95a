"""The provider worker: claims the jobs of a ticket, calls their models, stores what came back, settles the capacity."""

from __future__ import annotations

import asyncio
import math
import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

from router_service.capacity.connection import unavailable
from router_service.capacity.limiter import Need, Usage, reservation
from router_service.errors import UnavailableError
from router_service.jobs.states import JobState
from router_service.policy.after import DeadLetter, Fail, Next, RetryLater, Succeed, after
from router_service.policy.outcomes import Answered, Failed, ModelUnfit, Outcome, OutOfTime, Refused, Throttled
from router_service.routing.policy import expected_tokens_out
from router_service.store import calls
from router_service.store.calls import Claim, Fate, Finish
from router_service.telemetry.logs import logger
from router_service.tickets import DEAD_LETTER_TASK, Message, Ticket, dead_letter_queue, decode
from workers.batcher import Batcher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from router_service.catalog.models import Model
    from router_service.routing.policy import RoutingPolicy
    from workers.providers.base import Adapter
    from workers.runtime import Runtime

log = logger(__name__)
RENEWALS_PER_LEASE = 3
RETRY_WRITE_S = 0.5
LATE_S = 2.0
FAR_S = 60.0  # no start is granted so far ahead: a forged ticket, or a clock that was set back


@dataclass(slots=True)
class InFlight:
    """A call under way. `cut`: the shutdown does not wait for it any longer; `ended`: only its end is left to write.

    `begun`: its task runs. One that was cancelled before that would never run, and could not give its job back.
    """

    claim: Claim
    task: asyncio.Task[None]
    begun: bool = False
    cut: bool = False
    ended: bool = False

    def cut_off(self) -> None:
        """Stop the call and give the job back. What has ended is written to the end."""
        if not self.cut and not self.ended:
            self.cut = True
            if self.begun:
                self.task.cancel()


class ProviderWorker:
    """Hundreds of calls at a time on one event loop. Reads and writes are grouped; each call stays one job's."""

    def __init__(self, runtime: Runtime, *, adapters: Mapping[str, Adapter], policy: RoutingPolicy) -> None:
        self._runtime = runtime
        self._adapters = adapters
        self._policy = policy
        self._claims = Batcher(self._claim)
        self._finishes = Batcher(self._finish)
        self._settlements = Batcher(self._settle)
        self._in_flight: dict[tuple[UUID, int], InFlight] = {}
        self._tickets = 0
        self._clock_offset_s = 0.0

    async def open(self) -> None:
        await self._runtime.open()
        await self._read_clock()
        lease_s = self._runtime.settings.lease_s
        self._runtime.every(lease_s / RENEWALS_PER_LEASE, self._renew, name="renew")
        self._runtime.every(5.0, self._read_clock, name="clock")

    async def drain(self) -> None:
        """Let calls end for a while; give the others back to the queue, uncounted."""
        until = time.monotonic() + self._runtime.settings.drain_s
        while self._tickets:
            if time.monotonic() >= until:
                for flight in self._in_flight.values():
                    flight.cut_off()
            await asyncio.sleep(0.02)

    async def close(self) -> None:
        for adapter in self._adapters.values():
            await adapter.close()
        await self._runtime.close()

    async def call(self, raw: object) -> None:
        """The task: one ticket of one or more jobs. Raises ValueError on a message that is not ours."""
        self._tickets += 1
        try:
            await self._call({ticket.job_id: ticket for ticket in decode(raw)})
        finally:
            self._tickets -= 1

    async def _call(self, tickets: Mapping[UUID, Ticket]) -> None:
        answers = await asyncio.gather(*map(self._claims.submit, tickets.values()), return_exceptions=True)
        claims = [answer for answer in answers if isinstance(answer, Claim)]
        errors = [answer for answer in answers if isinstance(answer, BaseException)]
        if errors:
            log.warning("claims failed; the janitor issues their tickets anew", count=len(errors), error=str(errors[0]))
        if stale := len(tickets) - len(claims) - len(errors):
            log.info("stale tickets were dropped", count=stale)
        for claim in claims:
            task = asyncio.create_task(self._one(claim, start_ms=tickets[claim.id].start_ms))
            self._in_flight[claim.id, claim.attempt] = InFlight(claim=claim, task=task)
        tasks = [self._in_flight[claim.id, claim.attempt].task for claim in claims]
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        for claim, end in zip(claims, ends, strict=True):
            if isinstance(end, Exception):
                log.error("a call could not be ended; its lease will expire", job=str(claim.id), exc_info=end)

    async def _one(self, claim: Claim, *, start_ms: int) -> None:
        """One call from claim to settlement. What the shutdown cuts off is given back; a lost call only settles."""
        flight = self._in_flight[claim.id, claim.attempt]
        flight.begun = True
        try:
            model = self._runtime.offer.catalog.by_id.get(claim.model_id)
            try:
                due_in_s = start_ms / 1000 - time.time() - self._clock_offset_s if start_ms else 0.0
                # A rate was reserved for another moment: used now, it could exceed the limit with what others use.
                too_late = model is not None and model.limits.has_rates and due_in_s < -LATE_S
                if flight.cut or too_late or due_in_s > FAR_S:
                    await self._end(claim, model, outcome=None)
                    return
                await asyncio.sleep(max(0.0, due_in_s))
                outcome = await self._ask(claim, model)
            except asyncio.CancelledError:
                if flight.cut:
                    await self._end(claim, model, outcome=None)
                elif model is not None:
                    await self._settlements.submit((model, _usage(claim, model, None, self._policy)))
                return
            await self._end(claim, model, outcome=outcome)
        finally:
            self._in_flight.pop((claim.id, claim.attempt), None)

    async def _ask(self, claim: Claim, model: Model | None) -> Outcome:
        if model is None:
            return ModelUnfit(code="model_removed", message=f"model {claim.model_id} is no longer in the catalog")
        left_s = math.inf if claim.left_s is None else max(claim.left_s, 0.001)
        timeout_s = min(model.timeout_s, left_s)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._adapters[model.provider].complete(
                    model, claim.body, key=self._runtime.offer.keys.get(model.id), attempt=claim.attempt
                )
        except TimeoutError:
            if left_s <= model.timeout_s:
                return OutOfTime()
            return Failed(code="timeout", message=f"no whole answer within {timeout_s:.3g} s")
        except Exception as error:  # an adapter's own fault must not lose the job
            log.exception("a provider adapter raised", model=model.id, error_type=type(error).__name__)
            return Failed(code="adapter_error", message=f"the adapter raised {type(error).__name__}")

    async def _end(self, claim: Claim, model: Model | None, *, outcome: Outcome | None) -> None:
        """Store the end of a call (`outcome` None: given back), then settle, then tell whom it concerns."""
        self._in_flight[claim.id, claim.attempt].ended = True
        finish = _returned(claim) if outcome is None else self._finish_of(claim, model, outcome)
        fate = await self._finishes.submit(finish)
        if fate is Fate.STALE:
            log.warning("a late finish was left aside", job=str(claim.id), attempt=claim.attempt)
        if model is not None:
            if isinstance(outcome, Throttled):
                await self._pause(model, outcome.retry_after_s)
            await self._settlements.submit((model, _usage(claim, model, outcome, self._policy)))
        if finish.state is JobState.DEAD and fate is not Fate.STALE:
            await self._send_dead_letter(claim)
        await self._runtime.ring()

    def _finish_of(self, claim: Claim, model: Model | None, outcome: Outcome) -> Finish:
        retries = self._runtime.offer.catalog.retries
        follows = after(outcome, tries=claim.tries, retries=retries, jitter=random.random())  # noqa: S311
        return _finish(claim, model, outcome, follows)

    async def _claim(self, tickets: Sequence[Ticket]) -> Sequence[Claim | None]:
        async with self._runtime.database.transaction() as session:
            claims = await calls.claim(
                session,
                [(ticket.job_id, ticket.epoch) for ticket in tickets],
                worker=self._runtime.name,
                lease_s=self._runtime.settings.lease_s,
            )
        # Each claim goes to one ticket: a doubled or stale one that came in the same group gets none.
        by_ticket = {(claim.id, claim.epoch): claim for claim in claims}
        return [by_ticket.pop((ticket.job_id, ticket.epoch), None) for ticket in tickets]

    async def _finish(self, finishes: Sequence[Finish]) -> Sequence[Fate]:
        """Write until the database takes it: an answer that was paid for is not thrown away because Postgres restarts."""
        while True:
            try:
                async with self._runtime.database.transaction() as session:
                    fates = await calls.finish(session, finishes)
                return [fates[each.id, each.attempt] for each in finishes]
            except UnavailableError as error:
                log.warning("finishes wait for the database", count=len(finishes), error=str(error))
                await asyncio.sleep(RETRY_WRITE_S)

    async def _settle(self, items: Sequence[tuple[Model, Usage]]) -> Sequence[None]:
        by_model: dict[str, tuple[Model, list[Usage]]] = {}
        for model, usage in items:
            by_model.setdefault(model.id, (model, []))[1].append(usage)
        for model, usages in by_model.values():
            try:
                with unavailable():
                    await self._runtime.limiter.settle(model, usages)
            except UnavailableError as error:
                log.warning("reservations are left to expire", model=model.id, count=len(usages), error=str(error))
        return [None] * len(items)

    async def _pause(self, model: Model, pause_s: float) -> None:
        try:
            with unavailable():
                await self._runtime.limiter.pause(model.id, pause_s=pause_s)
        except UnavailableError as error:
            log.warning("the model could not be paused", model=model.id, error=str(error))

    async def _send_dead_letter(self, claim: Claim) -> None:
        message = Message(
            queue=dead_letter_queue(claim.model_id),
            task=DEAD_LETTER_TASK,
            tickets=[Ticket(job_id=claim.id, epoch=claim.epoch, attempt=claim.attempt)],
        )
        try:
            await self._runtime.publisher.publish([message])
        except UnavailableError as error:
            log.warning("a dead letter's ticket may be lost; the janitor sends it anew", error=str(error))

    async def _renew(self) -> None:
        """Prolong the leases of all calls in flight; stop those that are no longer ours."""
        flights = {call: flight for call, flight in self._in_flight.items() if not flight.cut}
        if not flights:
            return
        lease_s = self._runtime.settings.lease_s
        async with self._runtime.database.transaction() as session:
            held = await calls.renew(session, flights.keys(), lease_s=lease_s)
        by_model: dict[str, list[str]] = {}
        for (job_id, attempt), flight in flights.items():
            if (job_id, attempt) in held:
                name = reservation(job_id.hex, flight.claim.epoch)
                by_model.setdefault(flight.claim.model_id, []).append(name)
            elif not flight.ended:
                flight.task.cancel()
        with unavailable():
            for model_id, reservations in by_model.items():
                await self._runtime.limiter.renew(model_id, reservations, lease_s=lease_s)

    async def _read_clock(self) -> None:
        """Start times are in Redis time; this machine's clock may differ."""
        with unavailable():
            self._clock_offset_s = await self._runtime.limiter.now_s() - time.time()


def _returned(claim: Claim) -> Finish:
    return Finish(id=claim.id, attempt=claim.attempt, state=JobState.QUEUED, outcome="returned")


def _finish(claim: Claim, model: Model | None, outcome: Outcome, follows: Next) -> Finish:
    match follows:
        case Succeed():
            finish = Finish(id=claim.id, attempt=claim.attempt, state=JobState.SUCCEEDED, outcome="answered")
        case RetryLater(delay_s=delay_s, counted=counted):
            finish = Finish(
                id=claim.id,
                attempt=claim.attempt,
                state=JobState.RETRY_WAIT,
                outcome="failed" if counted else "throttled",
                delay_s=delay_s,
                counted=counted,
            )
        case DeadLetter():
            finish = Finish(id=claim.id, attempt=claim.attempt, state=JobState.DEAD, outcome="failed", counted=True)
        case Fail():
            finish = Finish(id=claim.id, attempt=claim.attempt, state=JobState.FAILED, outcome="refused", counted=True)
        case _:
            assert_never(follows)
    if isinstance(outcome, Answered):
        return replace(
            finish,
            status_code=200,
            body=outcome.body,
            tokens_in=outcome.tokens_in,
            tokens_out=outcome.tokens_out,
            cost_usd=model.cost_usd(tokens_in=outcome.tokens_in, tokens_out=outcome.tokens_out) if model else None,
        )
    return replace(
        finish,
        status_code=outcome.status_code,
        error_code=outcome.code,
        error_message=outcome.message,
        body=outcome.body if isinstance(outcome, Refused) else None,
    )


def _usage(claim: Claim, model: Model, outcome: Outcome | None, policy: RoutingPolicy) -> Usage:
    """What the call used. Where the provider did not say, what was reserved: it may have been charged."""
    need = Need(
        reservation=reservation(claim.id.hex, claim.epoch),
        tokens_in=claim.tokens_in,
        tokens_out=expected_tokens_out(claim.tokens_out, model, policy),
    )
    if isinstance(outcome, Answered):
        return Usage(need=need, requests=1, tokens_in=outcome.tokens_in, tokens_out=outcome.tokens_out)
    return Usage(need=need, requests=1, tokens_in=need.tokens_in, tokens_out=need.tokens_out)
