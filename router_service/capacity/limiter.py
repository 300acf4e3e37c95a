"""Reserve, renew, settle: the live concurrency and rate counters of every model, in Redis.

A rate is kept by spacing (GCRA without a burst, ITU-T I.371, made strict for jobs of different sizes: see reserve.lua): no
sliding minute holds more than the limit. A margin covers the jitter between the start that was granted and the call. Redis'
clock is the only one used.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING, Any

from router_service.routing.policy import Counters

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from redis.asyncio import Redis

    from router_service.catalog.models import Limits, Model

PREFIX = "waybill"
GATE = f"{PREFIX}:gate"
MINUTE_MS = 60_000
JITTER_MARGIN_MS = 300
WINDOW_MS = MINUTE_MS + JITTER_MARGIN_MS
HORIZON_MS = 1_000
SHUT = "shut"
FULL_WAIT_S = 1.0  # a guess: when a call of a full model may end


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What one call needs. `reservation` names it; tokens are estimates, settled later."""

    reservation: str
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What one call used, against its need. A call that was never made used nothing and counts no request."""

    need: Need
    requests: int
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """The answer to a wish for capacity: a start time (ms, Redis time) for each of the first jobs, and what stopped the next.

    `stopped_by` is None where all were granted, else shut, paused, slots or the name of a rate;
    `wait_s` is when it is worth asking again, 0 where a slot must come free.
    """

    starts_ms: tuple[int, ...]
    stopped_by: str | None
    wait_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """A model's counters at one instant. `busy_s`: how long until its busiest rate is free."""

    in_flight: int
    paused_s: float
    busy_s: float

    def room(self, limits: Limits) -> int:
        """How many calls are worth reserving now, tokens aside.

        A rate that is reserved for most of the horizon has no room: it is filled up a quarter of the horizon at a time,
        which costs no throughput and spares looking at the queue for each single call.
        """
        slots = max(0, limits.slots - self.in_flight)
        free_s = HORIZON_MS / 1000 - self.busy_s
        if self.paused_s > 0 or free_s < HORIZON_MS / 4000:
            return 0
        return slots if limits.rpm is None else min(slots, int(free_s * limits.rpm / 60) + 1)

    @property
    def wait_s(self) -> float:
        """How long until a rate or a pause leaves room again; 0 where only slots can be short."""
        return max(self.paused_s, self.busy_s - HORIZON_MS * 3 / 4000, 0.0)

    def counters(self, limits: Limits) -> Counters:
        """What routing looks at."""
        slots_short = self.in_flight >= limits.slots
        return Counters(
            in_flight=self.in_flight,
            paused_s=self.paused_s,
            wait_s=max(self.wait_s, FULL_WAIT_S if slots_short else 0.0),
            room=self.room(limits),
            slots_short=slots_short,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a model was given within the last window, from which a lost rate is rebuilt."""

    requests: int
    tokens_in: int
    tokens_out: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseLeft:
    """A call in flight, from which a lost counter is rebuilt."""

    model_id: str
    reservation: str
    left_s: float


class Limiter:
    """The atomic actions over one Redis."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._scripts = {
            name: redis.register_script(resources.files("router_service.capacity").joinpath(f"{name}.lua").read_text())
            for name in ("reserve", "settle", "renew", "pause", "rebuild", "snapshot")
        }

    async def reserve(self, model: Model, needs: Sequence[Need], *, lease_s: float) -> Grant:
        """Reserve for as many of `needs` as fit, in order, each whole or not at all."""
        rates = _rates(model.limits)
        arguments: list[Any] = [int(lease_s * 1000), model.limits.slots, HORIZON_MS, WINDOW_MS, len(rates)]
        for name, limit in rates.items():
            arguments += [name, limit]
        for need in needs:
            arguments += [need.reservation, *_units(rates, 1, need.tokens_in, need.tokens_out)]
        keys = [GATE, *_keys(model.id)]
        state, wait_ms, *starts = map(_text, await self._scripts["reserve"](keys=keys, args=arguments))
        return Grant(
            starts_ms=tuple(int(start) for start in starts),
            stopped_by=None if state == "open" else state,
            wait_s=int(wait_ms) / 1000,
        )

    async def settle(self, model: Model, usages: Sequence[Usage]) -> int:
        """Give reservations back. How many were still held: one that was settled before, or has expired, counts nothing."""
        rates = _rates(model.limits)
        arguments: list[Any] = [len(rates)]
        for name, limit in rates.items():
            arguments += [name, WINDOW_MS / limit]
        for usage in usages:
            used = _units(rates, usage.requests, usage.tokens_in, usage.tokens_out)
            reserved = _units(rates, 1, usage.need.tokens_in, usage.need.tokens_out)
            arguments.append(usage.need.reservation)
            # A debt is at most a window's worth: a provider's count may be wrong, and must not shut the model for long.
            arguments += [
                min(after - before, int(limit) + 1)
                for after, before, limit in zip(used, reserved, rates.values(), strict=True)
            ]
        slots, rates_key, _pause = _keys(model.id)
        return int(await self._scripts["settle"](keys=[slots, rates_key], args=arguments))

    async def release(self, model_id: str, reservations: Sequence[str]) -> int:
        """Give slots back and leave the rates as they are: whether the calls were made is not known. How many were still held."""
        slots, rates_key, _pause = _keys(model_id)
        return int(await self._scripts["settle"](keys=[slots, rates_key], args=[0, *reservations]))

    async def renew(self, model_id: str, reservations: Sequence[str], *, lease_s: float) -> list[str]:
        """Prolong reservations. Those that are gone."""
        slots, _rates_key, _pause = _keys(model_id)
        gone = await self._scripts["renew"](keys=[slots], args=[int(lease_s * 1000), *reservations])
        return [_text(each) for each in gone]

    async def pause(self, model_id: str, *, pause_s: float) -> None:
        """Let nothing be reserved for so long; a longer pause stays."""
        await self._scripts["pause"](keys=[_keys(model_id)[2]], args=[max(1, int(pause_s * 1000))])

    async def snapshot(self, model_ids: Sequence[str]) -> dict[str, Live]:
        keys = [key for model_id in model_ids for key in _keys(model_id)]
        rows = await self._scripts["snapshot"](keys=keys) if keys else []
        return {
            model_id: Live(in_flight=int(row[0]), paused_s=int(row[1]) / 1000, busy_s=int(row[2]) / 1000)
            for model_id, row in zip(model_ids, rows, strict=True)
        }

    async def now_s(self) -> float:
        """Redis time, in seconds."""
        seconds, microseconds = await self._redis.time()
        return float(seconds) + microseconds / 1e6

    async def is_open(self) -> bool:
        """False after Redis lost its state or was started again, until the counters were rebuilt."""
        return bool(await self._redis.get(GATE) == (await self._run_id()).encode())

    async def shut(self) -> None:
        """Let nothing be reserved until the counters are rebuilt."""
        await self._redis.delete(GATE)

    async def _run_id(self) -> str:
        return str((await self._redis.info("server"))["run_id"])

    async def rebuild(
        self, models: Iterable[Model], leases: Iterable[LeaseLeft], given: Mapping[str, Given] | None = None
    ) -> bool:
        """Put back what is in flight and what was given of late, and open the gate. False where somebody else was first.

        A rate that gave S of its R units within the last window is busy for S/R of a window from now on: the windows to
        come hold the old units, at worst all of them, and no more new ones than are left beside those.
        """
        held: dict[str, list[Any]] = {}
        for lease in leases:
            held.setdefault(lease.model_id, []).extend([lease.reservation, int(lease.left_s * 1000)])
        keys: list[str] = [GATE]
        arguments: list[Any] = [await self._run_id()]
        rates_of: Mapping[str, Mapping[str, float]] = {model.id: _rates(model.limits) for model in models}
        for model_id in sorted({*rates_of, *held}):
            slots, rates_key, _pause = _keys(model_id)
            keys += [slots, rates_key]
            rates, reservations = rates_of.get(model_id, {}), held.get(model_id, [])
            of_late = (given or {}).get(model_id, Given(requests=0, tokens_in=0, tokens_out=0))
            units = _units(rates, of_late.requests, of_late.tokens_in, of_late.tokens_out)
            busy = zip(rates, units, strict=True)
            arguments.append(len(rates))
            for name, count in busy:
                arguments += [name, int(count * WINDOW_MS / rates[name])]
            arguments += [len(reservations) // 2, *reservations]
        return bool(await self._scripts["rebuild"](keys=keys, args=arguments))


def reservation(job_id_hex: str, epoch: int) -> str:
    """The name of a reservation: one per job and routing."""
    return f"{job_id_hex}:{epoch}"


def _rates(limits: Limits) -> dict[str, float]:
    """The limited rates, in units a window."""
    given = {"rpm": limits.rpm, "tpm": limits.tpm, "itpm": limits.itpm, "otpm": limits.otpm}
    return {name: rate for name, rate in given.items() if rate is not None}


def _units(rates: Mapping[str, float], requests: int, tokens_in: int, tokens_out: int) -> list[int]:
    units = {"rpm": requests, "tpm": tokens_in + tokens_out, "itpm": tokens_in, "otpm": tokens_out}
    return [units[name] for name in rates]


def _keys(model_id: str) -> tuple[str, str, str]:
    return f"{PREFIX}:slots:{model_id}", f"{PREFIX}:rates:{model_id}", f"{PREFIX}:pause:{model_id}"


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
