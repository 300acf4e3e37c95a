"""Whether a job's request has to be read before it is routed: only where something depends on what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_service.catalog.policies import FROM_SIZES, Strategy
from router_service.jobs.spec import AUTO, threshold_of
from router_service.routing.strategies import share_of

if TYPE_CHECKING:
    from router_service.catalog.models import Catalog
    from router_service.catalog.policies import RoutingPolicy
    from router_service.jobs.spec import JobSpec, RoutableJob

SHADOW = "shadow"
LOOK_AT_NO_WORDS = frozenset(Strategy) - {Strategy.QUALITY_TARGET}


def must_read(spec: JobSpec, *, policy: RoutingPolicy, catalog: Catalog, planned: bool = False) -> bool:
    """As the policy says; where it leaves that open, if a plan, a rule, a strategy, a plugin or a specialist asks for it."""
    if policy.signals is not None:
        return policy.signals
    if planned:
        return True
    if threshold_of(spec.model) is not None:
        return True
    if any(rule.when.keys() - FROM_SIZES for rule in policy.rules) or policy.constraints or policy.terms:
        return True
    has_floor = spec.quality is not None or policy.min_quality is not None
    if catalog.has_specialists or (has_floor and (policy.learned or catalog.has_kinds)):
        return True
    has_choice = spec.model == AUTO or len(catalog.named(spec.model)) > 1
    return has_choice and policy.strategy not in LOOK_AT_NO_WORDS


def shadow_of(job: RoutableJob, catalog: Catalog) -> RoutingPolicy | None:
    """The policy that decides on a job beside the one in force, if it looks at this one."""
    shadow = catalog.shadow
    return None if shadow is None or share_of(job.id, SHADOW) > shadow.share else shadow.policy
