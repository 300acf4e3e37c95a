"""What is known of jobs beyond their sizes: each request is read once, in bulk, off the API's path, and what it said is kept."""

from __future__ import annotations

import asyncio
import json
import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from router_service.jobs.spec import AUTO
from router_service.prediction import Predictor
from router_service.routing.calibration import FEWEST_JOBS, curve_of
from router_service.routing.insight import NOTHING, UNREAD, Insight
from router_service.routing.knowledge import Knowledge, basis_of, leaves_choice, offers_of
from router_service.routing.reading import must_read, shadow_of
from router_service.signals.encoded import without_encoded
from router_service.signals.extract import DEFAULT, extract, failures
from router_service.signals.hints import PREFIX
from router_service.signals.plugins import load_extractors
from router_service.signals.predicted import Prophet
from router_service.signals.request import Request
from router_service.store import decisions, learned, plans
from router_service.store.decisions import Unread
from router_service.telemetry.logs import logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from uuid import UUID

    from router_service.catalog.models import Catalog
    from router_service.catalog.policies import RoutingPolicy
    from router_service.jobs.spec import RoutableJob
    from router_service.routing.calibration import Curve, Offer
    from router_service.routing.knowledge import Basis
    from router_service.routing.prices import Prices
    from router_service.settings import Settings
    from router_service.signals.extract import Extractor
    from router_service.signals.signals import Signals
    from router_service.store.session import Session

log = logger(__name__)
PAGE_BYTES = 1_000_000  # of requests that are in memory at once; a larger one is alone
KNOWN_FOR_S = 5.0  # what was learned is looked up so often
MOST_PLANS = 1000  # whose prices are remembered


class Insights:
    """One for each process that routes. `extractors`: what reads requests, loaded once."""

    def __init__(self, extractors: Sequence[Extractor] = DEFAULT) -> None:
        self._extractors = tuple(extractors)
        self._knowledge = Knowledge()
        self._first = FirstCurves()
        self._prices: dict[str, Prices] = {}
        self._catalog = ""
        self._looked_at = -math.inf
        self._tenants: set[str] = set()  # whose verdicts were looked up since

    async def of(
        self,
        session: Session,
        jobs: Sequence[RoutableJob],
        *,
        catalog: Catalog,
        planning: bool = False,
        patience_s: float = math.inf,
    ) -> dict[UUID, Insight]:
        """For each job that has to be read what is known of it; in the caller's transaction. The others are left out.

        `planning`: for a plan that is to be made, read what one needs. `patience_s`: no page of requests but
        the first is begun after so long; the insights of what was not read say so, and the next call goes on.
        """

        def is_planned(job: RoutableJob) -> bool:
            is_asked = job.spec.model == AUTO and (planning or job.plan is not None)
            return is_asked and catalog.policy_of(job).plan is not False

        def is_wanted(job: RoutableJob) -> bool:
            policy = catalog.policy_of(job)
            return must_read(job.spec, policy=policy, catalog=catalog, planned=is_planned(job))

        wanted = [job for job in jobs if is_wanted(job)]
        priced = {job.id: job.plan for job in jobs if job.plan is not None and is_planned(job)}
        if not wanted and not priced:
            return {}
        await self._learn(session, wanted, catalog)
        signals = await self._signals(session, wanted, patience_s=patience_s) if wanted else {}
        known = self._known([job for job in wanted if job.id in signals], signals, catalog)
        known |= {job.id: UNREAD for job in wanted if job.id not in signals}
        return known | await self._priced(session, priced, known)

    async def beside(
        self, session: Session, jobs: Sequence[RoutableJob], *, catalog: Catalog, patience_s: float = math.inf
    ) -> dict[UUID, Insight]:
        """What the shadow policy has to know of the jobs that it decides on, and for which it has to have them read; as `of`.

        Apart from that: what only the shadow looks at must not change what the policy in force decides.
        """
        looked_at = [(job, policy) for job in jobs if (policy := shadow_of(job, catalog)) is not None]
        wanted = [(job, policy) for job, policy in looked_at if must_read(job.spec, policy=policy, catalog=catalog)]
        if not wanted:
            return {}
        jobs = [job for job, _policy in wanted]
        await self._learn(session, jobs, catalog)
        signals = await self._signals(session, jobs, patience_s=patience_s)
        known = {job.id: UNREAD for job, _policy in wanted}
        for job, policy in wanted:
            if (said := signals.get(job.id)) is not None:
                insight = self._knowledge.insight(job, said, catalog, policy=policy)
                known[job.id] = replace(insight, worth=self._knowledge.worth_of(job, policy, said))
        return known

    async def look_again(self, session: Session, job_ids: Sequence[UUID]) -> None:
        """Have jobs that no model may do read anew where other extractors have read them: a new one may know what was missing."""
        versions = {each.name: each.version for each in self._extractors}
        await decisions.forget_signals(session, job_ids, versions=versions)

    async def read(
        self, session: Session, jobs: Sequence[RoutableJob], bodies: Sequence[str], *, catalog: Catalog
    ) -> dict[UUID, Insight]:
        """What `of` would say of requests that are not stored as jobs; nothing of them is kept."""
        await self._learn(session, jobs, catalog)
        by_id = {job.id: job for job in jobs}
        body_of = {job.id: body for job, body in zip(jobs, bodies, strict=True)}
        signals: dict[UUID, Signals] = {}
        for page in _pages([Unread(job_id, len(body)) for job_id, body in body_of.items()]):
            some = {job_id: body_of[job_id] for job_id in page}
            signals |= await asyncio.to_thread(self._read, some, by_id)
        return self._known(jobs, signals, catalog)

    async def _priced(
        self, session: Session, plan_of: Mapping[UUID, str], known: Mapping[UUID, Insight]
    ) -> dict[UUID, Insight]:
        """With the prices of the plans for their batches."""
        if len(self._prices) > MOST_PLANS:
            self._prices.clear()
        self._prices |= await plans.prices(session, set(plan_of.values()) - self._prices.keys())
        return {
            job_id: replace(known.get(job_id, NOTHING), prices=self._prices.get(plan))
            for job_id, plan in plan_of.items()
        }

    def _known(
        self, jobs: Sequence[RoutableJob], signals: Mapping[UUID, Signals], catalog: Catalog
    ) -> dict[UUID, Insight]:
        known = {
            job.id: self._knowledge.insight(job, signals.get(job.id), catalog, policy=catalog.policy_of(job))
            for job in jobs
        }
        ours = [job for job in jobs if leaves_choice(job.spec)]
        unmeasured = [job for job in ours if self._is_unmeasured(catalog.policy_of(job), known[job.id])]
        if unmeasured:
            self._first.add(unmeasured, known, catalog)
            self._knowledge = replace(self._knowledge, curves={**self._first.curves, **self._knowledge.curves})
        return {
            job.id: replace(insight, worth=self._knowledge.worth_of(job, catalog.policy_of(job), insight.signals))
            for job in jobs
            for insight in (known[job.id],)
        }

    def _is_unmeasured(self, policy: RoutingPolicy, insight: Insight) -> bool:
        return policy.has_target and basis_of(policy, insight.signals) not in self._knowledge.curves

    async def _learn(self, session: Session, jobs: Sequence[RoutableJob], catalog: Catalog) -> None:
        """Look up what was learned, after a while or under another catalog; of verdicts those of the jobs' tenants."""
        tenants, before = {job.tenant_id for job in jobs}, self._knowledge.shifts
        is_other = self._catalog != catalog.hash
        if not is_other and time.monotonic() - self._looked_at < KNOWN_FOR_S:
            if new := tenants - self._tenants:
                shifts = await learned.moved(session, before=before, tenants=new)
                self._knowledge, self._tenants = replace(self._knowledge, shifts=shifts), self._tenants | new
            return
        if is_other:
            self._first = FirstCurves()
        known = await learned.knowledge(session, catalog, before=before, tenants=tenants)
        self._knowledge = replace(known, curves={**self._first.curves, **known.curves})
        self._catalog, self._looked_at, self._tenants = catalog.hash, time.monotonic(), tenants

    async def _signals(
        self, session: Session, wanted: Sequence[RoutableJob], *, patience_s: float
    ) -> dict[UUID, Signals]:
        known, unread = await decisions.load_signals(session, [job.id for job in wanted])
        by_id = {job.id: job for job in wanted}
        until = time.monotonic() + patience_s
        for page in _pages(unread):
            bodies = await decisions.load_requests(session, page)
            read = await asyncio.to_thread(self._read, bodies, by_id)
            await decisions.store_signals(session, read)
            known |= read
            if time.monotonic() >= until:
                break
        return known

    def _read(self, bodies: dict[UUID, str], by_id: Mapping[UUID, RoutableJob]) -> dict[UUID, Signals]:
        """Takes the bodies out of the mapping one by one: none is there twice while it is parsed."""
        requests = {}
        while bodies:
            job_id, body = bodies.popitem()
            requests[job_id] = _request(body, by_id[job_id])
        signals = extract(list(requests.values()), extractors=self._extractors)
        for (extractor, error_type), count in failures(signals).items():
            log.warning("requests could not be read", extractor=extractor, error_type=error_type, count=count)
        return dict(zip(requests, signals, strict=True))


class FirstCurves:
    """What quality costs where no curve is stored yet, by the first jobs: thousands may be routed before the janitor looks."""

    def __init__(self) -> None:
        self.curves: dict[Basis, Curve] = {}
        self._cases: dict[Basis, list[Mapping[str, Offer]]] = {}

    def add(self, jobs: Sequence[RoutableJob], known: Mapping[UUID, Insight], catalog: Catalog) -> None:
        for job in jobs:
            basis = basis_of(catalog.policy_of(job), known[job.id].signals)
            if basis not in self.curves:
                self._cases.setdefault(basis, []).append(offers_of(job, known[job.id], catalog))
        for basis in [each for each, cases in self._cases.items() if len(cases) >= FEWEST_JOBS]:
            curve = curve_of(self._cases.pop(basis))
            if curve is not None:
                self.curves[basis] = curve


def open_insights(settings: Settings) -> Insights:
    """With plugins and the predictor. Raises SettingsError where one of them cannot be loaded."""
    prophet = Prophet()
    if settings.predictor is not None:
        own = Predictor.load(settings.predictor)
        prophet = Prophet(lambda: own)
    return Insights((*load_extractors(), prophet))


def _request(body: str, job: RoutableJob) -> Request:
    hints = {f"{PREFIX}{name}": str(value) for name, value in job.spec.preferences.hints.items()}
    parsed = json.loads(without_encoded(body))
    return Request.of(parsed, tokens_in=job.spec.tokens_in, features=job.spec.features, metadata=hints)


def _pages(unread: Iterable[Unread]) -> Iterator[list[UUID]]:
    """As many at a time as are no larger together than PAGE_BYTES, or one."""
    page: list[UUID] = []
    size = 0
    for each in unread:
        if page and size + each.body_bytes > PAGE_BYTES:
            yield page
            page, size = [], 0
        page.append(each.id)
        size += each.body_bytes
    if page:
        yield page
