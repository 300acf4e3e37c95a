"""Every worker in one process, without Celery: the test hands over what the broker would, and calls the steps."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, cast

from router_service.routing.policy import RoutingPolicy
from router_service.tickets import dead_letter_queue, model_queue
from workers.dead_letter import DeadLetterWorker
from workers.janitor import Janitor
from workers.provider import ProviderWorker
from workers.providers.simulated import SimulatedAdapter
from workers.router import Router

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import redis

    from router_service.catalog.models import Model
    from router_service.policy.outcomes import Outcome
    from workers.providers.base import Adapter
    from workers.runtime import Runtime

    Behaviour = Callable[[Model, int], Awaitable[Outcome]]


class ScriptedProvider:
    """A provider that does what the test says: `behave(model, attempt)` makes the outcome, waits or raises."""

    def __init__(self, behave: Behaviour) -> None:
        self._behave = behave
        self.calls: list[tuple[str, int]] = []

    async def complete(self, model: Model, body: str, *, key: str | None, attempt: int) -> Outcome:  # noqa: ARG002
        self.calls.append((model.id, attempt))
        return await self._behave(model, attempt)

    async def close(self) -> None:
        """Nothing is held."""


class Workers:
    """One of each role over one runtime."""

    def __init__(self, runtime: Runtime, admin_redis: redis.Redis, *, adapter: Adapter | None = None) -> None:
        policy = RoutingPolicy()
        self.runtime = runtime
        self._broker = admin_redis
        self.router = Router(runtime, policy=policy)
        self.provider = ProviderWorker(runtime, adapters={"simulated": adapter or SimulatedAdapter()}, policy=policy)
        self.dead_letter = DeadLetterWorker(runtime, policy=policy)
        self.janitor = Janitor(runtime)

    def pull(self, queue: str) -> list[Any]:
        """The arguments of every message that waits in a queue, as Celery would hand them over."""
        found = []
        while (raw := cast("bytes | None", self._broker.rpop(queue))) is not None:
            message = json.loads(raw)
            (argument,), _kwargs, _embed = json.loads(base64.b64decode(message["body"]))
            found.append(argument)
        return found

    async def route(self) -> None:
        """As after a tick: what waited for a rate or a pause is looked at again."""
        self.router._held.clear()
        await self.router.route_all()

    async def call(self, model_id: str = "alpha") -> int:
        """Every ticket in the model's queue. How many messages."""
        messages = self.pull(model_queue(model_id))
        for message in messages:
            await self.provider.call(message)
        return len(messages)

    async def settle_dead(self, model_id: str = "alpha") -> int:
        messages = self.pull(dead_letter_queue(model_id))
        for message in messages:
            await self.dead_letter.settle(message)
        return len(messages)

    async def in_flight(self, model_id: str = "alpha") -> int:
        return (await self.runtime.limiter.snapshot([model_id]))[model_id].in_flight

    async def work(self, *model_ids: str, rounds: int = 20) -> None:
        """Round and round until a round has nothing to do. What waits for a retry is made due by the test."""
        for _round in range(rounds):
            await self.route()
            done = [await self.call(model_id) for model_id in model_ids]
            done += [await self.settle_dead(model_id) for model_id in model_ids]
            if not any(done):
                await self.janitor.end_batches()
                return
        raise AssertionError(f"there was still work after {rounds} rounds")
