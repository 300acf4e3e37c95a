"""Stored decisions with all that they were taken from, and what comes out when they are taken again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any
from uuid import UUID

from router_service.catalog.policies import BUILT_IN as BUILT_IN_POLICY
from router_service.catalog.policies import PRESETS
from router_service.routing.calibration import DRAW, Offer, offers_beside
from router_service.routing.comparison import Comparison, Expected, places_of
from router_service.routing.decision import route
from router_service.routing.gaps import Gaps
from router_service.routing.knowledge import leaves_choice, target_of
from router_service.routing.methods import BUILT_IN
from router_service.routing.question import Question
from router_service.routing.reading import must_read
from router_service.routing.replay import differences, job_of, other_versions, spec_of, versions_of
from router_service.routing.strategies import share_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_service.catalog.models import Catalog
    from router_service.catalog.policies import RoutingPolicy
    from router_service.routing.calibration import Curve
    from router_service.routing.counters import Counters
    from router_service.routing.decision import Decision
    from router_service.routing.insight import Worth
    from router_service.routing.methods import Methods
    from router_service.routing.prices import Prices
    from router_service.routing.replay import Recorded


NOBODY = UUID(int=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """`catalogs`, `counters` and prices of `plans` by hash: those that the recorded decisions name."""

    recorded: Sequence[Recorded]
    catalogs: Mapping[str, Catalog]
    counters: Mapping[str, Mapping[str, Counters]]
    plans: Mapping[str, Prices] = field(default_factory=dict)

    def policy_of(self, each: Recorded) -> RoutingPolicy | None:
        """The policy that a decision was taken under, by its hash. A policy lives in the catalog, or is built in."""
        return policy_by_hash(each.policy, self.catalogs.get(each.catalog))

    def again(self, each: Recorded, policy: RoutingPolicy, methods: Methods, *, worth: Worth | None = None) -> Decision:
        """The decision under a policy.

        `worth` goes in the place of the stored one, where it is given. The stored one, and a plan, were found for the policy of
        that time: another one does not follow them.
        """
        job, insight = job_of(each.job_id, each.inputs, plans=self.plans)
        if policy.hash != each.policy:
            insight = replace(insight, worth=worth, prices=None)
        elif worth is not None:
            insight = replace(insight, worth=worth)
        counters = self.counters[each.snapshot] if each.snapshot is not None else {}
        return route(
            job,
            catalog=self.catalogs[each.catalog],
            counters=counters,
            policy=policy,
            insight=insight,
            methods=methods,
        )


def policy_by_hash(name: str, catalog: Catalog | None) -> RoutingPolicy | None:
    """One of the catalog's policies, or of those that are built in; None where there is none of that hash."""
    known = catalog.all_policies if catalog else (BUILT_IN_POLICY, *PRESETS.values())
    return next((policy for policy in known if policy.hash == name), None)


def gaps_of(decision: Mapping[str, Any], catalog: Catalog | None) -> Gaps | None:
    """What was not known for a stored decision; None where its inputs or its policy are not stored any more."""
    policy, inputs = policy_by_hash(decision["policy"], catalog), decision.get("inputs")
    if policy is None or not inputs:
        return None
    job, insight = job_of(NOBODY, {key: value for key, value in inputs.items() if key != "plan"})
    return Gaps.of(Question.of(job, policy=policy, insight=insight))


@dataclass(frozen=True, slots=True, kw_only=True)
class Different:
    """A decision that came out otherwise when it was taken again."""

    job_id: UUID
    epoch: int
    differences: list[str]


def replayed(history: History, *, methods: Methods = BUILT_IN) -> list[Different]:
    """Those that differ. One that lacks what it was taken from is among them, and says what is missing.

    One that was taken with other versions of plugins or of the public figures says which: what they said then is not stored.
    """
    found = []
    for each in history.recorded:
        policy = history.policy_of(each)
        said = _missing(history, each, policy)
        if policy is not None and not said:
            said = differences(each, history.again(each, policy, methods))
            said = said and (other_versions(each, versions_of(policy, methods)) or said)
        if said:
            found.append(Different(job_id=each.job_id, epoch=each.epoch, differences=said))
    return found


def what_if(
    history: History, policy: RoutingPolicy, *, curve: Curve | None = None, methods: Methods = BUILT_IN
) -> Comparison:
    """The recorded decisions beside the same ones under `policy`. `curve`: its price of quality on the whole history."""
    comparison = Comparison()
    places = {name: places_of(catalog) for name, catalog in history.catalogs.items()}
    for each in _usable(history, policy):
        job, _insight = job_of(each.job_id, each.inputs, plans=history.plans)
        worth = None if curve is None else curve.worth(target_of(job, policy), draw=share_of(each.job_id, DRAW))
        after = history.again(each, policy, methods, worth=worth)
        comparison.add(
            Expected.of(each.model_id, each.candidates),
            Expected.of(after.model_id, [candidate.as_json() for candidate in after.candidates]),
            places=places[each.catalog],
            is_blind="signals" not in each.inputs
            and must_read(job.spec, policy=policy, catalog=history.catalogs[each.catalog]),
        )
    return comparison


def offers_under(history: History, policy: RoutingPolicy, *, methods: Methods = BUILT_IN) -> list[dict[str, Offer]]:
    """What the recorded decisions would have to choose from under `policy`, whose price of quality is measured on it.

    Of jobs that leave the choice to the router.
    """
    ours = [each for each in _usable(history, policy) if leaves_choice(spec_of(each.inputs))]
    again = [history.again(each, policy, methods) for each in ours]
    return [offers_beside(each.model_id, [one.as_json() for one in each.candidates]) for each in again]


def _usable(history: History, policy: RoutingPolicy) -> list[Recorded]:
    return [each for each in history.recorded if not _missing(history, each, policy)]


def _missing(history: History, each: Recorded, policy: RoutingPolicy | None) -> list[str]:
    missing = [] if each.catalog in history.catalogs else [f"catalog {each.catalog} is not stored any more"]
    if each.snapshot is not None and each.snapshot not in history.counters:
        missing.append(f"snapshot {each.snapshot} is not stored any more")
    if (plan := each.inputs.get("plan")) is not None and plan not in history.plans:
        missing.append(f"plan {plan} is not stored any more")
    if policy is None:
        missing.append(f"policy {each.policy} is not in catalog {each.catalog}")
    return missing
