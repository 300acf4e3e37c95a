"""What tests of the limiter ask for, a world whose time they move, and what a provider would have seen of it."""

from __future__ import annotations

import itertools
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import redis as redis_library

from router_service.capacity.connection import connect
from router_service.capacity.limiter import Ended, Grants, Hindrance, Limiter, Need
from router_service.capacity.scopes import Scope, model_scope
from router_service.catalog.models import Breaker, Limits, Model
from tests.support.catalogs import model_of
from tests.support.clock import Clock
from tests.support.loops import Loop

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MINUTE_MS = 60_000
DAY_MS = 86_400_000
TURN_S = 1.0  # who waits for its turn is to ask again so often
SLACK_MS = 200  # a start may be used so much later than it was granted
LONG_S = 1e9  # a lease that no test outlives
BREAKER = Breaker(allowed_fails=3, blocking_fails=3)  # as where an operator names `allowed_fails: 3`
_numbers = itertools.count(1)


def limited(model_id: str = "alpha", *, slots: int = 100_000, **limits: Any) -> Model:
    """A model with these limits."""
    return replace(model_of(model_id), limits=Limits(slots=slots, **limits))


def scope(kind: str, identity: str = "acme", *, slots: int | None = None, **rates: Any) -> Scope:
    return Scope(kind=kind, name=f"{kind}:{identity}", slots=slots, rates=rates)


def need(model: Model, *others: Scope, name: object = None, tokens_in: int = 10, tokens_out: int = 5) -> Need:
    """What a call to this model needs, under whatever else limits it."""
    return Need(
        reservation=str(next(_numbers) if name is None else name),
        scopes=(model_scope(model), *others),
        tokens_in=tokens_in,
        tokens_out=tokens_out,
    )


def needs(model: Model, *others: Scope, count: int, **changes: Any) -> list[Need]:
    return [need(model, *others, **changes) for _ in range(count)]


def ended(wanted: Need, start_ms: int, **changes: Any) -> Ended:
    """A call that used exactly what was reserved for it."""
    whole = Ended(need=wanted, start_ms=start_ms, requests=1, tokens_in=wanted.tokens_in, tokens_out=wanted.tokens_out)
    return replace(whole, **changes)


def unused(wanted: Need, start_ms: int) -> Ended:
    """A call that was never made."""
    return ended(wanted, start_ms, requests=0, tokens_in=0, tokens_out=0)


def starts(grants: Grants) -> list[int]:
    return [answer for answer in grants.answers if not isinstance(answer, Hindrance)]


def units(rate: str, *, requests: int, tokens_in: int, tokens_out: int) -> int:
    match rate:
        case "rpm" | "rpd":
            return requests
        case "itpm":
            return tokens_in
        case "otpm":
            return tokens_out
        case _:
            return tokens_in + tokens_out


class World:
    """A limiter and a clock that the test moves on, without a coroutine. All its moments are in the clock's time."""

    def __init__(self, redis_url: str, admin: redis_library.Redis) -> None:
        self.admin = admin
        self.admin.flushall()
        self.clock = Clock(admin)
        self._loop = Loop()
        self._connection = connect(redis_url, name="world")
        self.limiter = Limiter(self._connection)
        self.run(self.limiter.rebuild([], []))

    def run(self, work: Any) -> Any:
        return self._loop.run(work)

    def reserve(self, model: Model, *wanted: Need, lease_s: float = LONG_S) -> Grants:
        return self.exchange(model, (), wanted, lease_s=lease_s)

    def exchange(
        self, model: Model, over: Sequence[Ended], wanted: Sequence[Need], *, lease_s: float = LONG_S
    ) -> Grants:
        over = [replace(each, start_ms=each.start_ms - self.clock.passed_ms) for each in over]
        asked = self.limiter.exchange(model, ended=over, needs=wanted, breaker=BREAKER, lease_s=lease_s)
        grants: Grants = self.run(asked)
        passed_ms = self.clock.passed_ms
        answers = [each if isinstance(each, Hindrance) else each + passed_ms for each in grants.answers]
        return replace(grants, now_ms=grants.now_ms + passed_ms, answers=tuple(answers))

    def settle(self, *over: Ended) -> int:
        over = tuple(replace(each, start_ms=each.start_ms - self.clock.passed_ms) for each in over)
        return int(self.run(self.limiter.settle(over, breaker=BREAKER)))

    def start(self, model: Model, wanted: Need) -> int:
        """When it may start, as early as it may. What the limiter says about waiting is taken at its word."""
        grants = self.reserve(model, wanted)
        while not starts(grants):
            hindrance = grants.answers[0] if grants.answers else grants.stopped
            assert isinstance(hindrance, Hindrance)
            assert hindrance.wait_s > 0, f"nothing but the end of a call would help: {hindrance.why}"
            self.clock.pass_by(hindrance.wait_s)
            asked_again = self.reserve(model, wanted)
            assert starts(asked_again) or hindrance.wait_s == TURN_S, "it did not help to wait as it was told"
            grants = asked_again
        (start_ms,) = starts(grants)
        assert grants.now_ms <= start_ms <= grants.now_ms + 250
        return start_ms

    def close(self) -> None:
        self._loop.run(self._connection.aclose())
        self._loop.close()


@contextmanager
def world(redis_url: str, admin_url: str) -> Iterator[World]:
    """For tests that are no coroutines, such as Hypothesis' ones: each example gets an empty one."""
    with redis_library.Redis.from_url(admin_url) as admin:
        made = World(redis_url, admin)
        try:
            yield made
        finally:
            made.close()


@dataclass(slots=True)
class Ledger:
    """What one rate of one scope has started, as its provider would count it: [start in ms, units]."""

    limit: float
    window_ms: int = MINUTE_MS + SLACK_MS
    entries: list[list[int]] = field(default_factory=list)

    def begin(self, start_ms: int, amount: int) -> list[int]:
        """A start was granted. The window that ends with it holds no more than the limit, or this job alone."""
        before = [at for at, _amount in self.entries]
        assert not before or start_ms >= max(before), "a start lies before one that was granted earlier"
        left = sum(each for at, each in self.entries if at > start_ms - self.window_ms)
        assert left <= 0 or left + amount <= self.limit, f"{left + amount} units within {self.window_ms} ms"
        entry = [start_ms, amount]
        self.entries.append(entry)
        return entry
