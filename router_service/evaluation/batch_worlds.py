"""Batches and models to measure assignment on: what is predicted of each job and what then happens, drawn from a seed.

A job has a domain, a language, a difficulty and perhaps a place that it must stay in. A model is right with p = logistic(skill -
difficulty + how this job suits it). What is predicted is that with noise, shrunk so that predictions are calibrated.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from router_service.assignment.capacity import Capacity
from router_service.assignment.jobs import Jobs
from router_service.catalog.models import Caps, Limits

if TYPE_CHECKING:
    from router_service.assignment.jobs import Flags, Floats

DOMAINS = 4
LANGUAGES = 6
SUITS = 0.9  # standard deviation of how a job suits a model, in logits
HIDDEN = 0.7  # that of what no prediction knows of it
ANSWERS = 0.5  # sigma of the logarithm of answer length / what was expected
JITTER = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A model: skill in logits, USD per million tokens, tokens in a second, how long its answers are beside others'."""

    id: str
    skill: float
    usd_in: float
    usd_out: float
    speed: float
    verbosity: float = 1.0
    is_eu: bool = False
    languages: int = LANGUAGES


# Skills and prices are spread as those of models on offer are: a step in skill costs two to five times as much.
KINDS = (
    Kind(id="nano", skill=0.0, usd_in=0.05, usd_out=0.20, speed=150, verbosity=0.9, languages=2),
    Kind(id="small", skill=0.7, usd_in=0.15, usd_out=0.60, speed=110, is_eu=True, languages=4),
    Kind(id="coder", skill=0.9, usd_in=0.25, usd_out=1.00, speed=90, verbosity=1.1, languages=3),
    Kind(id="medium", skill=1.5, usd_in=0.60, usd_out=2.40, speed=70, is_eu=True),
    Kind(id="large", skill=2.2, usd_in=2.50, usd_out=10.0, speed=55, verbosity=1.2),
    Kind(id="frontier", skill=2.8, usd_in=5.00, usd_out=25.0, speed=45, verbosity=1.4, is_eu=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A batch's conditions.

    `tpm`, `rpm`, `slots`: what each model's limit gives until the deadline, as a share of what the whole batch would use there;
    None: none that binds. `group`: tpm of the first three together. `share`: the quality, of the best attainable;
    `budget_share`: instead of it a budget, as a share of what the dearest model costs.
    """

    name: str
    says: str
    tpm: tuple[float, ...] | None = None
    rpm: tuple[float, ...] | None = None
    slots: tuple[float, ...] | None = None
    group: float | None = None
    deadline_s: float = 600.0
    share: float = 0.97
    budget_share: float | None = None
    eu_share: float = 0.0
    languages: int = 1


SCENARIOS = (
    Scenario(name="tokens", says="tpm binds on the cheap models", tpm=(0.15, 0.15, 0.15, 0.3, 1.5, 1.5)),
    Scenario(name="slots", says="slots bind on the cheap models", slots=(0.15, 0.15, 0.15, 0.3, 1.5, 1.5)),
    Scenario(
        name="deadline",
        says="a tight deadline: all limits together give little more than is needed",
        tpm=(0.2, 0.2, 0.2, 0.2, 0.2, 0.2),
        share=0.98,
    ),
    Scenario(
        name="languages",
        says="six languages, which only some models know; tpm and rpm bind",
        tpm=(0.2, 0.2, 0.2, 0.3, 1.5, 1.5),
        rpm=(0.3, 0.3, 0.3, 0.3, 1.5, 1.5),
        languages=LANGUAGES,
    ),
    Scenario(
        name="residency",
        says="two jobs in five must stay in the EU, where three models are",
        tpm=(0.2, 0.2, 0.2, 0.25, 1.5, 1.5),
        eu_share=0.4,
    ),
    Scenario(
        name="budget",
        says="a budget instead of a quality, an account that the cheap models share",
        tpm=(0.4, 0.4, 0.4, 0.4, 1.5, 1.5),
        group=0.35,
        budget_share=0.12,
    ),
    Scenario(name="slack", says="no limit binds", tpm=(2.0, 2.0, 2.0, 2.0, 2.0, 2.0)),
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """A batch: what is expected of it, its limits, and what really happens at each model, by job and model.

    `right`: the true probability of a right answer; `cost_usd`, `tokens_out` and `latency_s` of the answer that comes.
    """

    jobs: Jobs
    capacity: Capacity
    deadline_s: float
    right: Floats
    cost_usd: Floats
    tokens_out: Floats
    latency_s: Floats


def world(scenario: Scenario, *, jobs: int, seed: int) -> World:
    """The batch of this seed; two scenarios of a seed have the same jobs apart from what they say."""
    drawn = _Draw.of(jobs, np.random.default_rng(seed))
    expected = drawn.jobs(_eligible(scenario, drawn))
    cost, out, latency = drawn.outcome(expected)
    return World(
        jobs=expected,
        capacity=_capacity(scenario, expected),
        deadline_s=scenario.deadline_s,
        right=drawn.right,
        cost_usd=cost,
        tokens_out=out,
        latency_s=latency,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Draw:
    """All chance of a batch, whatever the scenario makes of it."""

    keys: np.ndarray[tuple[int, ...], np.dtype[np.uint64]]
    tokens_in: Floats
    tokens_out: Floats
    right: Floats
    predicted: Floats
    place: Floats
    language: Floats
    strays: Floats
    jitter: Floats
    price: tuple[Floats, Floats] = field(
        default_factory=lambda: (
            np.array([kind.usd_in for kind in KINDS]) * 1e-6,
            np.array([kind.usd_out for kind in KINDS]) * 1e-6,
        )
    )

    @classmethod
    def of(cls, count: int, random: np.random.Generator) -> _Draw:
        width = len(KINDS)
        domain = random.integers(0, DOMAINS, count)
        skill = np.array([kind.skill for kind in KINDS]) + 0.5 * random.normal(size=(DOMAINS, width))
        known = skill[domain] - 1.2 * random.normal(size=(count, 1)) + SUITS * random.normal(size=(count, width))
        logits = known + HIDDEN * random.normal(size=(count, width))
        hard = random.normal(size=count)
        verbosity = np.array([kind.verbosity for kind in KINDS])
        answers = np.exp(5.3 + 0.7 * (0.4 * hard + 0.9 * random.normal(size=count)))
        return cls(
            keys=random.integers(0, 2**63, count).astype(np.uint64),
            tokens_in=np.exp(6.3 + 0.9 * random.normal(size=count)),
            tokens_out=answers[:, None] * verbosity,
            right=1 / (1 + np.exp(-logits)),
            predicted=1 / (1 + np.exp(-known / np.sqrt(1 + np.pi / 8 * HIDDEN**2))),
            place=random.random(count),
            language=random.random(count),
            strays=np.exp(ANSWERS * random.normal(size=(count, 1)) - ANSWERS**2 / 2),
            jitter=np.exp(JITTER * random.normal(size=(count, width)) - JITTER**2 / 2),
        )

    def jobs(self, eligible: Flags) -> Jobs:
        speed = np.array([kind.speed for kind in KINDS])
        return Jobs(
            models=tuple(kind.id for kind in KINDS),
            keys=self.keys,
            tokens_in=self.tokens_in,
            quality=self.predicted,
            cost_usd=self.tokens_in[:, None] * self.price[0] + self.tokens_out * self.price[1],
            tokens_out=self.tokens_out,
            latency_s=0.4 + self.tokens_out / speed,
            eligible=eligible,
        )

    def outcome(self, expected: Jobs) -> tuple[Floats, Floats, Floats]:
        out = self.tokens_out * self.strays
        cost = self.tokens_in[:, None] * self.price[0] + out * self.price[1]
        return cost, out, (0.4 + (expected.latency_s - 0.4) * self.strays) * self.jitter


def _eligible(scenario: Scenario, drawn: _Draw) -> Flags:
    language = (drawn.language**2 * scenario.languages).astype(np.int64)
    in_eu = drawn.place < scenario.eu_share
    knows = language[:, None] < np.array([kind.languages for kind in KINDS])
    return np.asarray(knows & (~in_eu[:, None] | np.array([kind.is_eu for kind in KINDS])), dtype=np.bool_)


def _capacity(scenario: Scenario, jobs: Jobs) -> Capacity:
    """Rates of which the scenario's shares are what the whole batch would use at each model until the deadline."""
    minutes = scenario.deadline_s / 60
    tokens = (jobs.tokens_in[:, None] + jobs.tokens_out).sum(axis=0) / minutes
    calls = jobs.latency_s.sum(axis=0) / scenario.deadline_s
    limits = {}
    for at, model in enumerate(jobs.models):
        limits[model] = Limits(
            slots=max(1, round(calls[at] * (scenario.slots[at] if scenario.slots else 3.0))),
            tpm=float(tokens[at]) * scenario.tpm[at] if scenario.tpm else None,
            rpm=len(jobs) / minutes * scenario.rpm[at] if scenario.rpm else None,
        )
    cap = None if scenario.group is None else Caps(tpm=float(tokens[1]) * scenario.group)
    shared = () if cap is None else (("account", cap, jobs.models[:3]),)
    return Capacity.of(limits, shared=shared, horizon_s=scenario.deadline_s)
