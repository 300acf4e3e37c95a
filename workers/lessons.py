"""What replies told of a provider's limits, passed on to the limiter before a slot is handed on."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from router_service.capacity.tallies import Tally
from router_service.errors import UnavailableError
from router_service.policy.outcomes import Throttled
from router_service.telemetry.logs import logger

if TYPE_CHECKING:
    from router_service.catalog.models import Model
    from router_service.policy.outcomes import Outcome, Seen
    from workers.runtime import Runtime

log = logger(__name__)
LEARN_AGAIN_S = 30.0


class Lessons:
    """Remembers what it passed on, so that the same limits in each reply cost one round trip in LEARN_AGAIN_S."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._learnt: dict[str, tuple[Seen, float]] = {}

    def has(self, model_id: str) -> bool:
        """Whether limits of a model were learned from its replies."""
        return model_id in self._learnt

    async def take(self, model: Model, outcome: Outcome) -> None:
        """Pause and lower what was throttled; keep to limits that are lower than ours, wait where nothing is left."""
        try:
            if isinstance(outcome, Throttled):
                self._runtime.tallies.add(Tally.THROTTLED, model=model.id)
                await self._runtime.limiter.throttled(model, pause_s=outcome.retry_after_s)
            if outcome.seen is not None and self._is_news(model, outcome.seen):
                await self._runtime.limiter.learn(model, outcome.seen)
                self._learnt[model.id] = (outcome.seen, time.monotonic())
        except UnavailableError as error:
            log.warning("the model could not be paused", model=model.id, error=str(error))

    def _is_news(self, model: Model, seen: Seen) -> bool:
        """A limit that is lower than ours and not told lately, or nothing left."""
        caps = [(getattr(seen, name), getattr(model.limits, name)) for name in ("rpm", "tpm", "itpm", "otpm")]
        if not seen.exhausted_s and not any(cap is not None and (own is None or cap < own) for cap, own in caps):
            return False
        before, told_at = self._learnt.get(model.id, (None, 0.0))
        return seen.exhausted_s > 0 or before != seen or time.monotonic() - told_at > LEARN_AGAIN_S
