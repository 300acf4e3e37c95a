"""Fair queueing over tenants: what each is served, over its weight, stays as even as whole jobs allow."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from router_service.routing.fairness import Charge, Tags, charged, charges, order

MOST_TOKENS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    tenant_id: str
    tokens: int = 10
    interactive: bool = False
    rank: float = 0.0


tokens = st.integers(1, MOST_TOKENS)
weights = st.sampled_from([0.5, 1.0, 2.0, 3.0])
passes = st.lists(st.integers(1, 12), min_size=1, max_size=25)


class Server:
    """Passes of a router with room for some jobs each, over tenants that always have more of their jobs waiting."""

    def __init__(self, sizes: dict[str, list[int]], weighted: dict[str, float]) -> None:
        self._sizes = sizes
        self._weights = weighted
        self._given = Counter[str]()
        self.tags = Tags()
        self.served = Counter[str]()

    def serve(self, room: int, *tenants: str) -> list[Job]:
        waiting = [self._job(tenant, number) for tenant in tenants for number in range(room)]
        now = order(waiting, self.tags.finish, self.tags.virtual_time, self._weights).jobs[:room]
        self.tags = charged(self.tags, charges(now, self._weights))
        self._given.update(job.tenant_id for job in now)
        for job in now:
            self.served[job.tenant_id] += job.tokens
        return now

    def lead(self, one: str, other: str) -> float:
        return self.served[one] / self._weights[one] - self.served[other] / self._weights[other]

    def _job(self, tenant: str, number: int) -> Job:
        sizes = self._sizes[tenant]
        place = self._given[tenant] + number
        return Job(tenant_id=tenant, tokens=sizes[place % len(sizes)], rank=place)


servers = st.builds(
    lambda a, b, one, other: (Server({"a": a, "b": b}, {"a": one, "b": other}), max(a) / one + max(b) / other),
    st.lists(tokens, min_size=1, max_size=8),
    st.lists(tokens, min_size=1, max_size=8),
    weights,
    weights,
)


@given(servers, passes)
def test_of_two_tenants_that_wait_neither_gets_ahead_by_more_than_a_job_of_each(
    given_server: tuple[Server, float], rooms: list[int]
) -> None:
    server, bound = given_server
    leads = [0.0]
    for room in rooms:
        for job in server.serve(room, "a", "b"):
            assert job.tenant_id in {"a", "b"}
        leads.append(server.lead("a", "b"))
    assert max(leads) - min(leads) <= bound + 1e-6


@given(servers, st.integers(1, 40), passes)
def test_a_tenant_that_was_idle_has_saved_nothing_up_and_owes_nothing(
    given_server: tuple[Server, float], alone: int, rooms: list[int]
) -> None:
    server, bound = given_server
    server.serve(alone, "a")
    leads = [server.lead("a", "b")]
    for room in rooms:
        server.serve(room, "a", "b")
        leads.append(server.lead("a", "b"))
    assert max(leads) - min(leads) <= bound + 1e-6


@given(
    st.lists(
        st.builds(Job, tenant_id=st.sampled_from("abc"), tokens=tokens, interactive=st.booleans(), rank=st.floats(0, 9))
    )
)
def test_every_job_is_in_the_order_once_and_a_tenants_own_go_by_kind_and_rank(jobs: list[Job]) -> None:
    ordered = order(jobs, {}, 0.0, {}).jobs
    assert Counter(ordered) == Counter(jobs)
    for tenant in "abc":
        own = [(not job.interactive, job.rank) for job in ordered if job.tenant_id == tenant]
        assert own == sorted(own)


def test_cost_counts_in_tokens_and_not_in_jobs() -> None:
    small = [Job(tenant_id="small", tokens=10, rank=number) for number in range(100)]
    large = [Job(tenant_id="large", tokens=100, rank=number) for number in range(100)]
    first = order([*large, *small], {}, 0.0, {}).jobs[:22]
    assert Counter(job.tenant_id for job in first) == {"small": 20, "large": 2}


def test_a_tenant_of_twice_the_weight_gets_twice_as_much() -> None:
    jobs = [Job(tenant_id=tenant, rank=number) for tenant in ("one", "two") for number in range(100)]
    first = order(jobs, {}, 0.0, {"two": 2.0}).jobs[:30]
    assert Counter(job.tenant_id for job in first) == {"one": 10, "two": 20}


def test_a_newcomer_goes_before_a_tenant_that_is_ahead_of_the_time() -> None:
    jobs = [Job(tenant_id="busy"), Job(tenant_id="new", rank=5.0)]
    assert [job.tenant_id for job in order(jobs, {"busy": 120.0}, 100.0, {}).jobs] == ["new", "busy"]


def test_those_who_are_both_behind_the_time_take_turns() -> None:
    tags, turns = Tags(), []
    for _round in range(6):  # somebody with a model of its own hurries the time on
        tags = charged(tags, {"fast": Charge(amount=10_000.0, last=1.0)})
        first = order([Job(tenant_id="a"), Job(tenant_id="b")], tags.finish, tags.virtual_time, {}).jobs[:1]
        turns += [job.tenant_id for job in first]
        tags = charged(tags, charges(first, {}))
    assert turns == ["a", "b", "a", "b", "a", "b"]


def test_the_tags_of_an_order_are_those_after_all_of_it_was_served() -> None:
    jobs = [Job(tenant_id=tenant, tokens=size) for tenant, size in (("a", 10), ("b", 30), ("a", 20))]
    ordered, tags = order(jobs, {"a": 5.0}, 7.0, {})
    assert (
        tags
        == charged(Tags(virtual_time=7.0, finish={"a": 5.0}), charges(ordered, {})).finish
        == {"a": 37.0, "b": 37.0}
    )


def test_nothing_is_free() -> None:
    assert charges([Job(tenant_id="a", tokens=0)], {}) == {"a": Charge(amount=1.0, last=1.0)}
