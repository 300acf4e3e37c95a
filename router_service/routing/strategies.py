"""How to choose among the models that may do a job: each strategy gives every prospect a score, and the lowest wins.

A score is a tuple: what decides, then what breaks its ties; ties of all of it go by a hash of job and model, never by chance.
Sources: LiteLLM's `routing_strategy` names and what its documentation says of each; for `quality-target`, the choice of argmax
p(correct) - lambda x cost, here in money: cost - worth x p(correct), worth = 1 / lambda.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeAlias

from router_service.catalog.policies import Strategy
from router_service.jobs.preferences import Sort
from router_service.routing.insight import Worth
from router_service.routing.prices import FREE, luck

if TYPE_CHECKING:
    from uuid import UUID

    from router_service.routing.question import Prospect

Score: TypeAlias = tuple[float, ...]
Scorer: TypeAlias = Callable[[Sequence["Prospect"]], list[Score]]
MARGIN = 0.013  # of p(right answer); docs/decisions/0015
MARGIN_COST = 0.15  # of what the usual model costs: expected costs are no more certain than that
USUAL_TOKENS_IN, USUAL_TOKENS_OUT = 600, 250
UNKNOWN_S = 1e6  # behind every latency that is known


def simple_shuffle(prospects: Sequence[Prospect]) -> list[Score]:
    """In proportion to weights, by weighted rendezvous hashing: -ln(u) / weight, of which the least wins."""
    return [
        (float(each.is_full), -math.log(share_of(each.question.job.id, each.model.id)) / weight)
        for each, weight in zip(prospects, _weights(prospects), strict=True)
    ]


def least_busy(prospects: Sequence[Prospect]) -> list[Score]:
    return [
        (float(each.counters.in_flight + each.counters.waiting) if each.counters else 0.0, float(each.is_full))
        for each in prospects
    ]


def lowest_latency(prospects: Sequence[Prospect]) -> list[Score]:
    """One whose latency is not known goes first, so that it becomes known; those within the buffer of the lowest are equal."""
    latencies = [each.latency_s or 0.0 for each in prospects]
    least = min(latencies)
    return [
        (float(each.is_full), 0.0 if latency <= least * (1 + each.question.policy.latency_buffer) else latency)
        for each, latency in zip(prospects, latencies, strict=True)
    ]


def lowest_cost(prospects: Sequence[Prospect]) -> list[Score]:
    return [(each.known_cost_usd, each.wait_s) for each in prospects]


def lowest_usage(prospects: Sequence[Prospect]) -> list[Score]:
    return [(float(each.is_full), each.counters.used_tpm or 0.0 if each.counters else 0.0) for each in prospects]


def cheapest_capable(prospects: Sequence[Prospect]) -> list[Score]:
    return [(each.known_cost_usd + _time_usd(each),) for each in prospects]


def quality_target(prospects: Sequence[Prospect]) -> list[Score]:
    """Cost and time less what the right answers are worth. Where that is not known yet, the best is taken, and it costs.

    The model that is best for usual jobs keeps each job for which no other is better by more than a margin: between two that are
    close a choice would turn on a single word, and what is gained by turning is within the error.
    """
    asked = prospects[0].question
    stated = asked.policy.quality_usd
    worth = asked.insight.worth if stated is None else Worth(stated)
    spent = [each.known_cost_usd + _time_usd(each) for each in prospects]
    if worth is None:
        return [(-(each.quality or 0.0), usd) for each, usd in zip(prospects, spent, strict=True)]
    usual, margin_usd = (worth.usual, worth.margin_usd) if worth.usual else _usual(prospects, worth.usd)
    values = [
        usd - worth.usd * (each.quality or 0.0) - (margin_usd if each.model.id == usual else 0.0)
        for each, usd in zip(prospects, spent, strict=True)
    ]
    return list(zip(values, spent, strict=True))


def by_plan(prospects: Sequence[Prospect]) -> list[Score]:
    """As the plan for the batch prices it: cost and tolls, less what the right answers are worth, and the job's lot.

    No wait of this moment counts: the tolls stand for it, and jobs that are alike, which only their lots tell apart, would all
    run from a model that is busy for a second.
    """
    scores: list[Score] = []
    for each in prospects:
        prices = each.question.insight.prices
        assert prices is not None, "only jobs of a planned batch are scored so"  # noqa: S101
        toll = prices.tolls.get(each.model.id, FREE)
        if (latency_s := prices.latency_s(each.model.id, tokens_out=each.tokens_out)) is None:
            latency_s = each.latency_s or 0.0
        toll_usd = toll.usd(tokens_in=each.question.spec.tokens_in, tokens_out=each.tokens_out, latency_s=latency_s)
        luck_usd = prices.softness_usd * luck(each.question.job.id, each.model.id)
        gain_usd = prices.quality_usd * (each.quality or 0.0)
        scores.append((each.known_cost_usd + toll_usd - gain_usd + luck_usd,))
    return scores


def fastest(prospects: Sequence[Prospect]) -> list[Score]:
    """Wait and latency; one whose latency is not known is behind all others."""
    return [
        (each.wait_s + (UNKNOWN_S if each.latency_s is None else each.latency_s), each.known_cost_usd)
        for each in prospects
    ]


def highest_throughput(prospects: Sequence[Prospect]) -> list[Score]:
    """Fewest seconds a token of the answer."""
    return [
        ((UNKNOWN_S if each.latency_s is None else each.latency_s / each.tokens_out), each.known_cost_usd)
        for each in prospects
    ]


SCORERS: dict[str, Scorer] = {
    Strategy.SIMPLE_SHUFFLE: simple_shuffle,
    Strategy.LEAST_BUSY: least_busy,
    Strategy.LATENCY: lowest_latency,
    Strategy.COST: lowest_cost,
    Strategy.USAGE: lowest_usage,
    Strategy.CHEAPEST_CAPABLE: cheapest_capable,
    Strategy.QUALITY_TARGET: quality_target,
    Strategy.FASTEST: fastest,
}
SORTS: dict[Sort, Scorer] = {
    Sort.PRICE: lowest_cost,
    Sort.THROUGHPUT: highest_throughput,
    Sort.LATENCY: fastest,
}


def margin_of(worth_usd: float, usual_usd: float) -> float:
    """By how many US dollars another model must be better for a job than that for usual jobs, which costs so much for those.

    Or by how much of anything else that a right answer's worth and a cost are measured in.
    """
    return max(MARGIN * worth_usd, MARGIN_COST * usual_usd)


def share_of(job_id: UUID, *words: str) -> float:
    """A number in (0, 1], even over jobs, and always the same for the same job and words."""
    digest = blake2b("\x1f".join(words).encode(), key=job_id.bytes, digest_size=8).digest()
    return (int.from_bytes(digest, "big") + 1) / 2**64


def _usual(prospects: Sequence[Prospect], worth_usd: float) -> tuple[str, float]:
    """The model that is best for a job of usual size by what it is expected to do on jobs of this kind, and its margin."""
    asked = prospects[0].question
    usual_usd = [
        each.model.cost_usd(tokens_in=USUAL_TOKENS_IN, tokens_out=USUAL_TOKENS_OUT) or 0.0 for each in prospects
    ]
    values = [
        usd - worth_usd * (asked.level(each.model) or 0.0) for each, usd in zip(prospects, usual_usd, strict=True)
    ]
    at = values.index(min(values))
    return prospects[at].model.id, margin_of(worth_usd, usual_usd[at])


def _time_usd(each: Prospect) -> float:
    policy = each.question.policy
    return policy.wait_usd_per_s * each.wait_s + policy.latency_usd_per_s * (each.latency_s or 0.0)


def _weights(prospects: Sequence[Prospect]) -> list[float]:
    """LiteLLM's order: `weight` where one is written, else rpm, else tpm, else all are equal."""
    models = [each.model for each in prospects]
    if any(model.weight != 1.0 for model in models):
        return [model.weight for model in models]
    for rate in ("rpm", "tpm"):
        rates = [getattr(model.limits, rate) for model in models]
        if all(each is not None for each in rates):
            return rates
    return [1.0] * len(models)
