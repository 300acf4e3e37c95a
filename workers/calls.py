"""Makes calls and stores how they ended: claim, ask, finish, dead letter.

Reads and writes are grouped; each call stays one job's.
"""

from __future__ import annotations

import asyncio
import math
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, assert_never

from router_service.catalog.models import ErrorKind
from router_service.catalog.policies import BUILT_IN
from router_service.errors import UnavailableError
from router_service.failpoints import failpoint
from router_service.jobs.preferences import NONE
from router_service.jobs.spec import JobSpec, RoutableJob
from router_service.jobs.states import JobState
from router_service.policy.after import DeadLetter, Fail, Next, RetryLater, Succeed, after
from router_service.policy.outcomes import Answered, Failed, ModelUnfit, Outcome, OutOfTime, Refused, Throttled
from router_service.routing.constraints import forbidden
from router_service.routing.insight import UNREAD
from router_service.routing.question import Question
from router_service.store import calls
from router_service.store.calls import Claim, Fate, Finish
from router_service.telemetry.logs import logger
from router_service.tickets import DEAD_LETTER_TASK, Message, Ticket, dead_letter_queue
from workers.batcher import Batcher

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_service.catalog.models import Model
    from router_service.routing.constraints import Rejection
    from workers.providers.base import Adapter
    from workers.runtime import Runtime

log = logger(__name__)
RETRY_WRITE_S = 0.5
TIMEOUT_CODE = "timeout"


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """A finish, and when on the loop's clock its call was made (None: it was not) and ended."""

    finish: Finish
    began: float | None
    ended: float


class Calls:
    """The part of a provider worker that talks to providers and to the store."""

    def __init__(self, runtime: Runtime, adapters: Mapping[str, Adapter]) -> None:
        self._runtime = runtime
        self._adapters = adapters
        self._claims: Batcher[Ticket, Claim | None] = Batcher(self._claim)
        self._ends: Batcher[End, Fate] = Batcher(self._finish)

    async def close(self) -> None:
        for adapter in self._adapters.values():
            await adapter.close()

    async def claim(self, tickets: Sequence[Ticket]) -> list[Claim | None]:
        """ROUTED -> RUNNING. None for a ticket that was stale, or could not be claimed: the janitor issues that one anew."""
        answers = await asyncio.gather(*map(self._claims.submit, tickets), return_exceptions=True)
        errors = [answer for answer in answers if isinstance(answer, BaseException)]
        if errors:
            log.warning("claims failed; the janitor issues their tickets anew", count=len(errors), error=str(errors[0]))
        return [None if isinstance(answer, BaseException) else answer for answer in answers]

    async def ask(self, claim: Claim, model: Model | None, *, left_s: float) -> Outcome:
        """One call, bounded by the model's timeout and by the time that the job has left."""
        if model is None:
            return ModelUnfit(code="model_removed", message=f"model {claim.model_id} is no longer in the catalog")
        if (out := _forbidden(claim, model)) is not None:
            return ModelUnfit(
                code=out.reason, message=f"{model.id} may not do this job any more: {out.reason} ({out.bound})"
            )
        timeout_s = min(model.timeout_s, left_s)
        try:
            async with asyncio.timeout(timeout_s):
                return await self._adapters[model.provider].complete(
                    model, claim.body, key=self._runtime.offer.keys.get(model.id), attempt=claim.attempt
                )
        except TimeoutError:
            if left_s <= model.timeout_s:
                return OutOfTime()
            message = f"no whole answer within {timeout_s:.3g} s"
            return Failed(code=TIMEOUT_CODE, message=message, kind=ErrorKind.TIMEOUT)
        except Exception as error:  # an adapter's own fault must not lose the job
            log.exception("a provider adapter raised", model=model.id, error_type=type(error).__name__)
            return Failed(code="adapter_error", message=f"the adapter raised {type(error).__name__}")

    async def end(
        self,
        claim: Claim,
        model: Model | None,
        outcome: Outcome,
        *,
        began: float,
        ended: float,
        left_s: float = math.inf,
    ) -> Fate:
        """Store what came of a call; its result, its retry or its dead letter. `left_s`: until the job's deadline."""
        catalog = self._runtime.offer.catalog
        follows = after(
            outcome,
            tries=claim.tries,
            retries=catalog.retries,
            jitter=random.random(),  # noqa: S311
            past_refusal=model is not None and catalog.may_pass_refusal(model),
            left_s=left_s,
        )
        finish = _finish(claim, model, outcome, follows)
        fate = await self._ends.submit(End(finish=finish, began=began, ended=ended))
        if fate is Fate.STALE:
            log.warning("a late finish was left aside", job=str(claim.id), attempt=claim.attempt)
        elif finish.state is JobState.DEAD:
            await self._send_dead_letter(claim)
        return fate

    async def give_back(self, claim: Claim, *, began: float | None) -> None:
        """RUNNING -> QUEUED, uncounted: the call was not made (`began` None), or nobody waits for its end any more."""
        finish = Finish(
            id=claim.id,
            attempt=claim.attempt,
            state=JobState.QUEUED,
            outcome="uncalled" if began is None else "returned",
        )
        await self._ends.submit(End(finish=finish, began=began, ended=asyncio.get_running_loop().time()))
        failpoint("provider.after_return_commit")

    async def _claim(self, tickets: Sequence[Ticket]) -> Sequence[Claim | None]:
        failpoint("provider.before_claim")
        async with self._runtime.database.transaction() as session:
            claims = await calls.claim(
                session,
                [(ticket.job_id, ticket.epoch) for ticket in tickets],
                worker=self._runtime.name,
                lease_s=self._runtime.settings.lease_s,
            )
        failpoint("provider.after_claim")
        # Each claim goes to one ticket: a doubled or stale one that came in the same group gets none.
        by_ticket = {(claim.id, claim.epoch): claim for claim in claims}
        return [by_ticket.pop((ticket.job_id, ticket.epoch), None) for ticket in tickets]

    async def _finish(self, ends: Sequence[End]) -> Sequence[Fate]:
        """Write until the database takes it: an answer that was paid for is not thrown away because Postgres restarts."""
        while True:
            now = asyncio.get_running_loop().time()
            finishes = [
                replace(
                    end.finish,
                    began_ago_s=None if end.began is None else now - end.began,
                    ended_ago_s=now - end.ended,
                )
                for end in ends
            ]
            try:
                async with self._runtime.database.transaction() as session:
                    fates = await calls.finish(session, finishes)
                    failpoint("provider.before_finish_commit")
                    if any(each.state is JobState.QUEUED for each in finishes):
                        failpoint("provider.before_return_commit")
                failpoint("provider.after_finish_commit")
                return [fates[each.id, each.attempt] for each in finishes]
            except UnavailableError as error:
                log.warning("finishes wait for the database", count=len(finishes), error=str(error))
                await asyncio.sleep(RETRY_WRITE_S)

    async def _send_dead_letter(self, claim: Claim) -> None:
        failpoint("provider.before_dead_letter")
        message = Message(
            queue=dead_letter_queue(claim.model_id),
            task=DEAD_LETTER_TASK,
            tickets=[Ticket(job_id=claim.id, epoch=claim.epoch, attempt=claim.attempt)],
        )
        try:
            await self._runtime.publisher.publish([message])
        except UnavailableError as error:
            log.warning("a dead letter's ticket may be lost; the janitor sends it anew", error=str(error))


def left_s(claim: Claim, *, since: float, now: float) -> float:
    """How long the job has, where its claim was read `since`."""
    return math.inf if claim.left_s is None else max(claim.left_s - (now - since), 0.001)


def _forbidden(claim: Claim, model: Model) -> Rejection | None:
    """The catalog may have changed since the job was routed."""
    if claim.residency is None and claim.preferences == NONE:
        return None
    spec = JobSpec(
        model=claim.model_id, tokens_in=claim.tokens_in, residency=claim.residency, preferences=claim.preferences
    )
    job = RoutableJob(id=claim.id, epoch=claim.epoch, spec=spec, tenant_id=claim.tenant_id)
    return forbidden(Question.of(job, policy=BUILT_IN, insight=UNREAD), model)


def _finish(claim: Claim, model: Model | None, outcome: Outcome, follows: Next) -> Finish:
    match follows:
        case Succeed():
            finish = Finish(id=claim.id, attempt=claim.attempt, state=JobState.SUCCEEDED, outcome="answered")
        case RetryLater(delay_s=delay_s, counted=counted):
            finish = Finish(
                id=claim.id,
                attempt=claim.attempt,
                state=JobState.RETRY_WAIT,
                outcome="failed" if counted else "throttled" if isinstance(outcome, Throttled) else "returned",
                delay_s=delay_s,
                counted=counted,
            )
        case DeadLetter(kind=kind):
            finish = Finish(
                id=claim.id, attempt=claim.attempt, state=JobState.DEAD, outcome="failed", counted=True, fallback=kind
            )
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
            cost_usd=_cost_usd(model, outcome),
        )
    return replace(
        finish,
        status_code=outcome.status_code,
        error_code=outcome.code,
        error_message=outcome.message,
        body=outcome.body if isinstance(outcome, Refused) else None,
    )


def _cost_usd(model: Model | None, answer: Answered) -> float | None:
    """None where a price or a count is not known."""
    if model is None or answer.tokens_in is None or answer.tokens_out is None:
        return None
    return model.cost_usd(tokens_in=answer.tokens_in, tokens_out=answer.tokens_out)
