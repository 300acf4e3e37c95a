"""May this job be accepted? Checked before anything is stored, with the same constraints that the router applies."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID

from router_service.errors import InvalidRequestError
from router_service.jobs.spec import AUTO, JobSpec, RoutableJob
from router_service.routing.decision import route
from router_service.routing.policy import RoutingPolicy

if TYPE_CHECKING:
    from router_service.catalog.models import Catalog

NOBODY = UUID(int=0)


class NotAdmittedError(InvalidRequestError):
    """The request is well-formed, but no model on offer may take it (422)."""

    status = 422
    default_code = "no_compliant_model"


def check(spec: JobSpec, *, catalog: Catalog, path: str) -> None:
    """Raises InvalidRequestError where the model is not on offer, NotAdmittedError where none meets the constraints."""
    if spec.model != AUTO and not catalog.has(spec.model):
        raise InvalidRequestError(
            f"{path}: no model is named {spec.model[:100]!r}; GET /v1/models lists them, 'auto' lets the router choose",
            param=path,
            code="model_not_found",
        )
    job = RoutableJob(id=NOBODY, epoch=0, spec=spec)
    decision = route(job, catalog=catalog, counters={}, policy=RoutingPolicy())
    if decision.model_id is None:
        reasons = Counter(str(candidate.reason) for candidate in decision.candidates)
        said = ", ".join(f"{reason} ({count})" for reason, count in reasons.most_common())
        raise NotAdmittedError(f"no model on offer meets what the job asks for: {said}", param=path)
