"""What routing has learned so far, and what it tells of one job."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from router_service.jobs.spec import AUTO
from router_service.routing.calibration import DEFAULT_TARGET, DRAW, FEWEST_JOBS, Offer, curve_of
from router_service.routing.constraints import rejection
from router_service.routing.estimates import estimates_of
from router_service.routing.insight import Insight
from router_service.routing.question import Question
from router_service.routing.ranks import place_of, ranks_of
from router_service.routing.strategies import share_of
from router_service.signals.predicted import predictor_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from router_service.catalog.models import Catalog
    from router_service.catalog.policies import RoutingPolicy
    from router_service.jobs.spec import JobSpec, RoutableJob
    from router_service.routing.calibration import Curve
    from router_service.routing.estimates import Cell, Shift
    from router_service.routing.insight import Worth
    from router_service.signals.signals import Signals


class Basis(NamedTuple):
    """What a curve holds for: a policy, by its hash, on what one predictor expects; '' where none has read the jobs."""

    policy: str
    predictor: str


class Choice(NamedTuple):
    """What a decision had to choose from, by model id, and what it was taken under."""

    basis: Basis
    catalog: str
    offers: Mapping[str, Offer]


class Measured(NamedTuple):
    """A curve, and the hash of the catalog whose decisions it was measured on; '' where those of others are among them."""

    curve: Curve
    catalog: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge:
    """`curves`: the price of quality as measured, `older`: under other catalogs; `prior`: before anything was.

    `shifts`: what verdicts move expectations by.
    """

    curves: Mapping[Basis, Curve] = field(default_factory=dict)
    older: Mapping[Basis, Curve] = field(default_factory=dict)
    prior: Curve | None = None
    shifts: Mapping[Cell, Shift] = field(default_factory=dict)

    def insight(self, job: RoutableJob, signals: Signals | None, catalog: Catalog, *, policy: RoutingPolicy) -> Insight:
        """What is known of a job for a decision under a policy, but for what a right answer to it is worth."""
        wishes = job.spec.preferences
        if not policy.learned:
            return Insight(signals=signals)
        estimates = estimates_of(
            signals,
            catalog.models,
            task=wishes.task or (signals.task if signals else None),
            domain=wishes.domain or (signals.domain if signals else None),
            tenant_id=job.tenant_id,
            shifts=self.shifts,
        )
        return Insight(signals=signals, estimates=estimates)

    def worth_of(self, job: RoutableJob, policy: RoutingPolicy, signals: Signals | None) -> Worth | None:
        """What a right answer is worth for a job: as calibrated, else by `prior`; None where nothing tells.

        None also where the policy states it, or has no use for it.
        """
        if not policy.has_target:
            return None
        basis = basis_of(policy, signals)
        curve = self.curves.get(basis) or self.older.get(basis, self.prior)
        return None if curve is None else curve.worth(target_of(job, policy), draw=share_of(job.id, DRAW))


def target_of(job: RoutableJob, policy: RoutingPolicy) -> float:
    """The mean quality wanted, as a share of the strongest model's: as the job says, else as the policy does."""
    return job.spec.preferences.quality_target or policy.quality_target or DEFAULT_TARGET


def basis_of(policy: RoutingPolicy, signals: Signals | None) -> Basis:
    return Basis(policy.hash, predictor_of(signals))


def leaves_choice(spec: JobSpec) -> bool:
    """Whether the request leaves it to the policy which model it gets: only such jobs tell what the policy's choices give."""
    return spec.model == AUTO and spec.preferences.sort is None


def offers_of(job: RoutableJob, insight: Insight, catalog: Catalog) -> dict[str, Offer]:
    """By id, the models that the job can choose from, whatever their state is now, and what is expected of them.

    Those of the first rank and place that have any which may do it.
    """
    asked = Question.of(job, policy=catalog.policy_of(job), insight=insight)
    ranks = ([model for model in rank if rejection(asked, model) is None] for rank in ranks_of(asked, catalog))
    models = next((rank for rank in ranks if rank), [])
    places = {model.id: place_of(asked, model, catalog) for model in models}
    offers: dict[str, Offer] = {}
    for model in models:
        cost_usd = model.cost_usd(tokens_in=job.spec.tokens_in, tokens_out=asked.tokens_out(model, None))
        quality = asked.quality(model)
        if cost_usd is not None and quality is not None and places[model.id] == min(places.values()):
            offers[model.id] = Offer(cost_usd, quality)
    return offers


def measured(choices: Sequence[Choice], policies: Iterable[str], *, catalog: str) -> dict[Basis, Measured]:
    """The price of quality of each policy on what each predictor expects, of those that enough was decided on.

    By what was decided under the policy and the catalog; where that is too little, also by what was under other catalogs, and
    then by what was under other policies.
    """
    found: dict[Basis, Measured] = {}
    for predictor in sorted({each.basis.predictor for each in choices}):
        every = [each for each in choices if each.basis.predictor == predictor]
        for policy in sorted(policies):
            own = [each for each in every if each.basis.policy == policy]
            here = [each for each in own if each.catalog == catalog]
            jobs = next((some for some in (here, own, every) if len(some) >= FEWEST_JOBS), [])
            curve = curve_of(each.offers for each in jobs)
            if curve is not None:
                found[Basis(policy, predictor)] = Measured(curve, catalog if jobs is here else "")
    return found
