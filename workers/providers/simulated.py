"""A model that answers from a seed: latency, tokens and failures as the catalog says. For tests, benchmarks and demonstrations.

The same body, seed and attempt give the same behaviour on every machine.
"""

from __future__ import annotations

import asyncio
import json
import random
from hashlib import blake2b
from typing import TYPE_CHECKING

from router_service.chat.request import read_chat
from router_service.policy.outcomes import Answered, Failed, ModelUnfit, Outcome, Refused, Throttled
from workers.providers.base import chat_completion

if TYPE_CHECKING:
    from router_service.catalog.models import Model, Simulation

ENDLESS_S = 86_400.0


class SimulatedAdapter:
    """Echoes nothing of the prompt: the answer is made of the seed alone."""

    async def complete(self, model: Model, body: str, *, key: str | None, attempt: int) -> Outcome:  # noqa: ARG002
        simulation = model.simulation
        if simulation is None:
            return ModelUnfit(code="not_simulated", message=f"model {model.id} has no simulation settings")
        chance = _chance(simulation, model.id, body, attempt)
        latency_s = simulation.latency_ms / 1000 * (1 + simulation.jitter * (2 * chance.random() - 1))
        if latency_s > 0:
            await asyncio.sleep(latency_s)
        if chance.random() < simulation.failure_rate:
            return await _failure(simulation)
        return _answer(model, simulation, body, chance)

    async def close(self) -> None:
        """Nothing is held."""


def _chance(simulation: Simulation, model_id: str, body: str, attempt: int) -> random.Random:
    seed = blake2b(f"{simulation.seed}/{model_id}/{attempt}/{body}".encode(), digest_size=8).digest()
    return random.Random(seed)  # noqa: S311 (a simulation)


async def _failure(simulation: Simulation) -> Outcome:
    if simulation.failure == "timeout":
        await asyncio.sleep(ENDLESS_S)
    status = int(simulation.failure) if simulation.failure != "timeout" else 504
    message = f"simulated failure {simulation.failure}"
    if status == 429:
        return Throttled(retry_after_s=1.0, message=message)
    if status == 400:
        error = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": "simulated"}}
        return Refused(code="invalid_request_error", message=message, status_code=400, body=json.dumps(error))
    if status in {401, 404}:
        return ModelUnfit(code=f"http_{status}", message=message, status_code=status)
    return Failed(code=f"http_{status}", message=message, status_code=status)


def _answer(model: Model, simulation: Simulation, body: str, chance: random.Random) -> Outcome:
    shape = read_chat(json.loads(body))
    wanted = simulation.output_tokens if shape.tokens_out is None else min(simulation.output_tokens, shape.tokens_out)
    text = " ".join(f"word{chance.randrange(1000)}" for _ in range(wanted))
    answer = chat_completion(
        answer_id=f"chatcmpl-{chance.getrandbits(96):024x}",
        model=model.name,
        text=text,
        tokens_in=shape.tokens_in,
        tokens_out=wanted,
    )
    return Answered(body=answer, tokens_in=shape.tokens_in, tokens_out=wanted)
