"""What a chaos run does, and when: drawn from its seed alone, before anything runs."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from tests.faults.cluster import TENANTS, Shape

if TYPE_CHECKING:
    from collections.abc import Iterator

SHAPE = Shape(routers=2, providers=2, dead_letters=1, janitors=2)
LINKS = ("postgres", "redis", "broker")
MODELS = ("steady",) * 5 + ("narrow",) * 2 + ("plain",) * 2 + ("flaky",)
FIRST_STRIKE_S = 2.0
LEAST_S, MOST_S = 0.5, 3.0
BATCH_LINES = (20, 120)
# A short run has as much work as half a minute, or no window of a minute would overflow where a limit was forgotten.
LEAST_S_OF_WORK = 30.0
SINGLES_PER_S = 4.0
BATCHES_PER_S = 0.3
# No answer is half as long again as another: that much Waybill allows for where a job does not say how long its answer may get.
TOKENS_OUT = (40, 60)
BOUNDED = 0.5


class Nemesis(StrEnum):
    """What may go wrong. All but the kills and the flush last for a while and are then taken back."""

    KILL = "kill -9"
    FREEZE = "SIGSTOP past the lease"
    FLUSH = "FLUSHALL"
    KILL_REDIS = "kill -9 of Redis"
    KILL_POSTGRES = "kill -9 of Postgres"
    FREEZE_POSTGRES = "SIGSTOP of Postgres"
    CUT = "cut"
    BLACK_HOLE = "black hole"
    SLOW = "slow"


LINK_FAULTS = frozenset({Nemesis.CUT, Nemesis.BLACK_HOLE, Nemesis.SLOW})


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """One fault. `process` is empty where all are meant; `link` is that process' way to this server."""

    at_s: float
    nemesis: Nemesis
    process: str = ""
    link: str = ""
    lasts_s: float = 0.0

    def __str__(self) -> str:
        where = " of ".join(filter(None, (self.link, self.process or ("all" if self.link else ""))))
        lasts = f" for {self.lasts_s:.1f} s" if self.lasts_s else ""
        return f"{self.at_s:5.1f} s  {self.nemesis} {where}{lasts}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """Work that a tenant hands in. One line is a single job; `cancel_s` and `deadline_s` count from the order on.

    `tokens_out`: how long each answer will be; `max_tokens`: what its request allows, None where it does not say.
    """

    at_s: float
    tenant: str
    tag: str
    models: tuple[str, ...]
    tokens_out: tuple[int, ...]
    max_tokens: tuple[int | None, ...]
    is_batch: bool
    cancel_s: float | None = None
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole run."""

    seed: int
    seconds: float
    strikes: tuple[Strike, ...]
    orders: tuple[Order, ...]


def draw(seed: int, *, seconds: float, lease_s: float) -> Plan:
    """The plan of a seed. The faults are over after `seconds`; every kind comes up before one comes again."""
    chance = random.Random(seed)
    return Plan(
        seed=seed,
        seconds=seconds,
        strikes=tuple(_strikes(chance, seconds=seconds, lease_s=lease_s)),
        orders=tuple(sorted(_orders(chance, seconds=seconds), key=lambda order: order.at_s)),
    )


def _strikes(chance: random.Random, *, seconds: float, lease_s: float) -> Iterator[Strike]:
    at_s, deck = FIRST_STRIKE_S, list[Nemesis]()
    victims = _victims(chance)
    while at_s < seconds - MOST_S:
        deck = deck or chance.sample([*Nemesis, Nemesis.KILL, Nemesis.KILL], len(Nemesis) + 2)
        yield _strike(chance, deck.pop(), victims, at_s=at_s, lease_s=lease_s)
        at_s += chance.uniform(LEAST_S, MOST_S)


def _victims(chance: random.Random) -> Iterator[str]:
    """Processes to kill: each once, then each once more."""
    names = ["api", *SHAPE.names()]
    while True:
        yield from chance.sample(names, len(names))


def _strike(chance: random.Random, nemesis: Nemesis, victims: Iterator[str], *, at_s: float, lease_s: float) -> Strike:
    lasts_s = chance.uniform(LEAST_S, MOST_S)
    if nemesis is Nemesis.KILL:
        return Strike(at_s=at_s, nemesis=nemesis, process=next(victims))
    if nemesis is Nemesis.FREEZE:
        provider = chance.choice([name for name in SHAPE.names() if name.startswith("provider")])
        return Strike(at_s=at_s, nemesis=nemesis, process=provider, lasts_s=lease_s * 1.5)
    if nemesis is Nemesis.FREEZE_POSTGRES:
        return Strike(at_s=at_s, nemesis=nemesis, lasts_s=lasts_s)
    if nemesis in LINK_FAULTS:
        process = chance.choice(["", *["api", *SHAPE.names()]])
        return Strike(at_s=at_s, nemesis=nemesis, process=process, link=chance.choice(LINKS), lasts_s=lasts_s)
    return Strike(at_s=at_s, nemesis=nemesis)


def _orders(chance: random.Random, *, seconds: float) -> Iterator[Order]:
    for tenant in TENANTS:
        for is_batch, per_s in ((True, BATCHES_PER_S), (False, SINGLES_PER_S)):
            for number in range(round(max(seconds, LEAST_S_OF_WORK) * per_s / len(TENANTS))):
                yield _order(chance, tenant, number, is_batch=is_batch, seconds=seconds)


def _order(chance: random.Random, tenant: str, number: int, *, is_batch: bool, seconds: float) -> Order:
    count = chance.randint(*BATCH_LINES) if is_batch else 1
    kind = "batch" if is_batch else "single"
    tokens_out = tuple(chance.randint(*TOKENS_OUT) for _ in range(count))
    return Order(
        at_s=chance.uniform(0.0, seconds),
        tenant=tenant,
        tag=f"job-{tenant}-{kind}-{number}",
        models=tuple(chance.choice(MODELS) for _ in range(count)),
        tokens_out=tokens_out,
        max_tokens=tuple(chance.randint(most, 2 * most) if chance.random() < BOUNDED else None for most in tokens_out),
        is_batch=is_batch,
        cancel_s=chance.uniform(0.0, 3.0) if chance.random() < 0.1 else None,
        deadline_s=chance.uniform(2.0, 15.0) if not is_batch and chance.random() < 0.15 else None,
    )
