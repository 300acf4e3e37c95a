"""The limiter under random histories with crashes, held against a model of what must hold.

A crash is a worker that neither settles nor renews: its lease runs out, which the test brings about by moving its expiry back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import redis as redis_library
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from router_service.capacity.connection import connect
from router_service.capacity.limiter import LeaseLeft, Limiter, Need, Usage
from tests.support.catalogs import model_of
from tests.support.loops import Loop

if TYPE_CHECKING:
    from router_service.catalog.models import Model

SLOTS = 4


class LimiterMachine(RuleBasedStateMachine):
    admin_url: str
    redis_url: str

    def __init__(self) -> None:
        super().__init__()
        self.loop = Loop()
        self.admin = redis_library.Redis.from_url(self.admin_url)
        self.admin.flushall()
        self.connection = connect(self.redis_url, name="machine")
        self.limiter = Limiter(self.connection)
        self.model: Model = model_of(params={"max_parallel_requests": SLOTS})
        self.held: dict[str, Need] = {}
        self.crashed: set[str] = set()
        self.numbers = iter(range(10_000))
        assert self.loop.run(self.limiter.rebuild([self.model], [], {}))

    @rule(count=st.integers(1, 6))
    def reserve(self, count: int) -> None:
        needs = [Need(reservation=f"r{next(self.numbers)}", tokens_in=1, tokens_out=1) for _ in range(count)]
        grant = self.loop.run(self.limiter.reserve(self.model, needs, lease_s=600))
        free = SLOTS - len(self.held)
        assert len(grant.starts_ms) == min(count, free)
        assert grant.stopped_by == ("slots" if count > free else None)
        self.held |= {need.reservation: need for need in needs[: len(grant.starts_ms)]}

    @precondition(lambda self: self.held)
    @rule(data=st.data(), times=st.integers(1, 2))
    def settle(self, data: st.DataObject, times: int) -> None:
        need = self.held[data.draw(st.sampled_from(sorted(self.held)))]
        usage = Usage(need=need, requests=1, tokens_in=1, tokens_out=data.draw(st.integers(0, 50)))
        settled = [self.loop.run(self.limiter.settle(self.model, [usage])) for _ in range(times)]
        assert settled == [1, 0][:times]
        del self.held[need.reservation]

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.held)))
        assert self.loop.run(self.limiter.release(self.model.id, [name, name, "nobody"])) == 1
        del self.held[name]

    @rule(lease_s=st.floats(0, 1000))
    def renew(self, lease_s: float) -> None:
        asked = [*sorted(self.held), *sorted(self.crashed)]
        gone = self.loop.run(self.limiter.renew(self.model.id, asked, lease_s=lease_s))
        assert set(gone) & self.held.keys() == set()

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def crash(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.held)))
        self.admin.zadd(f"waybill:slots:{self.model.id}", {name: 1})
        # Whoever reserves next sweeps what has expired.
        self.loop.run(self.limiter.reserve(self.model, [], lease_s=600))
        self.crashed.add(name)
        del self.held[name]

    @precondition(lambda self: self.crashed)
    @rule(data=st.data())
    def wake_after_the_crash(self, data: st.DataObject) -> None:
        need = Need(reservation=data.draw(st.sampled_from(sorted(self.crashed))), tokens_in=1, tokens_out=1)
        usage = Usage(need=need, requests=1, tokens_in=1, tokens_out=1)
        assert self.loop.run(self.limiter.settle(self.model, [usage])) == 0

    @rule()
    def lose_redis_and_rebuild(self) -> None:
        self.admin.flushall()
        needs = [Need(reservation="early", tokens_in=1, tokens_out=1)]
        assert self.loop.run(self.limiter.reserve(self.model, needs, lease_s=600)).starts_ms == ()
        leases = [LeaseLeft(model_id=self.model.id, reservation=name, left_s=600) for name in self.held]
        assert self.loop.run(self.limiter.rebuild([self.model], leases, {}))
        assert not self.loop.run(self.limiter.rebuild([self.model], [], {}))

    @invariant()
    def slots_are_what_the_model_says_and_never_too_many(self) -> None:
        seen = self.loop.run(self.limiter.snapshot([self.model.id]))[self.model.id].in_flight
        assert seen == len(self.held) <= SLOTS

    def teardown(self) -> None:
        usages = [Usage(need=need, requests=1, tokens_in=1, tokens_out=1) for need in self.held.values()]
        assert self.loop.run(self.limiter.settle(self.model, usages)) == len(self.held)
        assert self.loop.run(self.limiter.snapshot([self.model.id]))[self.model.id].in_flight == 0
        self.loop.run(self.connection.aclose())
        self.loop.close()
        self.admin.close()


@pytest.mark.timeout(60)
def test_the_limiter_holds_its_promises_under_random_histories(redis_url: str, admin_redis_url: str) -> None:
    class Machine(LimiterMachine):
        pass

    Machine.admin_url, Machine.redis_url = admin_redis_url, redis_url
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=25, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
