"""The loads of `waybill bench limits`: which limits the provider has, and which jobs are to go through them.

The number of jobs follows from how long the lower bound is to be. All are small enough for two cores to be bored: what is
measured is how the limits are used, not how fast the machine is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from router_service.evaluation.allowance import MINUTE_S, Offer
from router_service.evaluation.oracle import prompt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

AUTO = "auto"
WARM = "warm"
ALONE = "default"
BIG, SMALL = "big", "small"
BACKLOG_RATIO = 10
BURST_S = 1.0  # what the catalog allows where it says nothing
WARM_MAX_INPUT = 60  # tokens: no job of a shape is so short, so that `auto` never goes there
TOKENS_IN, TOKENS_OUT = 300, 100
SMALLEST, LARGEST = 100, 2000
PRICE = {"input_cost_per_token": 1e-7, "output_cost_per_token": 2e-7}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job: its tag is its custom id and tells the oracle who calls. Tokens as the oracle counts them."""

    tag: str
    tokens_in: int = TOKENS_IN
    tokens_out: int = TOKENS_OUT

    @property
    def tokens(self) -> int:
        return self.tokens_in + self.tokens_out

    def body(self, model: str) -> dict[str, Any]:
        """A chat completion's body."""
        content = prompt(self.tag, tokens_in=self.tokens_in, tokens_out=self.tokens_out)
        return {
            "model": model,
            "messages": [{"role": "user", "content": content}],
            "max_tokens": self.tokens_out,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """A load: the provider's models, the name that every job asks for, and one batch of jobs for each tenant."""

    name: str
    offers: Mapping[str, Offer]
    asks: str
    batches: Mapping[str, tuple[Job, ...]]

    @property
    def jobs(self) -> list[Job]:
        return [job for batch in self.batches.values() for job in batch]


def rpm(seconds: float) -> Shape:
    offer = Offer(slots=100, rpm=600, latency_s=0.2, jitter=0.2)
    return _one("rpm", offer, _alike(_starts(seconds, offer, 600 / MINUTE_S)))


def tpm(seconds: float) -> Shape:
    offer = Offer(slots=100, tpm=120_000, latency_s=0.2, jitter=0.2)
    return _one("tpm", offer, _alike(_starts(seconds, offer, 120_000 / MINUTE_S / Job(tag="").tokens)))


def slots(seconds: float) -> Shape:
    offer = Offer(slots=20, latency_s=1.0, jitter=0.2)
    return _one("slots", offer, _alike(round(seconds * offer.slots / offer.latency_s)))


def models(seconds: float) -> Shape:
    """Two models with different limits and one price: both have to be busy all the time."""
    offers = {
        "models-a": Offer(slots=100, rpm=400, latency_s=0.2, jitter=0.2),
        "models-b": Offer(slots=100, tpm=80_000, latency_s=0.4, jitter=0.2),
    }
    per_s = 400 / MINUTE_S + 80_000 / MINUTE_S / Job(tag="").tokens
    jobs = _alike(_starts(seconds, offers["models-a"], per_s))
    return Shape(name="models", offers=offers, asks=AUTO, batches={ALONE: jobs})


def mixed(seconds: float) -> Shape:
    """Jobs of 100 to 2000 tokens, as many small ones as large ones on a logarithmic scale.

    In no order, but that a largest one comes last: the bound allows for that, and so whoever keeps the order can reach it. But
    for what a large job at the head leaves unused while it waits: E[s^2] / (2 E[s]) tokens of each window, here 0.2 %.
    """
    offer = Offer(slots=100, tpm=240_000, latency_s=0.2, jitter=0.2)
    room = (seconds - offer.latency_s + BURST_S) * 240_000 / MINUTE_S
    jobs: list[Job] = []
    while sum(job.tokens for job in jobs) < room:
        tag = f"{ALONE}/{len(jobs)}"
        jobs.append(_sized(tag, round(SMALLEST * (LARGEST / SMALLEST) ** _drawn(tag))))
    return _one("mixed", offer, (*jobs, _sized(f"{ALONE}/{len(jobs)}", LARGEST)))


def tenants(seconds: float) -> Shape:
    """Two tenants of one weight; the one has ten times the work of the other, and was there first."""
    offer = Offer(slots=100, rpm=600, latency_s=0.2, jitter=0.2)
    small = round(_starts(seconds, offer, 600 / MINUTE_S) / (BACKLOG_RATIO + 1))
    batches = {BIG: _alike(BACKLOG_RATIO * small, BIG), SMALL: _alike(small, SMALL)}
    return Shape(name="tenants", offers={"tenants": offer}, asks="tenants", batches=batches)


SHAPES: Mapping[str, Callable[[float], Shape]] = {
    make.__name__: make for make in (rpm, tpm, slots, models, mixed, tenants)
}


def catalog(offers: Mapping[str, Offer], *, api_base: str) -> dict[str, Any]:
    """The catalog over the oracle, as a user writes it: its limits and nothing else. One price for all; `warm` beside them."""
    return {
        "model_list": [
            {
                "model_name": name,
                "litellm_params": {
                    "model": f"openai/{name}",
                    "api_base": api_base,
                    "max_parallel_requests": offer.slots,
                    **offer.rates,
                },
                "model_info": PRICE | ({"max_input_tokens": WARM_MAX_INPUT} if name == WARM else {}),
            }
            for name, offer in {**offers, WARM: WARM_OFFER}.items()
        ]
    }


WARM_OFFER = Offer(slots=100, short_s=None, latency_s=0.0)


def warm_jobs(count: int) -> Iterable[Job]:
    """Short jobs for the model `warm`, which has no rates: they wake every process and use up nothing that is measured."""
    return (Job(tag=f"{WARM}/{number}", tokens_in=8, tokens_out=4) for number in range(count))


def _one(name: str, offer: Offer, jobs: tuple[Job, ...]) -> Shape:
    return Shape(name=name, offers={name: offer}, asks=name, batches={ALONE: jobs})


def _sized(tag: str, tokens: int) -> Job:
    return Job(tag=tag, tokens_in=tokens - tokens // 4, tokens_out=tokens // 4)


def _alike(count: int, tenant: str = ALONE) -> tuple[Job, ...]:
    return tuple(Job(tag=f"{tenant}/{number}") for number in range(count))


def _starts(seconds: float, offer: Offer, per_s: float) -> int:
    """How many jobs can start at this rate so that the last one ends after `seconds`: the burst at once, then one by one."""
    return math.floor((seconds - offer.latency_s + BURST_S) * per_s) + 1


def _drawn(tag: str) -> float:
    return int.from_bytes(blake2b(f"size/{tag}".encode(), digest_size=8).digest()) / 2**64
