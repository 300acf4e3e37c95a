"""May this job be accepted? Checked before anything is stored, with the same constraints that the router applies."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID

from router_service.catalog.nearness import nearest, nearest_of_many
from router_service.catalog.policies import Strategy
from router_service.errors import InvalidRequestError
from router_service.jobs.spec import JobSpec, RoutableJob, threshold_of
from router_service.routing.changes import changes_needed
from router_service.routing.constraints import rejection
from router_service.routing.insight import UNREAD
from router_service.routing.question import Question
from router_service.routing.ranks import ranks_of

if TYPE_CHECKING:
    from router_service.catalog.models import Catalog

NOBODY = UUID(int=0)
MOST_WAYS = 3
MOST_NAMES = 3
LIKE_A_THRESHOLD = re.compile(r"router-[-+]?\.?\d[\d.,e+-]*")


class NotAdmittedError(InvalidRequestError):
    """The request is well-formed, but no model on offer may take it (422)."""

    status = 422
    default_code = "no_compliant_model"


def check(spec: JobSpec, *, catalog: Catalog, tenant_id: str, path: str) -> None:
    """Raises InvalidRequestError where the model is not on offer, NotAdmittedError where none meets the constraints.

    What is known only once the request was read, its language and its domain, is not looked at here.
    """
    _check_names(spec, catalog=catalog, path=path)
    job = RoutableJob(id=NOBODY, epoch=0, spec=spec, tenant_id=tenant_id)
    wishes, policy = spec.preferences, catalog.policy_of(job)
    if policy.missing is not None:
        near = nearest(policy.missing[:100], {*catalog.policies, *Strategy})
        raise InvalidRequestError(
            f"router.policy: no policy is named {policy.missing[:100]!r}{near}",
            param="router.policy",
            code="unknown_policy",
        )
    if wishes.quality_target is not None and threshold_of(spec.model) is not None:
        raise InvalidRequestError(
            f"router.quality_target: {spec.model} chooses by its threshold; ask for 'auto', or leave the target out",
            param="router.quality_target",
        )
    if wishes.quality_target is not None and not policy.has_target:
        raise InvalidRequestError(
            f"router.quality_target: the policy {policy.name!r} aims at no quality; leave router.policy out, or name one of "
            f"strategy {Strategy.QUALITY_TARGET} without quality_usd",
            param="router.quality_target",
        )
    asked = Question.of(job, policy=policy, insight=UNREAD)
    models = [model for rank in ranks_of(asked, catalog) for model in rank]
    rejections = [rejection(asked, model) for model in models]
    if all(rejections):
        reasons = Counter(each.reason for each in rejections if each is not None)
        said = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
        ways = "; ".join(change.words for change in changes_needed(asked, models)[:MOST_WAYS])
        raise NotAdmittedError(
            f"no model on offer meets what the job asks for: {said}" + (f". What would do: {ways}" if ways else ""),
            param=path,
        )


def _check_names(spec: JobSpec, *, catalog: Catalog, path: str) -> None:
    """Raises InvalidRequestError where the model is not on offer, or a list of models names none that is."""
    if not catalog.has(spec.model):
        raise InvalidRequestError(
            f"{path}: {_why_no_model(spec.model[:100], catalog)}; 'auto' lets the router choose",
            param=path,
            code="model_not_found",
        )
    wishes, names = spec.preferences, {*catalog.by_name, *catalog.by_id}
    lists = {"only": wishes.only, "order": () if wishes.allow_fallbacks else wishes.order}
    for key, wanted in lists.items():
        if wanted and not any(model.is_one_of(wanted) for model in catalog.models):
            told = ", ".join(repr(name[:100]) for name in wanted[:MOST_NAMES]) + (
                ", ..." if len(wanted) > MOST_NAMES else ""
            )
            raise InvalidRequestError(
                f"provider.{key}: no model and no provider is named {told}{nearest_of_many(wanted[0], names)}",
                param=f"provider.{key}",
                code="model_not_found",
            )


def _why_no_model(name: str, catalog: Catalog) -> str:
    if threshold_of(name) is not None:
        return f"{name!r} chooses between two models, and the catalog names none under router_settings.router.pair"
    if LIKE_A_THRESHOLD.fullmatch(name):
        return f"{name!r} is no threshold; router-0 to router-1, with at most 6 decimals, would be right"
    return f"no model is named {name!r}{nearest_of_many(name, {*catalog.by_name, *catalog.by_id})}"
