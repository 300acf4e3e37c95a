"""After Redis lost its state: the live counters are rebuilt from the rows, and only then may anything be placed or reserved."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from router_service.capacity.limiter import DAY_S, WINDOW_S, Call, Started, reservation
from router_service.capacity.measures import Measures
from router_service.capacity.scopes import PER_DAY, RATES, account_scopes, names, scopes_of
from router_service.failpoints import failpoint
from router_service.jobs.spec import TYPICAL_TOKENS_OUT
from router_service.store import sweeps
from router_service.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from router_service.catalog.models import Catalog, Model
    from router_service.store.sweeps import GivenOfLate, HeldCall
    from workers.runtime import Runtime

log = logger(__name__)
GRAIN_S = 1.0
DAY_GRAIN_S = 60.0
PER_MINUTE = tuple(rate for rate in RATES if rate not in PER_DAY)


async def mend_counters(runtime: Runtime) -> bool:
    """Rebuild and open the gate, unless it is open. Whether this very process did it.

    The order matters. No ticket is left in a broker that lost its state, so every routed job is queued again: tickets are stale
    before new ones can be made. A worker claims before it reserves, so every call that was granted capacity by the lost
    counters is a RUNNING row when those are read. `loss` names what was lost: were it lost again meanwhile, what was read
    would be too old.
    """
    if await runtime.limiter.is_open():
        return False
    loss = await runtime.limiter.shut()
    catalog, lease_s = runtime.offer.catalog, runtime.settings.lease_s
    async with runtime.database.transaction() as session:
        requeued = await sweeps.unticketed(session)
    failpoint("janitor.counters")
    async with runtime.database.transaction() as session:
        held = await sweeps.held_calls(session, lease_s=lease_s)
        minute = await sweeps.given_of_late(session, within_s=WINDOW_S, grain_s=GRAIN_S)
        day: Sequence[GivenOfLate] = ()
        if has_day_limits(catalog):
            day = await sweeps.given_of_late(session, within_s=DAY_S, grain_s=DAY_GRAIN_S)
        throttled = await sweeps.throttled_models(session)
    calls = [_call(each, catalog) for each in held]
    measures = _measures([*day, *minute])
    started = [
        *_started(minute, catalog, measures, PER_MINUTE),
        *_started(day, catalog, measures, tuple(PER_DAY)),
    ]
    first = await runtime.limiter.rebuild(
        calls, started, pauses=_pauses(throttled, catalog), measures=_for_workers(measures, catalog), loss=loss
    )
    log.warning("live counters rebuilt", requeued=requeued, in_flight=len(calls), first=first)
    await runtime.ring()
    return first


def has_day_limits(catalog: Catalog) -> bool:
    """Whether anything on offer is limited by the day."""
    caps = [*catalog.groups.values(), *(tenant.caps for tenant in catalog.tenants.values())]
    return any(model.limits.rpd or model.limits.tpd for model in catalog.models) or any(
        each.rpd or each.tpd for each in caps
    )


def _call(held: HeldCall, catalog: Catalog) -> Call:
    model = catalog.by_id.get(held.model_id)
    scopes = [f"model:{held.model_id}"]
    if model is not None:
        scopes = names(
            scopes_of(
                model,
                catalog=catalog,
                tenant_id=held.tenant_id,
                batch_id=held.batch_id,
                batch_slots=held.batch_slots,
            )
        )
    return Call(reservation=reservation(held.id.hex, held.epoch), scopes=tuple(scopes), left_s=held.left_s)


def _pauses(throttled: Mapping[str, float], catalog: Catalog) -> Iterator[tuple[str, float]]:
    for model_id, left_s in throttled.items():
        if model_id in catalog.by_id:
            yield from ((name, left_s) for name in account_scopes(catalog.by_id[model_id]))


def _measures(given: Sequence[GivenOfLate]) -> dict[str, Measures]:
    """What the lost measures of each model's calls would say."""
    by_model: dict[str, list[GivenOfLate]] = {}
    for each in given:
        if each.told:
            by_model.setdefault(each.model_id, []).append(each)
    return {model_id: _mean(calls) for model_id, calls in by_model.items()}


def _for_workers(measures: Mapping[str, Measures], catalog: Catalog) -> dict[str, Measures]:
    """Where workers count prompts, what was counted is not in the rows: nothing is to be corrected until it is known again."""
    counted = {model.id for model in catalog.models if model.tokenizer is not None}
    return {
        model_id: replace(each, estimated_in=each.real_in) if model_id in counted else each
        for model_id, each in measures.items()
    }


def _mean(calls: Sequence[GivenOfLate]) -> Measures:
    told = sum(each.told for each in calls)
    return Measures(
        estimated_in=sum(each.estimated_in for each in calls) / told,
        real_in=sum(each.tokens_in for each in calls) / told,
        real_out=sum(each.tokens_out for each in calls) / told,
    )


def _started(
    given: Sequence[GivenOfLate],
    catalog: Catalog,
    measures: Mapping[str, Measures],
    rates: Sequence[str],
) -> Iterator[Started]:
    for each in given:
        model = catalog.by_id.get(each.model_id)
        if model is None:
            continue
        tokens_in, tokens_out = _tokens(each, model, measures.get(model.id, Measures()))
        for scope in scopes_of(model, catalog=catalog, tenant_id=each.tenant_id):
            limited = tuple(rate for rate in rates if rate in scope.rates)
            if limited:
                yield Started(
                    scope=scope,
                    rates=limited,
                    ago_s=each.ago_s,
                    requests=each.requests,
                    tokens_in=tokens_in,
                    tokens_out=tokens_out,
                )


def _tokens(given: GivenOfLate, model: Model, measures: Measures) -> tuple[int, int]:
    """Tokens in and out; where the provider told none, as many as a worker reserves."""
    unlimited_out = measures.tokens_out(None, typical=TYPICAL_TOKENS_OUT, most=model.max_output_tokens)
    return (
        given.tokens_in + (measures.tokens_in(given.untold_in) if given.untold_in else 0),
        given.tokens_out + given.untold_out + given.unlimited * unlimited_out,
    )
