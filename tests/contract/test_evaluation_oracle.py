"""The benchmark's mock provider as a process of its own: a client that cheats is caught, one that does not is served."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx
import pytest
from openai import AsyncOpenAI, DefaultAsyncHttpxClient, RateLimitError

from router_service.embedded.process import alive
from router_service.evaluation.allowance import Offer
from router_service.evaluation.oracle import prompt
from router_service.evaluation.stack import private_oracle

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from router_service.evaluation.stack import PrivateOracle

OFFERS = {
    "plain": Offer(slots=100, latency_s=0.0),
    "slots": Offer(slots=5, latency_s=0.5),
    "rpm": Offer(slots=100, rpm=10, short_s=None, latency_s=0.0),
    "tpm": Offer(slots=100, tpm=1000, short_s=None, latency_s=0.0),
    "rpm_in_1_s": Offer(slots=100, rpm=150, short_s=4, latency_s=0.0),
}


@pytest.fixture(scope="module")
def provider() -> Iterator[PrivateOracle]:
    with private_oracle(OFFERS) as running:
        yield running


@pytest.fixture
async def client(provider: PrivateOracle) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(
        base_url=f"{provider.url}/v1",
        api_key="none",
        max_retries=0,
        http_client=DefaultAsyncHttpxClient(trust_env=False),
    ) as client:
        yield client


async def ask(client: AsyncOpenAI, model: str, tag: str) -> int:
    """The tokens of the answer, or 0 where the provider refused."""
    content = prompt(tag, tokens_in=60, tokens_out=40)
    try:
        answer = await client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": content}], max_tokens=40
        )
    except RateLimitError:
        return 0
    assert answer.usage is not None
    return answer.usage.total_tokens


async def test_the_official_client_reads_the_answer(client: AsyncOpenAI) -> None:
    assert await ask(client, "plain", "one/1") == 100


@pytest.mark.parametrize(("limit", "allowed"), [("slots", 5), ("rpm", 10), ("tpm", 10), ("rpm_in_1_s", 10)])
async def test_a_client_that_sends_all_at_once_is_caught_above_each_limit(
    provider: PrivateOracle, client: AsyncOpenAI, limit: str, allowed: int
) -> None:
    tokens = await asyncio.gather(*(ask(client, limit, f"cheat/{number}") for number in range(25)))
    assert sum(each > 0 for each in tokens) == allowed
    log = provider.log()
    assert log.models[limit]["refused"] == {limit: 25 - allowed}
    calls = [call for call in log.calls if call.model == limit and call.tag.startswith("cheat/")]
    assert len({call.tag for call in calls}) == len(calls) == 25
    assert sum(call.refused == limit for call in calls) == 25 - allowed


async def test_a_call_of_a_client_that_went_away_holds_its_slot_to_its_end(provider: PrivateOracle) -> None:
    body = {
        "model": "slots",
        "messages": [{"role": "user", "content": prompt("gone/1", tokens_in=60, tokens_out=4)}],
        "max_tokens": 4,
    }
    async with httpx.AsyncClient(timeout=0.2, trust_env=False) as hasty:
        with pytest.raises(httpx.ReadTimeout):
            await hasty.post(f"{provider.url}/v1/chat/completions", json=body)
    assert provider.log().models["slots"]["in_flight"] == 1
    while provider.log().models["slots"]["in_flight"]:
        await asyncio.sleep(0.02)
    (gone,) = [call for call in provider.log().calls if call.tag == "gone/1"]
    assert gone.ended_s is not None
    assert gone.ended_s - gone.arrived_s >= 0.5


def test_the_provider_ends_with_the_measurement() -> None:
    with private_oracle({"plain": OFFERS["plain"]}) as running:
        assert alive(running.pid)
    assert not alive(running.pid)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{running.url}/log", trust_env=False)
