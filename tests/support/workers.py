"""Every worker in one process, without Celery: the test hands over what the broker would, and calls the steps."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any, cast

from router_service.policy.outcomes import Answered
from router_service.tickets import dead_letter_queue, model_queue
from tests.support.polling import until
from tests.support.steps import ANSWER
from workers.dead_letter import DeadLetterWorker
from workers.insights import Insights
from workers.janitor import Janitor
from workers.planner import Planner
from workers.provider import ProviderWorker
from workers.providers.simulated import SimulatedAdapter
from workers.router import Router

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import redis

    from router_service.capacity.limiter import Live
    from router_service.catalog.models import Model
    from router_service.policy.outcomes import Outcome
    from tests.support.steps import Steps
    from workers.providers.base import Adapter
    from workers.runtime import Runtime

    Behaviour = Callable[[Model, int], Awaitable[Outcome]]

GOOD = Answered(body=ANSWER, tokens_in=8, tokens_out=4)


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


def always(outcome: Outcome) -> ScriptedProvider:
    async def behave(_model: Model, _attempt: int) -> Outcome:
        return outcome

    return ScriptedProvider(behave)


class HeldProvider(ScriptedProvider):
    """Answers when it is let go. `bodies` are the requests in the order of the calls; `most` were under way at once."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.bodies: list[str] = []
        self.under_way: list[str] = []
        self.most = 0
        self._permits = asyncio.Semaphore(0)

    async def complete(self, model: Model, body: str, *, key: str | None, attempt: int) -> Outcome:
        self.bodies.append(body)
        self.under_way.append(body)
        self.most = max(self.most, len(self.under_way))
        try:
            return await super().complete(model, body, key=key, attempt=attempt)
        finally:
            self.under_way.remove(body)

    def let_go(self, count: int = 1000) -> None:
        """So many calls may end."""
        for _call in range(count):
            self._permits.release()

    async def called(self, times: int = 1) -> None:
        async def is_called() -> bool:
            return len(self.calls) >= times

        await until(is_called)

    async def _answer(self, _model: Model, _attempt: int) -> Outcome:
        await self._permits.acquire()
        return GOOD


class Workers:
    """One of each role over one runtime. The provider worker's own loops are closed after the test."""

    def __init__(self, runtime: Runtime, admin_redis: redis.Redis, *, adapter: Adapter | None = None) -> None:
        self.runtime = runtime
        self._broker = admin_redis
        self.router = Router(runtime, Insights())
        self.provider = ProviderWorker(runtime, adapters={"simulated": adapter or SimulatedAdapter()})
        self.dead_letter = DeadLetterWorker(runtime, Insights())
        self.planner = Planner(runtime, Insights())
        self.janitor = Janitor(runtime, self.planner)

    def pull(self, queue: str) -> list[Any]:
        """The tickets of every message that waits in a queue."""
        return [tickets for tickets, *_model in self.messages(queue)]

    def messages(self, queue: str) -> list[list[Any]]:
        """The arguments of every message that waits in a queue, as Celery would hand them over."""
        found = []
        while (raw := cast("bytes | None", self._broker.rpop(queue))) is not None:
            message = json.loads(raw)
            arguments, _kwargs, _embed = json.loads(base64.b64decode(message["body"]))
            found.append(arguments)
        return found

    async def route(self) -> None:
        """As after a tick: what waited for a rate or a pause is looked at again."""
        self.router._held.clear()
        await self.router.route_all()

    async def routed(self, steps: Steps, *, count: int = 1, **changes: Any) -> list[list[Any]]:
        """The messages of jobs that were accepted and routed."""
        await steps.accept(count=count, **changes)
        await self.route()
        return self.messages(model_queue("alpha"))

    def calling(self, *messages: list[Any]) -> list[asyncio.Task[None]]:
        """Messages as the broker hands them over, each as a task of its own."""
        return [asyncio.create_task(self.provider.call(*message)) for message in messages]

    async def call(self, model_id: str = "alpha") -> int:
        """Every ticket in the model's queue. How many messages."""
        messages = self.messages(model_queue(model_id))
        await asyncio.gather(*(self.provider.call(*message) for message in messages))
        return len(messages)

    async def settle_dead(self, model_id: str = "alpha") -> int:
        messages = self.messages(dead_letter_queue(model_id))
        for message in messages:
            await self.dead_letter.settle(*message)
        return len(messages)

    async def in_flight(self, model_id: str = "alpha") -> int:
        return (await self.live(model_id)).in_flight

    async def live(self, model_id: str = "alpha") -> Live:
        model = self.runtime.offer.catalog.by_id[model_id]
        return (await self.runtime.limiter.snapshot([model]))[model_id]

    async def settled(self) -> None:
        """Until what has ended is settled, which is a moment after the job's end."""

        async def is_settled() -> bool:
            return not any(desk._ended for desk in self.provider._desks.values())

        await until(is_settled)

    async def idle(self, *model_ids: str) -> None:
        """Until no capacity is held."""

        async def is_idle() -> bool:
            lives = [await self.live(model_id) for model_id in model_ids or ("alpha",)]
            return not any(live.in_flight for live in lives)

        await until(is_idle)

    async def close(self) -> None:
        """End the provider worker's desks; the runtime is closed by whoever opened it."""
        await self.provider.close_desks()

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
