"""Place, reserve, settle: the live counters of every model, group, tenant and batch, in Redis.

The rules are in the Lua files beside this one; Redis' clock is the only one used. docs/decisions/0013 has the why.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from router_service.capacity.connection import unavailable
from router_service.capacity.measures import Measures
from router_service.capacity.records import Record, letter, place
from router_service.capacity.scopes import Numbered, Scope, account_scopes, model_scope, names
from router_service.capacity.scripts import GATE, LOSS, LOSS_KEPT_S, Scripts, run_id
from router_service.routing.counters import RateUse

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from redis.asyncio import Redis

    from router_service.catalog.models import Breaker, Model
    from router_service.policy.outcomes import Seen

HORIZON_MS = 250
WINDOW_S = 60.2
DAY_S = 86_400.0
BELIEVED_S = 3600.0  # how long a limit told in a header is kept to after it was last told
SHUT = "shut"
PAUSED = "paused"
BREAKER = "breaker"
SLOTS = "slots"
FREED_CHANNEL = "waybill:freed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one call needs: a request and tokens, of all its scopes, the model first. `reservation` names it.

    An urgent one does not wait for the turn of another worker's job.
    """

    reservation: str
    scopes: tuple[Scope, ...]
    tokens_in: int
    tokens_out: int
    urgent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What an answered call measured: real tokens against the estimate of its prompt, and how long it took."""

    estimated_in: int
    tokens_in: int
    tokens_out: int
    latency_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A reservation to settle: what was used of its need. A call that was never made used nothing.

    `verdict` is ok, failed or none: what the breaker makes of it. `hold`: the provider may be at it still, so that its slot is
    left to expire.
    """

    need: Need
    start_ms: int
    requests: int
    tokens_in: int
    tokens_out: int
    verdict: str = "none"
    hold: bool = False
    answer: Answer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Hindrance:
    """Why a job may not start, and after how long it is worth asking again: 0 where a call must end first.

    Who is not asked for again by then may lose its turn.
    """

    why: str
    wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Grants:
    """The answer to a wish for capacity: for each of the first needs a start, or what of its own tenant or batch hinders it.

    A start is milliseconds of Redis time; `now_ms` is when they were granted. `stopped` is what keeps the model from starting
    those that are missing. `next_s`: how long until its rates let one more job like the last one start; `free`: slots left.
    """

    now_ms: int
    answers: tuple[int | Hindrance, ...]
    stopped: Hindrance | None
    next_s: float
    free: int
    measures: Measures


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A job that wants a place in its model's queue. An urgent one does not wait behind what the queue holds."""

    reservation: str
    scopes: tuple[Scope, ...]
    urgent: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """A model's counters at one instant.

    `broken_s`: 0 closed, > 0 open for so long, < 0 half open: one call at a time. `is_failing`: most of its last calls failed.
    `factor` is the share of its limits that it is given after a throttle; `rate` is the one whose next start is farthest off,
    `rate_wait_s` how far. `rates`: how its own limits stand, by name; `record`: what its calls were like.
    """

    in_flight: int
    waiting: int
    paused_s: float
    broken_s: float
    is_failing: bool
    factor: float
    rate: str | None
    rate_wait_s: float
    measures: Measures
    rates: tuple[RateUse, ...] = ()
    record: Record = field(default_factory=Record)

    @property
    def latency_s(self) -> float | None:
        return self.measures.latency_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """What a scope was given some while ago, from which a lost log is rebuilt. Of rates a minute or of rates a day."""

    scope: Scope
    rates: tuple[str, ...]
    ago_s: float
    requests: int
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call in flight, from which a lost slot is rebuilt."""

    reservation: str
    scopes: tuple[str, ...]
    left_s: float


class Limiter:
    """The atomic actions over one Redis. Each raises UnavailableError where Redis cannot be asked."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)

    async def place(
        self, wishes: Sequence[Wish], *, most: Mapping[str, tuple[int | None, int]], lease_s: float
    ) -> list[bool] | None:
        """Take places for those that fit; all wish for the same model. None while the gate is shut.

        `most`: for each scope's name how many calls and places together (None: any number), and how many places.
        """
        numbered = Numbered(wishes[0].scopes[0])
        jobs = [[wish.reservation, int(wish.urgent), *numbered.of(wish.scopes)] for wish in wishes]
        scopes = []
        for scope in numbered.scopes:
            both, places = most[scope.name]
            scopes.append({"name": scope.name, "most": -1 if both is None else both, "most_places": places})
        question = {"lease_ms": int(lease_s * 1000), "scopes": scopes, "jobs": jobs}
        reply = json.loads((await self._scripts.run(("place", question)))[0])
        return None if reply["state"] == SHUT else [bool(taken) for taken in reply["jobs"]]

    async def leave(self, scopes: Sequence[str], reservations: Sequence[str]) -> int:
        """Give places back. How many were still held."""
        question = {"scopes": list(scopes), "reservations": list(reservations)}
        return int((await self._scripts.run(("leave", question)))[0])

    async def exchange(
        self, model: Model, *, ended: Sequence[Ended], needs: Sequence[Need], breaker: Breaker, lease_s: float
    ) -> Grants:
        """Settle calls of a model and reserve for others, in one round trip: a slot that came free is handed on at once."""
        questions: list[tuple[str, dict[str, Any]]] = []
        if ended:
            questions.append(("settle", _settlement(ended, breaker)))
        questions.append(("reserve", _reservation(model, needs, lease_s)))
        return _grants(json.loads((await self._scripts.run(*questions))[-1]))

    async def settle(self, ended: Sequence[Ended], *, breaker: Breaker) -> int:
        """Give reservations of one model back, be it on offer or not.

        How many were still held: one that was settled before, or has expired, counts nothing.
        """
        return int((await self._scripts.run(("settle", _settlement(ended, breaker))))[0]) if ended else 0

    async def renew(self, held: Iterable[tuple[str, Sequence[Scope]]], *, lease_s: float) -> set[str]:
        """Prolong reservations. Those that are gone while the counters are whole."""
        question = {
            "lease_ms": int(lease_s * 1000),
            "held": [[reservation, *names(scopes)] for reservation, scopes in held],
        }
        (gone,) = await self._scripts.run(("renew", question))
        return {_text(each) for each in gone}

    async def throttled(self, model: Model, *, pause_s: float) -> None:
        """The provider said wait: let nothing start for so long (a longer pause stays), and give the model less for a while."""
        await self._learn(model, pause_s=pause_s, throttled=True, caps={})

    async def learn(self, model: Model, seen: Seen) -> None:
        """What the provider's headers said: keep to its limits where they are lower than ours, wait where nothing is left."""
        caps = {name: cap for name in ("rpm", "tpm", "itpm", "otpm") if (cap := getattr(seen, name)) is not None}
        await self._learn(model, pause_s=seen.exhausted_s, throttled=False, caps=caps)

    async def pause(self, model: Model, *, pause_s: float) -> None:
        """Let nothing start for so long; a longer pause stays."""
        await self._learn(model, pause_s=pause_s, throttled=False, caps={})

    async def snapshot(self, models: Sequence[Model]) -> dict[str, Live]:
        lives = await self._snapshot([(model_scope(model), account_scopes(model)) for model in models])
        return {model.id: live for model, live in zip(models, lives, strict=True)}

    async def snapshot_of(self, scopes: Sequence[Scope]) -> dict[str, Live]:
        """Of scopes that are no models, by name; what a provider said of their account is told with their models."""
        lives = await self._snapshot([(scope, ()) for scope in scopes])
        return {scope.name: live for scope, live in zip(scopes, lives, strict=True)}

    async def _snapshot(self, scopes: Sequence[tuple[Scope, Sequence[str]]]) -> list[Live]:
        """Each with the names of its accounts."""
        if not scopes:
            return []
        question = {"scopes": [scope.as_json() | {"account": list(account)} for scope, account in scopes]}
        return [_live(row) for row in json.loads((await self._scripts.run(("snapshot", question)))[0])]

    async def is_open(self) -> bool:
        """False after Redis lost its state or was started again, until the counters were rebuilt."""
        with unavailable():
            return bool(await self._redis.get(GATE) == (await run_id(self._redis)).encode())

    async def shut(self) -> str:
        """Let nothing be placed or reserved until the counters are rebuilt.

        A name for this loss: all who mend it are told the same one.
        """
        with unavailable():
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.delete(GATE)
                pipe.set(LOSS, secrets.token_hex(8), nx=True, ex=LOSS_KEPT_S)
                pipe.get(LOSS)
                return _text((await pipe.execute())[-1])

    async def rebuild(
        self,
        calls: Iterable[Call],
        started: Iterable[Started],
        *,
        pauses: Iterable[tuple[str, float]] = (),
        measures: Mapping[str, Measures] | None = None,
        loss: str | None = None,
    ) -> bool:
        """Put back what is in flight, what was started of late, who is to wait, what models' calls were like, and open the gate.

        `loss` is what `shut` answered before the rows were read (None: it is shut now). False where somebody else was first,
        or where all was lost again since.
        """
        if loss is None:
            if await self.is_open():
                return False
            loss = await self.shut()
        with unavailable():
            run = await run_id(self._redis)
        question = {
            "run_id": run,
            "loss": loss,
            "pauses": [[scope, int(left_s * 1000)] for scope, left_s in pauses],
            "measures": [[f"model:{model_id}", each.means()] for model_id, each in (measures or {}).items()],
            "calls": [[call.reservation, int(call.left_s * 1000), *call.scopes] for call in calls],
            "started": [
                [each.scope.name, rate, int(each.ago_s * 1000), units]
                for each in started
                for rate in each.rates
                if (units := _units(rate, each)) > 0
            ],
        }
        return bool((await self._scripts.run(("rebuild", question)))[0])

    async def _learn(self, model: Model, *, pause_s: float, throttled: bool, caps: Mapping[str, float]) -> None:
        question = {
            "scopes": account_scopes(model),
            "pause_ms": int(pause_s * 1000),
            "throttled": int(throttled),
            "forget_ms": int(BELIEVED_S * 1000),
            "caps": caps,
        }
        await self._scripts.run(("learn", question))


def reservation(job_id_hex: str, epoch: int) -> str:
    """The name of a place and of the reservation that follows it: one per job and routing."""
    return f"{job_id_hex}:{epoch}"


def _settlement(ended: Sequence[Ended], breaker: Breaker) -> dict[str, Any]:
    numbered = Numbered(ended[0].need.scopes[0])
    rows = [
        [
            each.need.reservation,
            each.start_ms,
            each.requests - 1,
            each.tokens_in - each.need.tokens_in,
            each.tokens_out - each.need.tokens_out,
            each.verdict,
            int(each.hold),
            _measured(each.answer),
            *numbered.of(each.need.scopes),
        ]
        for each in ended
    ]
    return {
        "allowed_fails": breaker.allowed_fails,
        "blocking_fails": breaker.blocking_fails,
        "cooldown_ms": int(breaker.cooldown_s * 1000),
        "scopes": numbered.as_json(),
        "ended": rows,
    }


def _measured(answer: Answer | None) -> list[float | str] | int:
    if answer is None:
        return 0
    latency_ms = round(answer.latency_s * 1000, 3)
    how = letter(answer.latency_s), place(answer.tokens_out)
    return [answer.estimated_in, answer.tokens_in, answer.tokens_out, latency_ms, *how]


def _reservation(model: Model, needs: Sequence[Need], lease_s: float) -> dict[str, Any]:
    numbered = Numbered(model_scope(model))
    jobs = [
        [need.reservation, 1, need.tokens_in, need.tokens_out, int(need.urgent), *numbered.of(need.scopes)]
        for need in needs
    ]
    return {
        "lease_ms": int(lease_s * 1000),
        "horizon_ms": HORIZON_MS,
        "scopes": numbered.as_json(),
        "jobs": jobs,
    }


def _grants(reply: Mapping[str, Any]) -> Grants:
    stopped = None
    if reply["state"] != "open":
        stopped = Hindrance(why=reply["state"], wait_s=reply["wait_ms"] / 1000)
    return Grants(
        now_ms=int(reply["now"]),
        answers=tuple(
            Hindrance(why=answer[0], wait_s=answer[1] / 1000) if isinstance(answer, list) else int(answer)
            for answer in reply["jobs"] or ()
        ),
        stopped=stopped,
        next_s=reply.get("next_ms", 0) / 1000,
        free=int(reply.get("free", 0)),
        measures=Measures.of(reply.get("measures") or {}),
    )


def _live(row: Mapping[str, Any]) -> Live:
    return Live(
        in_flight=row["calls"],
        waiting=row["places"],
        paused_s=row["paused_ms"] / 1000,
        broken_s=row["broken_ms"] / 1000,
        is_failing=bool(row["failing"]),
        factor=row["factor"],
        rate=row.get("rate"),
        rate_wait_s=row["wait_ms"] / 1000,
        measures=Measures.of(row["measures"] or {}),
        rates=tuple(sorted((_rate(*each) for each in row["rates"]), key=lambda rate: rate.name)),
        record=Record.of(row["sums"], row["took"], now_ms=row["now"]) if "sums" in row else Record(),
    )


def _rate(name: str, limit: float, used: float, first: float, *waits_ms: float) -> RateUse:
    pace_s, first_s, last_s = (max(0.0, wait_ms / 1000) for wait_ms in waits_ms)
    return RateUse(name=name, limit=limit, used=used, first=first, pace_s=pace_s, first_s=first_s, last_s=last_s)


def _units(rate: str, given: Started) -> int:
    match rate:
        case "rpm" | "rpd":
            return given.requests
        case "itpm":
            return given.tokens_in
        case "otpm":
            return given.tokens_out
        case _:
            return given.tokens_in + given.tokens_out


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
