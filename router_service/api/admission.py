"""May this job be accepted? Checked before anything is stored, with the same constraints that the router applies."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID

from router_service.catalog.policies import Strategy
from router_service.errors import InvalidRequestError
from router_service.jobs.spec import JobSpec, RoutableJob
from router_service.routing.changes import changes_needed
from router_service.routing.constraints import rejection
from router_service.routing.insight import UNREAD
from router_service.routing.question import Question
from router_service.routing.ranks import ranks_of

if TYPE_CHECKING:
    from router_service.catalog.models import Catalog

NOBODY = UUID(int=0)
MOST_WAYS = 3


class NotAdmittedError(InvalidRequestError):
    """The request is well-formed, but no model on offer may take it (422)."""

    status = 422
    default_code = "no_compliant_model"


def check(spec: JobSpec, *, catalog: Catalog, tenant_id: str, path: str) -> None:
    """Raises InvalidRequestError where the model is not on offer, NotAdmittedError where none meets the constraints.

    What is known only once the request was read, its language and its domain, is not looked at here.
    """
    if not catalog.has(spec.model):
        raise InvalidRequestError(
            f"{path}: no model is named {spec.model[:100]!r}; GET /v1/models lists them, 'auto' lets the router choose",
            param=path,
            code="model_not_found",
        )
    job = RoutableJob(id=NOBODY, epoch=0, spec=spec, tenant_id=tenant_id)
    wishes, policy = spec.preferences, catalog.policy_of(job)
    if policy.missing is not None:
        known = ", ".join(sorted({*catalog.policies, *Strategy}))
        raise InvalidRequestError(
            f"router.policy: no policy is named {policy.missing[:100]!r}; known: {known}",
            param="router.policy",
            code="unknown_policy",
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
