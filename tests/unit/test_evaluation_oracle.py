from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from router_service.evaluation.allowance import Offer
from router_service.evaluation.oracle import Oracle, prompt


def request(tag: str = "one/1", *, tokens_in: int = 30, tokens_out: int = 20, **fields: Any) -> bytes:
    content = prompt(tag, tokens_in=tokens_in, tokens_out=tokens_out)
    body = {"model": "m", "messages": [{"role": "user", "content": content}], "max_tokens": tokens_out}
    return json.dumps(body | fields).encode()


def oracle(**limits: Any) -> Oracle:
    return Oracle({"m": Offer(**({"slots": 10, "latency_s": 0.0} | limits))})


@pytest.mark.parametrize("tokens_in", [8, 30, 1500])
async def test_a_prompt_has_the_tokens_that_it_was_made_for(tokens_in: int) -> None:
    status, answer, _ = await oracle().complete(request(tokens_in=tokens_in))
    assert status == 200
    assert answer["usage"] == {"prompt_tokens": tokens_in, "completion_tokens": 20, "total_tokens": tokens_in + 20}


async def test_an_answer_is_no_longer_than_max_tokens() -> None:
    _, answer, _ = await oracle().complete(request(tokens_out=20, max_tokens=7))
    assert answer["usage"]["completion_tokens"] == 7


async def test_a_refused_call_says_when_to_come_again_in_both_forms() -> None:
    provider = Oracle({"m": Offer(slots=10, rpm=60, short_s=1, latency_s=0.0)}, clock=iter([5.0, 5.25, 5.25]).__next__)
    assert (await provider.complete(request()))[0] == 200
    status, answer, headers = await provider.complete(request())
    assert (status, answer["error"]["code"]) == (429, "rate_limit_exceeded")
    assert headers == {"retry-after-ms": "750", "retry-after": "1"}


async def test_calls_above_the_slots_are_refused_while_the_others_run() -> None:
    provider = oracle(slots=3, latency_s=0.05)
    answers = await asyncio.gather(*(provider.complete(request(f"one/{number}")) for number in range(8)))
    assert sorted(status for status, _, _ in answers) == [200] * 3 + [429] * 5
    log = provider.log()
    assert log["models"]["m"]["refused"] == {"slots": 5}
    assert (log["models"]["m"]["most_in_flight"], log["models"]["m"]["in_flight"]) == (3, 0)


async def test_the_log_has_every_call_with_its_tag_tokens_times_and_refusal() -> None:
    provider = oracle(rpm=60, short_s=1)
    await provider.complete(request("acme/1"))
    await provider.complete(request("acme/2"))
    first, second = provider.log()["calls"]
    assert (first["tag"], first["model"], first["tokens"], first["refused"]) == ("acme/1", "m", 50, None)
    assert first["ended_s"] >= first["arrived_s"]
    assert (second["tag"], second["ended_s"], second["refused"]) == ("acme/2", None, "rpm_in_1_s")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"model": "m"}', request(model="other"), b'{"model": "m", "messages": [{"content": "no head"}]}'],
)
async def test_what_is_no_call_of_the_benchmark_is_not_counted(body: bytes) -> None:
    provider = oracle()
    assert (await provider.complete(body))[0] == 404
    assert provider.calls == []
