"""Who goes first: start-time fair queueing over tenants (Goyal, Vin and Cheng, SIGCOMM 1996), its cost in tokens, not in jobs.

Each tenant has a finish tag: the tokens that it was served, over its weight. Its next job starts at that tag, or at the virtual
time where that is later, and the job with the smallest start goes first. The virtual time is the start of the last job served.
So tenants that wait are served in proportion to their weights, whatever the size and the number of their jobs: of two of them,
neither gets ahead of the other by more than one job of each, in tokens over weight. A tenant that was away begins at the
virtual time: it has saved nothing up, and owes nothing. Within a tenant its interactive jobs go first, then the smallest rank.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


class Waiting(Protocol):
    """A job in the line. `tokens`: what it may cost."""

    @property
    def tenant_id(self) -> str: ...
    @property
    def interactive(self) -> bool: ...
    @property
    def tokens(self) -> int: ...
    @property
    def rank(self) -> float: ...


W = TypeVar("W", bound=Waiting)


class Order(NamedTuple, Generic[W]):
    """Jobs in the order in which they should be served, and the finish tags once all of them were."""

    jobs: list[W]
    tags: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tags:
    """Where the service stands, in tokens over weight. A tenant without a finish tag was not served of late."""

    virtual_time: float = 0.0
    finish: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What a tenant was served, in tokens over its weight: in all, and its last job."""

    amount: float
    last: float


def order(
    taken: Sequence[W], finish_tags: Mapping[str, float], virtual_time: float, weights: Mapping[str, float]
) -> Order[W]:
    """Put jobs in order. A tenant without a weight has 1.

    Of two that would start at once, the one that was served less goes first: so those who wait for a slow model beside a tenant
    who has a fast one to itself, and hurries the virtual time on, still take turns.
    """
    lines: dict[str, list[W]] = {}
    for each in sorted(taken, key=lambda each: (not each.interactive, each.rank), reverse=True):
        lines.setdefault(each.tenant_id, []).append(each)  # the first to go stands last
    tags = dict(finish_tags)
    heap = [_place(tenant_id, line[-1], tags, virtual_time) for tenant_id, line in lines.items()]
    heapq.heapify(heap)
    ordered: list[W] = []
    while heap:
        start, _served, _rank, tenant_id = heap[0]
        line = lines[tenant_id]
        job = line.pop()
        ordered.append(job)
        tags[tenant_id] = start + _cost(job, weights)
        if line:
            heapq.heapreplace(heap, _place(tenant_id, line[-1], tags, virtual_time))
        else:
            heapq.heappop(heap)
    return Order(ordered, tags)


def charges(served: Iterable[Waiting], weights: Mapping[str, float]) -> dict[str, Charge]:
    """What the jobs that were really served, in their order, cost each tenant."""
    owed: dict[str, Charge] = {}
    for job in served:
        cost, before = _cost(job, weights), owed.get(job.tenant_id)
        owed[job.tenant_id] = Charge(amount=cost + (before.amount if before else 0.0), last=cost)
    return owed


def charged(tags: Tags, owed: Mapping[str, Charge]) -> Tags:
    """The tags after that service. `capacity/charge.lua` does the same to those that the routers share."""
    finish = dict(tags.finish)
    for tenant_id, charge in owed.items():
        finish[tenant_id] = max(tags.virtual_time, finish.get(tenant_id, 0.0)) + charge.amount
    starts = [finish[tenant_id] - charge.last for tenant_id, charge in owed.items()]
    return Tags(virtual_time=max([tags.virtual_time, *starts]), finish=finish)


def _place(
    tenant_id: str, job: Waiting, tags: Mapping[str, float], virtual_time: float
) -> tuple[float, float, float, str]:
    served = tags.get(tenant_id, 0.0)
    return max(virtual_time, served), served, job.rank, tenant_id


def _cost(job: Waiting, weights: Mapping[str, float]) -> float:
    """A job without tokens costs one: nothing is free, or one tenant could have all of it."""
    return max(1, job.tokens) / weights.get(job.tenant_id, 1.0)
