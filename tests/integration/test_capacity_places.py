"""Places in a model's queue: a queue holds only seconds of work."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from router_service.capacity.limiter import Limiter, Wish
from router_service.capacity.scopes import model_scope, names
from router_service.capacity.scripts import LOSS
from tests.support.capacity import World, limited, need, scope, world

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from router_service.capacity.scopes import Scope

ALPHA = limited()
MODEL = model_scope(ALPHA)
TENANT = scope("tenant", slots=2)


@pytest.fixture
def here(redis_url: str, admin_redis_url: str) -> Iterator[World]:
    with world(redis_url, admin_redis_url) as made:
        yield made


def wish(name: str, *others: Scope, urgent: bool = False) -> Wish:
    return Wish(reservation=name, scopes=(MODEL, *others), urgent=urgent)


def place(
    here: World,
    *wishes: Wish,
    most: tuple[int | None, int] = (3, 3),
    lease_s: float = 30,
    **others: tuple[int | None, int],
) -> list[bool] | None:
    limits: Mapping[str, tuple[int | None, int]] = {
        MODEL.name: most,
        **{f"{kind}:acme": each for kind, each in others.items()},
    }
    taken: list[bool] | None = here.run(here.limiter.place(wishes, most=limits, lease_s=lease_s))
    return taken


def held(here: World, name: str = MODEL.name) -> set[str]:
    members = cast("list[bytes]", here.admin.zrange(f"waybill:places:{name}", 0, -1))
    return {member.decode() for member in members}


def test_calls_and_places_together_stay_within_what_the_queue_takes(here: World) -> None:
    here.reserve(ALPHA, need(ALPHA), need(ALPHA))
    assert place(here, wish("a"), wish("b"), most=(3, 3)) == [True, False]
    assert here.run(here.limiter.snapshot([ALPHA]))["alpha"].waiting == 1


def test_places_alone_stay_within_theirs(here: World) -> None:
    assert place(here, wish("a"), wish("b"), wish("c"), most=(10, 2)) == [True, True, False]
    assert place(here, wish("d"), most=(None, 2)) == [False]
    assert place(here, wish("d"), most=(None, 3)) == [True]


def test_an_urgent_job_may_go_beyond_by_as_many_places_again(here: World) -> None:
    assert place(here, *map(wish, "abc")) == [True] * 3
    urgent = [wish(name, urgent=True) for name in "defg"]
    assert place(here, *urgent) == [True, True, True, False]
    assert place(here, wish("h")) == [False]


def test_a_job_gets_its_place_everywhere_or_nowhere(here: World) -> None:
    wishes = [*(wish(name, TENANT) for name in "abc"), wish("d")]
    assert place(here, *wishes, most=(10, 10), tenant=(2, 2)) == [True, True, False, True]
    assert (held(here), held(here, TENANT.name)) == ({"a", "b", "d"}, {"a", "b"})


def test_a_place_that_nobody_came_for_expires(here: World) -> None:
    assert place(here, wish("a"), most=(1, 1), lease_s=30) == [True]
    here.clock.pass_by(29)
    assert place(here, wish("b"), most=(1, 1)) == [False]
    here.clock.pass_by(2)
    assert here.run(here.limiter.snapshot([ALPHA]))["alpha"].waiting == 0
    assert place(here, wish("b"), most=(1, 1)) == [True]


def test_the_reservation_that_follows_frees_the_place(here: World) -> None:
    assert place(here, wish("a", TENANT), most=(2, 2), tenant=(2, 2)) == [True]
    here.start(ALPHA, need(ALPHA, TENANT, name="a"))
    assert (held(here), held(here, TENANT.name)) == (set(), set())
    live = here.run(here.limiter.snapshot([ALPHA]))["alpha"]
    assert (live.in_flight, live.waiting) == (1, 0)


def test_a_job_that_may_not_start_keeps_its_place(here: World) -> None:
    model = limited(slots=1)
    place(here, wish("a"))
    here.start(model, need(model))
    assert here.reserve(model, need(model, name="a")).answers == ()
    assert held(here) == {"a"}


def test_places_are_left_once_and_in_every_scope(here: World) -> None:
    place(here, wish("a", TENANT), wish("b", TENANT), tenant=(2, 2))
    scopes = names((MODEL, TENANT))
    assert here.run(here.limiter.leave(scopes, ["a", "nobody"])) == 2
    assert here.run(here.limiter.leave(scopes, ["a"])) == 0
    assert (held(here), held(here, TENANT.name)) == ({"b"}, {"b"})


async def test_routers_at_once_never_take_more_places_than_there_are(limiter: Limiter) -> None:
    async def ask(router: int) -> list[bool] | None:
        wishes = [wish(f"{router}:{job}") for job in range(3)]
        return await limiter.place(wishes, most={MODEL.name: (7, 7)}, lease_s=30)

    taken = await asyncio.gather(*map(ask, range(10)))
    assert sum(sum(each or ()) for each in taken) == 7
    assert (await limiter.snapshot([ALPHA]))["alpha"].waiting == 7


def test_no_place_is_given_while_the_gate_is_shut(here: World) -> None:
    here.run(here.limiter.shut())
    assert place(here, wish("a")) is None
    assert here.admin.keys() == [LOSS.encode()]


def test_places_expire_by_themselves_with_their_keys(here: World) -> None:
    place(here, wish("a"))
    assert 0 < here.admin.ttl(f"waybill:places:{MODEL.name}") <= 26 * 3600
