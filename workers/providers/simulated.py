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
from router_service.policy.outcomes import Answered, ModelUnfit, Outcome
from router_service.policy.replies import ErrorReply, outcome_of
from workers.providers.base import chat_completion

if TYPE_CHECKING:
    from router_service.catalog.models import Model, Simulation

ENDLESS_S = 86_400.0
THROTTLE_S = 1.0
CODES = {
    "400": "invalid_request_error",
    "context": "context_length_exceeded",
    "content_policy": "content_policy_violation",
}


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
    word = simulation.failure
    if word == "timeout":
        await asyncio.sleep(ENDLESS_S)
    status = int(word) if word.isdecimal() else 504 if word == "timeout" else 400
    wait_s = simulation.retry_after_s
    if status == 429 and wait_s is None:
        wait_s = THROTTLE_S
    code, message = CODES.get(word, f"http_{status}"), f"simulated failure {word}"
    error = {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
    reply = ErrorReply(status=status, codes=frozenset({code}), retry_after_s=wait_s)
    return outcome_of(reply, code=code, message=message, body=json.dumps(error))


def _answer(model: Model, simulation: Simulation, body: str, chance: random.Random) -> Outcome:
    shape = read_chat(json.loads(body))
    most = simulation.output_tokens if shape.tokens_out is None else shape.tokens_out // shape.choices
    wanted = min(simulation.output_tokens, most)
    text = " ".join(f"word{chance.randrange(1000)}" for _ in range(wanted))
    answer = chat_completion(
        answer_id=f"chatcmpl-{chance.getrandbits(96):024x}",
        model=model.name,
        text=text,
        tokens_in=shape.tokens_in,
        tokens_out=wanted,
    )
    return Answered(body=answer, tokens_in=shape.tokens_in, tokens_out=wanted)
