"""After Redis lost its state: the live counters are rebuilt from the rows, and only then may anything be placed or reserved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_service.capacity.limiter import DAY_S, WINDOW_S, Call, Started, reservation
from router_service.capacity.scopes import PER_DAY, RATES, names, scopes_of
from router_service.failpoints import failpoint
from router_service.store import sweeps
from router_service.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from router_service.catalog.models import Catalog
    from router_service.store.sweeps import GivenOfLate, RunningLease
    from workers.runtime import Runtime

log = logger(__name__)
GRAIN_S = 1.0
DAY_GRAIN_S = 60.0
PER_MINUTE = tuple(rate for rate in RATES if rate not in PER_DAY)


async def mend_counters(runtime: Runtime) -> bool:
    """Rebuild and open the gate, unless it is open. Whether this very process did it.

    The order matters. No ticket is left in a broker that lost its state, so every routed job is queued again: tickets are stale
    before new ones can be made. A worker claims before it reserves, so every call that was granted capacity by the lost
    counters is a RUNNING row when those are read.
    """
    if await runtime.limiter.is_open():
        return False
    await runtime.limiter.shut()
    catalog = runtime.offer.catalog
    async with runtime.database.transaction() as session:
        requeued = await sweeps.unticketed(session)
    failpoint("janitor.counters")
    async with runtime.database.transaction() as session:
        running = await sweeps.running_leases(session)
        minute = await sweeps.given_of_late(session, within_s=WINDOW_S, grain_s=GRAIN_S)
        day: Sequence[GivenOfLate] = ()
        if has_day_limits(catalog):
            day = await sweeps.given_of_late(session, within_s=DAY_S, grain_s=DAY_GRAIN_S)
    calls = [_call(each, catalog, lease_s=runtime.settings.lease_s) for each in running]
    started = [*_started(minute, catalog, PER_MINUTE), *_started(day, catalog, tuple(PER_DAY))]
    first = await runtime.limiter.rebuild(calls, started)
    log.warning("live counters rebuilt", requeued=requeued, in_flight=len(calls), first=first)
    await runtime.ring()
    return first


def has_day_limits(catalog: Catalog) -> bool:
    """Whether anything on offer is limited by the day."""
    caps = [*catalog.groups.values(), *(tenant.caps for tenant in catalog.tenants.values())]
    return any(model.limits.rpd or model.limits.tpd for model in catalog.models) or any(
        each.rpd or each.tpd for each in caps
    )


def _call(lease: RunningLease, catalog: Catalog, *, lease_s: float) -> Call:
    model = catalog.by_id.get(lease.model_id)
    scopes = [f"model:{lease.model_id}"]
    if model is not None:
        scopes = names(
            scopes_of(
                model,
                catalog=catalog,
                tenant_id=lease.tenant_id,
                batch_id=lease.batch_id,
                batch_slots=lease.batch_slots,
            )
        )
    return Call(
        reservation=reservation(lease.job_id.hex, lease.epoch), scopes=tuple(scopes), left_s=lease.left_s + lease_s
    )


def _started(given: Sequence[GivenOfLate], catalog: Catalog, rates: Sequence[str]) -> Iterator[Started]:
    for each in given:
        model = catalog.by_id.get(each.model_id)
        if model is None:
            continue
        for scope in scopes_of(model, catalog=catalog, tenant_id=each.tenant_id):
            limited = tuple(rate for rate in rates if rate in scope.rates)
            if limited:
                yield Started(
                    scope=scope,
                    rates=limited,
                    ago_s=each.ago_s,
                    requests=each.requests,
                    tokens_in=each.tokens_in,
                    tokens_out=each.tokens_out,
                )
