"""The catalog as the rest of the house sees it: frozen, checked, without secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Provider(StrEnum):
    """How a model is reached."""

    OPENAI = "openai"  # the OpenAI wire over HTTP: api.openai.com or any server that speaks it
    LOCAL = "local"  # extractive summarization in the worker, no key and no network
    SIMULATED = "simulated"  # seeded latency, tokens and failures, for tests and benchmarks


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the provider allows. None: no limit of that kind. Rates are per minute."""

    slots: int
    rpm: float | None = None
    tpm: float | None = None
    itpm: float | None = None
    otpm: float | None = None

    @property
    def has_rates(self) -> bool:
        return any(rate is not None for rate in (self.rpm, self.tpm, self.itpm, self.otpm))


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a model computes and where its provider stores, each as places in lower case (`eu`, `us`, ...)."""

    inference: frozenset[str]
    storage: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """How a simulated model behaves. `failure` is an HTTP status, or `timeout`."""

    latency_ms: float = 0.0
    jitter: float = 0.0
    failure_rate: float = 0.0
    failure: str = "500"
    output_tokens: int = 16
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One deployment: one queue, one set of limits. Several may share a `name` and then share its load.

    Costs are US dollars per token, None where nobody said; `timeout_s` bounds the whole call.
    """

    id: str
    name: str
    provider: Provider
    upstream: str
    api_base: str | None
    api_key: str | None
    limits: Limits
    timeout_s: float
    input_cost: float | None
    output_cost: float | None
    max_input_tokens: int | None
    max_output_tokens: int | None
    order: int
    weight: float
    features: frozenset[str]
    quality: Mapping[str, float]
    residency: Places | None
    simulation: Simulation | None

    def cost_usd(self, *, tokens_in: int, tokens_out: int) -> float | None:
        if self.input_cost is None or self.output_cost is None:
            return None
        return tokens_in * self.input_cost + tokens_out * self.output_cost

    def expected_quality(self, task: str = "default") -> float | None:
        return self.quality.get(task, self.quality.get("default"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often a job is tried on one model (first call included) and how long between the tries at the most."""

    tries: int
    base_s: float = 0.5
    most_s: float = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """All models on offer and what follows a failure. `hash` names this very content."""

    hash: str
    models: tuple[Model, ...]
    fallbacks: Mapping[str, tuple[str, ...]]
    default_fallbacks: tuple[str, ...]
    retries: Retries
    by_id: Mapping[str, Model] = field(init=False, repr=False, compare=False)
    by_name: Mapping[str, tuple[Model, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        names: dict[str, tuple[Model, ...]] = {}
        for model in self.models:
            names[model.name] = (*names.get(model.name, ()), model)
        object.__setattr__(self, "by_id", {model.id: model for model in self.models})
        object.__setattr__(self, "by_name", names)

    def has(self, name: str) -> bool:
        return name in self.by_name or name in self.by_id

    def named(self, name: str) -> tuple[Model, ...]:
        """The deployments behind a model name, or the one with that id. Empty where there is none."""
        if name in self.by_name:
            return self.by_name[name]
        return (self.by_id[name],) if name in self.by_id else ()

    def chain(self, name: str) -> tuple[tuple[Model, ...], ...]:
        """The deployments of `name`, then those of each of its fallbacks, in order."""
        follow = self.fallbacks.get(name, self.default_fallbacks)
        return tuple(self.named(each) for each in (name, *(other for other in follow if other != name)))
