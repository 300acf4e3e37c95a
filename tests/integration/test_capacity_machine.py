"""The limiter under random histories with crashes and losses, held against a plain model of what must hold.

A crash is a worker that neither settles nor renews: its leases run out as time passes. The reference knows for each reservation
in which scopes it holds a slot and until when, and for each rate what was started when; the clock is the test's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import redis as redis_library
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from router_service.capacity.limiter import Call, Hindrance, Started, Wish
from router_service.capacity.scopes import model_scope, names
from tests.support.capacity import MINUTE_MS, Ledger, World, ended, limited, need, scope, units

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_service.capacity.limiter import Ended, Grants, Need
    from router_service.capacity.scopes import Scope

MODEL = limited(slots=4, rpm=30, tpm=3000)
TENANTS = (scope("tenant", "small", slots=2, tpm=600), scope("tenant", "free", slots=3))
SCOPES = (model_scope(MODEL), *TENANTS)
MOST_PLACES = 5
LEASE_S = 25.0
NEAR_MS = 500  # a lease that ends while the test looks is over before it looks
GRAIN_MS = 1000


@dataclass(slots=True)
class Held:
    """A reservation: what the reference knows of it."""

    need: Need
    start_ms: int
    until_ms: float
    entries: dict[tuple[str, str], list[int]]


class LimiterMachine(RuleBasedStateMachine):
    admin_url: str
    redis_url: str

    def __init__(self) -> None:
        super().__init__()
        self.admin = redis_library.Redis.from_url(self.admin_url)
        self.here = World(self.redis_url, self.admin)
        self.held: dict[str, Held] = {}
        self.crashed: dict[str, Held] = {}
        self.over: list[Ended] = []
        self.places: dict[str, float] = {}
        self.ledgers = {(each.name, rate): Ledger(limit) for each in SCOPES for rate, limit in each.rates.items()}

    # What the reference says.

    def _alive(self) -> dict[str, Held]:
        now_ms = self._now_ms()
        for each in (self.held, self.crashed):
            for name in [name for name, held in each.items() if held.until_ms <= now_ms]:
                each.pop(name)
        return self.held | self.crashed

    def _now_ms(self) -> int:
        seconds, micros = self.admin.time()
        return int(seconds * 1000 + micros // 1000 + self.here.clock.passed_ms)

    def _steer_clear(self) -> None:
        """Pass by the ends of leases that are near."""
        ends = [held.until_ms for held in (self.held | self.crashed).values()] + [*self.places.values()]
        while any(-100 <= end - self._now_ms() <= NEAR_MS for end in ends):
            self.here.clock.pass_by(NEAR_MS / 1000)
        now_ms = self._now_ms()
        self.places = {name: until_ms for name, until_ms in self.places.items() if until_ms > now_ms}

    def _free(self, scope: Scope) -> int:
        used = sum(scope.name in names(held.need.scopes) for held in self._alive().values())
        return 10**9 if scope.slots is None else scope.slots - used

    def _granted(self, wanted: Need, start_ms: int) -> None:
        assert all(self._free(each) > 0 for each in wanted.scopes), "a slot was given that nobody had"
        entries = {
            (each.name, rate): self.ledgers[each.name, rate].begin(
                start_ms, units(rate, requests=1, tokens_in=wanted.tokens_in, tokens_out=wanted.tokens_out)
            )
            for each in wanted.scopes
            for rate in each.rates
        }
        until_ms = start_ms + LEASE_S * 1000
        self.held[wanted.reservation] = Held(need=wanted, start_ms=start_ms, until_ms=until_ms, entries=entries)

    def _answered(self, wanted: Sequence[Need], grants: Grants) -> None:
        for each, answer in zip(wanted, grants.answers, strict=False):
            if not isinstance(answer, Hindrance):
                assert grants.now_ms <= answer <= grants.now_ms + 250
                self._granted(each, answer)
                self.places.pop(each.reservation, None)
                continue
            tenant = each.scopes[1]
            assert answer.why == "tenant"
            assert (answer.wait_s == 0) == (self._free(tenant) == 0)
        if grants.stopped is not None:
            assert len(grants.answers) < len(wanted) or not wanted
            assert grants.stopped.why in {"slots", "rpm", "tpm"}
            assert (grants.stopped.why == "slots") == (self._free(SCOPES[0]) == 0) == (grants.stopped.wait_s == 0)
        else:
            assert len(grants.answers) == len(wanted)
        assert grants.free == self._free(SCOPES[0])

    def _settled(self, over: Ended) -> None:
        held = self.held.pop(over.need.reservation)
        now_ms = self._now_ms()
        for (name, rate), entry in held.entries.items():
            used = units(rate, requests=over.requests, tokens_in=over.tokens_in, tokens_out=over.tokens_out)
            if used > entry[1] and entry[0] < now_ms - MINUTE_MS:
                ledger = self.ledgers[name, rate]
                ledger.entries.append([max(now_ms, *(at for at, _each in ledger.entries)), used - entry[1]])
            else:
                entry[1] = used
        self.over.append(over)

    # What may happen.

    @rule(
        jobs=st.lists(st.tuples(st.integers(0, 1), st.integers(1, 700)), max_size=6),
        over=st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.0, 0.3, 1.0, 2.0])), max_size=2),
    )
    def exchange(self, jobs: list[tuple[int, int]], over: list[tuple[int, float]]) -> None:
        """A worker settles what has ended and asks for more; what it asks for may have had a place before."""
        self._steer_clear()
        settled = []
        for which, share in over:
            if self.held:
                held = self.held[sorted(self.held)[which % len(self.held)]]
                used = {"requests": 1 if share else 0, "tokens_in": round(held.need.tokens_in * share)}
                settled.append(ended(held.need, held.start_ms, **used, tokens_out=0))
                self._settled(settled[-1])
        waiting = sorted(self.places)
        wanted = [
            need(
                MODEL,
                TENANTS[tenant],
                tokens_in=tokens,
                tokens_out=0,
                name=waiting[number] if number < len(waiting) else None,
            )
            for number, (tenant, tokens) in enumerate(jobs)
        ]
        self._answered(wanted, self.here.exchange(MODEL, settled, wanted, lease_s=LEASE_S))

    @precondition(lambda self: self.over)
    @rule(which=st.integers(0, 100))
    def settle_again(self, which: int) -> None:
        """The reply to a settlement was lost."""
        assert self.here.settle(self.over[which % len(self.over)]) == 0

    @rule(lease_s=st.sampled_from([5.0, 25.0, 45.0]))
    def renew(self, lease_s: float) -> None:
        self._steer_clear()
        self._alive()
        over = [(each.need.reservation, each.need.scopes) for each in self.over]
        asked = [(name, held.need.scopes) for name, held in self.held.items()] + over
        gone = self.here.run(self.here.limiter.renew(asked, lease_s=lease_s))
        assert gone == {name for name, _scopes in over} - self.held.keys()
        for held in self.held.values():
            held.until_ms = max(held.until_ms, self._now_ms() + lease_s * 1000)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 3))
    def crash(self, which: int) -> None:
        name = sorted(self.held)[which % len(self.held)]
        self.crashed[name] = self.held.pop(name)

    @rule(tens=st.sampled_from([0.01, 0.05, 1, 1, 1, 3, 7]))
    def wait(self, tens: float) -> None:
        """Workers that live renew, as they do every third of a lease."""
        for _ten in range(max(1, int(tens))):
            self.here.clock.pass_by(min(tens, 1) * 10)
            self.renew(LEASE_S)

    @rule(count=st.integers(1, 4), tenant=st.integers(0, 1))
    def place(self, count: int, tenant: int) -> None:
        self._steer_clear()
        scopes = (SCOPES[0], TENANTS[tenant])
        wishes = [Wish(reservation=need(MODEL).reservation, scopes=scopes, urgent=False) for _ in range(count)]
        most = {each.name: (None, MOST_PLACES) for each in scopes}
        taken = self.here.run(self.here.limiter.place(wishes, most=most, lease_s=LEASE_S))
        assert sum(taken) <= MOST_PLACES - len(self.places)
        until_ms = self._now_ms() + LEASE_S * 1000
        self.places |= {wish.reservation: until_ms for wish, got in zip(wishes, taken, strict=True) if got}

    @precondition(lambda self: self.places)
    @rule(which=st.integers(0, 4))
    def leave(self, which: int) -> None:
        self._steer_clear()
        if not self.places:
            return
        name = sorted(self.places)[which % len(self.places)]
        left = self.here.run(self.here.limiter.leave([each.name for each in SCOPES], [name]))
        assert left == 2
        del self.places[name]

    @rule()
    def lose_redis_and_rebuild(self) -> None:
        """All that was lost is put back from what the rows say: the calls, and what was started, by the second."""
        self.admin.flushall()
        self.places.clear()
        stopped = self.here.reserve(MODEL, need(MODEL)).stopped
        assert stopped is not None
        assert stopped.why == "shut"
        self.here.clock.pass_by(1)
        self._steer_clear()
        now_ms = self._now_ms()
        calls = [
            Call(reservation=name, scopes=tuple(names(held.need.scopes)), left_s=(held.until_ms - now_ms) / 1000)
            for name, held in self._alive().items()
        ]
        started = [
            Started(
                scope=each,
                rates=(rate,),
                ago_s=max(0, now_ms - at) // GRAIN_MS * GRAIN_MS / 1000,
                requests=amount,
                tokens_in=amount,
                tokens_out=0,
            )
            for each in SCOPES
            for rate in each.rates
            for at, amount in self.ledgers[each.name, rate].entries
            if at > now_ms - MINUTE_MS - GRAIN_MS and amount > 0
        ]
        assert self.here.run(self.here.limiter.rebuild(calls, started))
        assert not self.here.run(self.here.limiter.rebuild([], []))

    @invariant()
    def slots_are_what_the_reference_says_and_never_too_many(self) -> None:
        self._steer_clear()
        live = self.here.run(self.here.limiter.snapshot([MODEL]))[MODEL.id]
        assert live.in_flight == len(self._alive())
        assert live.waiting == len(self.places)
        assert all(self._free(each) >= 0 for each in SCOPES)

    def teardown(self) -> None:
        """Whatever happened, all comes back, and the limits can be used again."""
        self._steer_clear()
        self._alive()
        over = [ended(held.need, held.start_ms) for held in self.held.values()]
        assert self.here.settle(*over) == len(over)
        for _ten in range(13):
            self.here.clock.pass_by(10)
        grants = self.here.reserve(MODEL, need(MODEL, *TENANTS))
        assert (len(grants.answers), grants.free) == (1, 3)
        self.here.close()
        self.admin.close()


@pytest.mark.timeout(100)
def test_the_limiter_holds_its_promises_under_random_histories(redis_url: str, admin_redis_url: str) -> None:
    class Machine(LimiterMachine):
        pass

    Machine.admin_url, Machine.redis_url = admin_redis_url, redis_url
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=40, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
