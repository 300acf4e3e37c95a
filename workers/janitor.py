"""The janitor: mends what a crash leaves behind, wakes what is due, ends batches, has them planned. Two of them do no harm."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

from router_service.capacity.tallies import Tally
from router_service.failpoints import failpoint
from router_service.jobs.ids import RANDOM_BYTES, new_id
from router_service.jobs.states import JobState
from router_service.routing.knowledge import measured
from router_service.store import batches, learned, sweeps
from router_service.telemetry.logs import logger
from router_service.tickets import DEAD_LETTER_TASK, Message, Ticket, dead_letter_queue
from workers import mending

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from router_service.store.jobs import Moved
    from workers.planner import Planner
    from workers.runtime import Runtime

log = logger(__name__)
LOST_LETTER_S = 10.0
BATCH_SWEEP_S = 0.2
RETRY_SWEEP_S = 0.2
FILE_SWEEP_S = 60.0
CALIBRATION_S = 15.0
PLAN_SWEEP_S = 0.5
QUOTE_SWEEP_S = 0.25
MOST_OFFERS = 1000


class Janitor:
    """Each sweep is its own loop, so that one that waits for a dependency does not hold up the others."""

    def __init__(self, runtime: Runtime, planner: Planner) -> None:
        self._runtime = runtime
        self._planner = planner
        self._calibrated_at: datetime | None = None

    async def open(self) -> None:
        await self._runtime.open()
        tick_s = self._runtime.settings.tick_s
        for interval_s, step in (
            (tick_s, self.mend_counters),
            (tick_s, self.take_over_leases),
            (tick_s, self.reissue_tickets),
            (RETRY_SWEEP_S, self.queue_due_retries),
            (LOST_LETTER_S / 2, self.resend_dead_letters),
            (tick_s, self.expire),
            (tick_s, self.cancel),
            (BATCH_SWEEP_S, self.end_batches),
            (FILE_SWEEP_S, self.delete_files),
            (CALIBRATION_S, self.calibrate),
            (PLAN_SWEEP_S, self._planner.plan_batches),
            (QUOTE_SWEEP_S, self._planner.answer_quotes),
            (FILE_SWEEP_S, self._planner.forget_quotes),
        ):
            self._runtime.every(interval_s, step, name=step.__name__)

    async def drain(self) -> None:
        """Sweeps are short; what is cut off rolls back."""

    async def close(self) -> None:
        await self._runtime.close()

    async def mend_counters(self) -> None:
        """After Redis lost its state."""
        if await mending.mend_counters(self._runtime):
            self._runtime.tallies.add(Tally.RECOVERED, what="counters")

    async def take_over_leases(self) -> None:
        async with self._runtime.database.transaction() as session:
            moved = await sweeps.expired_leases(session, lease_s=self._runtime.settings.lease_s)
            if moved:
                failpoint("janitor.leases.before_commit")
        if not moved:
            return
        failpoint("janitor.leases")
        log.warning("calls taken over from silent workers", count=len(moved))
        self._count_taken_over(moved)
        await self._send_dead_letters([each for each in moved if each.left is JobState.DEAD])

    async def reissue_tickets(self) -> None:
        async with self._runtime.database.transaction() as session:
            moved = await sweeps.stale_routed(session, stale_s=self._runtime.settings.routed_stale_s)
            if moved:
                failpoint("janitor.routed.before_commit")
        if moved:
            failpoint("janitor.routed")
            log.warning("jobs queued again whose tickets were not taken", count=len(moved))
            self._runtime.tallies.add(Tally.RECOVERED, len(moved), what="routed")
            await self._runtime.ring()

    async def queue_due_retries(self) -> None:
        async with self._runtime.database.transaction() as session:
            due = await sweeps.due_retries(session)
        if due:
            failpoint("janitor.retries")
            await self._runtime.ring()

    async def resend_dead_letters(self) -> None:
        async with self._runtime.database.transaction() as session:
            lost = await sweeps.lost_dead_letters(session, stale_s=LOST_LETTER_S)
        if lost:
            failpoint("janitor.letters")
            log.warning("dead letters sent again", count=len(lost))
            self._runtime.tallies.add(Tally.RECOVERED, len(lost), what="dead_letter")
            await self._send_dead_letters(lost)

    async def expire(self) -> None:
        while True:
            async with self._runtime.database.transaction() as session:
                moved = await sweeps.passed_deadlines(session)
            if moved:
                failpoint("janitor.deadlines")
                log.info("jobs expired", count=len(moved))
            if len(moved) < sweeps.MOST:
                return

    async def cancel(self) -> None:
        async with self._runtime.database.transaction() as session:
            moved = await sweeps.cancel_batches(session)
        if moved:
            failpoint("janitor.cancelling")

    async def end_batches(self) -> None:
        while True:
            async with self._runtime.database.transaction(snapshot=True) as session:
                ended = await batches.end_one(session, new_id=_new_id)
            if ended is None:
                return
            failpoint("janitor.batches")
            log.info("batch ended", batch=str(ended))

    async def delete_files(self) -> None:
        async with self._runtime.database.transaction() as session:
            deleted = await sweeps.expired_files(session)
        if deleted:
            log.info("files deleted whose time was over", count=deleted)

    async def calibrate(self) -> None:
        """Measure on the latest decisions what quality costs, for each policy of the catalog that has a target."""
        catalog = self._runtime.offer.catalog
        aimed = {each.hash for each in catalog.all_policies if each.has_target}
        named = {each.hash for each in catalog.policies.values()}
        async with self._runtime.database.transaction() as session:
            newest = await learned.newest_decision(session)
            if newest == self._calibrated_at:
                return
            choices = await learned.recent_offers(session, most=MOST_OFFERS)
        used = {each.basis.policy for each in choices}
        found = await asyncio.to_thread(measured, choices, aimed & (named | used), catalog=catalog.hash)
        async with self._runtime.database.transaction() as session:
            for basis, each in found.items():
                await learned.store_curve(session, basis, each)
        self._calibrated_at = newest

    def _count_taken_over(self, moved: Sequence[Moved]) -> None:
        """What will be called again may have been called, and is then paid for twice."""
        tallies = self._runtime.tallies
        tallies.add(Tally.RECOVERED, len(moved), what="lease")
        for each in moved:
            if each.left is JobState.RETRY_WAIT and each.model_id is not None:
                tallies.add(Tally.DUPLICATE_CALLS, model=each.model_id)

    async def _send_dead_letters(self, dead: Sequence[Moved]) -> None:
        """Each to its model's queue. Nobody need consume that of a model that left the catalog: those go to another one's."""
        catalog = self._runtime.offer.catalog
        messages = [
            Message(
                queue=dead_letter_queue(
                    each.model_id if each.model_id and each.model_id in catalog.by_id else catalog.models[0].id
                ),
                task=DEAD_LETTER_TASK,
                tickets=[Ticket(job_id=each.id, epoch=each.epoch)],
            )
            for each in dead
        ]
        if messages:
            await self._runtime.publisher.publish(messages)


def _new_id() -> UUID:
    return new_id(now_ms=time.time_ns() // 1_000_000, random=os.urandom(RANDOM_BYTES))
