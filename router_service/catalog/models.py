"""The catalog as the rest of the house sees it: frozen, checked, without secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from router_service.catalog.policies import BUILT_IN, DEFAULT_POLICY, PRESETS, RoutingPolicy, Strategy
from router_service.jobs.spec import AUTO, Fallback, threshold_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from router_service.catalog.policies import Pair, Shadow
    from router_service.jobs.preferences import Safety
    from router_service.jobs.spec import RoutableJob

ANY_TENANT = "*"


class Provider(StrEnum):
    """How a model is reached."""

    OPENAI = "openai"  # the OpenAI wire over HTTP: api.openai.com or any server that speaks it
    LOCAL = "local"  # extractive summarization in the worker, no key and no network
    SIMULATED = "simulated"  # seeded latency, tokens and failures, for tests and benchmarks


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the provider allows. None: no limit of that kind. Rates are per minute, rpd and tpd per day.

    `burst_s`: how much of a rate may be used at once, as seconds of it.
    """

    slots: int
    rpm: float | None = None
    tpm: float | None = None
    itpm: float | None = None
    otpm: float | None = None
    rpd: float | None = None
    tpd: float | None = None
    burst_s: float = 1.0

    @property
    def has_rates(self) -> bool:
        return any(rate is not None for rate in (self.rpm, self.tpm, self.itpm, self.otpm, self.rpd, self.tpd))


@dataclass(frozen=True, slots=True, kw_only=True)
class Caps:
    """What a group of models, a tenant or a batch may use in all. None: no cap of that kind. Units as in Limits."""

    slots: int | None = None
    rpm: float | None = None
    tpm: float | None = None
    itpm: float | None = None
    otpm: float | None = None
    rpd: float | None = None
    tpd: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """A tenant's share where several wait (2.0 gets twice what 1.0 gets), and what it may use in all.

    `learn`: whose routing learns from what it says of its answers: its own, everybody's (shared), nobody's (no).
    """

    weight: float = 1.0
    caps: Caps = field(default_factory=Caps)
    policy: str | None = None
    learn: str = "own"


@dataclass(frozen=True, slots=True, kw_only=True)
class Breaker:
    """When a model is left alone for `cooldown_s`. LiteLLM's names and defaults.

    After more than `allowed_fails` failures of late new jobs go to another model where one may do them; after more than
    `blocking_fails` in a row nothing goes to it. The two are one where an operator named the first.
    """

    allowed_fails: int = 3
    blocking_fails: int = 100
    cooldown_s: float = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a model computes and where its provider stores, each as places in lower case (`eu`, `us`, ...)."""

    inference: frozenset[str]
    storage: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulation:
    """How a simulated model behaves. `failure` is an HTTP status, `timeout`, `context` or `content_policy`."""

    latency_ms: float = 0.0
    jitter: float = 0.0
    failure_rate: float = 0.0
    failure: str = "500"
    retry_after_s: float | None = None
    output_tokens: int = 16
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """One deployment: one queue, one set of limits. Several may share a `name` and then share its load.

    Costs are US dollars per token, None where nobody said; `timeout_s` bounds the whole call. Models of one `limit_group`
    share an account at their provider. `tokenizer`: the encoding that counts its prompts; None where they are estimated.
    `languages` and `domains`: the only ones that it is for; empty where it is for any. `latency_s`: of a call, as declared.
    """

    id: str
    name: str
    provider: Provider
    upstream: str
    api_base: str | None
    api_key: str | None
    limits: Limits
    limit_group: str | None
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
    tokenizer: str | None
    languages: frozenset[str] = frozenset()
    domains: frozenset[str] = frozenset()
    safety: Safety | None = None
    trains_on_data: bool | None = None
    retention_days: int | None = None
    latency_s: float | None = None

    def cost_usd(self, *, tokens_in: int, tokens_out: int) -> float | None:
        if self.input_cost is None or self.output_cost is None:
            return None
        return tokens_in * self.input_cost + tokens_out * self.output_cost

    def expected_quality(self, *kinds: str | None) -> float | None:
        """As declared for the first of these tasks or domains that the catalog names, else by `default`; None without one."""
        for kind in kinds:
            if kind is not None and kind in self.quality:
                return self.quality[kind]
        return self.quality.get("default")

    def is_one_of(self, names: Collection[str]) -> bool:
        """By id, by name or by provider."""
        return self.id in names or self.name in names or self.provider in names


class ErrorKind(StrEnum):
    """What went wrong with a call, by LiteLLM's names where it has one: `retry_policy` bounds the retries by them."""

    BAD_REQUEST = "BadRequestError"  # the request is wrong for every model
    CONTENT_POLICY = "ContentPolicyViolationError"  # the provider refuses the content
    CONTEXT_WINDOW = "ContextWindowExceededError"  # too long for this model
    UNSUPPORTED = "UnsupportedParamsError"  # this model does not know a parameter
    AUTHENTICATION = "AuthenticationError"  # the key is wrong, or may not do this
    NOT_FOUND = "NotFoundError"  # no such model, no such route
    BUDGET = "BudgetExceededError"  # the account has no money or quota left
    RATE_LIMIT = "RateLimitError"  # the provider is busy, or we were too fast
    TIMEOUT = "TimeoutError"  # no whole answer in time
    INTERNAL = "InternalServerError"  # 5xx, a broken connection, an answer that is none
    NOT_CALLED = "NotCalledError"  # this worker could not call the model at all


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How often a job is tried on one model (first call included) and how long between the tries at the most.

    `by_kind`: retries after an error of that kind, where the file says so; it goes before `tries`.
    """

    tries: int
    base_s: float = 0.5
    most_s: float = 30.0
    by_kind: Mapping[ErrorKind, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Catalog:
    """All models on offer and what follows a failure. `hash` names this very content.

    `groups`: what the models of a `limit_group` may use together.
    """

    hash: str
    models: tuple[Model, ...]
    fallbacks: Mapping[Fallback, Mapping[str, tuple[str, ...]]]
    default_fallbacks: tuple[str, ...]
    retries: Retries
    breaker: Breaker = field(default_factory=Breaker)
    groups: Mapping[str, Caps] = field(default_factory=dict)
    tenants: Mapping[str, Tenant] = field(default_factory=dict)
    policies: Mapping[str, RoutingPolicy] = field(default_factory=dict)
    pair: Pair | None = None
    shadow: Shadow | None = None
    by_id: Mapping[str, Model] = field(init=False, repr=False, compare=False)
    by_name: Mapping[str, tuple[Model, ...]] = field(init=False, repr=False, compare=False)
    by_order: tuple[tuple[Model, ...], ...] = field(init=False, repr=False, compare=False)
    _within: dict[tuple[str, str], RoutingPolicy] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        names: dict[str, tuple[Model, ...]] = {}
        for model in self.models:
            names[model.name] = (*names.get(model.name, ()), model)
        object.__setattr__(self, "by_id", {model.id: model for model in self.models})
        object.__setattr__(self, "by_name", names)
        orders: dict[int, list[Model]] = {}
        for model in self.models:
            orders.setdefault(model.order, []).append(model)
        object.__setattr__(self, "by_order", tuple(tuple(orders[order]) for order in sorted(orders)))

    @property
    def has_specialists(self) -> bool:
        """Whether a model is for some languages or domains alone."""
        return any(model.languages or model.domains for model in self.models)

    @property
    def has_kinds(self) -> bool:
        """Whether a model's quality is declared by task or domain."""
        return any(len(model.quality) > 1 for model in self.models)

    def has(self, name: str) -> bool:
        """Whether a job may ask for this name: a model's, one of `router-<threshold>`, or `auto`."""
        if threshold_of(name) is not None:
            return self.pair is not None
        return name == AUTO or name in self.by_name or name in self.by_id

    def named(self, name: str) -> tuple[Model, ...]:
        """The deployments behind a model name, or the one with that id. Empty where there is none."""
        if name in self.by_name:
            return self.by_name[name]
        return (self.by_id[name],) if name in self.by_id else ()

    def tenant(self, tenant_id: str) -> Tenant:
        """What the file says of this tenant, else of any (`*`), else no caps."""
        return self.tenants.get(tenant_id) or self.tenants.get(ANY_TENANT) or Tenant()

    def policy_of(self, job: RoutableJob) -> RoutingPolicy:
        """The one that the job names, within the bounds of its tenant's; else its tenant's, else `default`, else the built-in.

        A strategy's name is one too. A job that wants a mean quality without naming a policy gets one that aims at it.
        """
        own, wishes = self._policy_of_tenant(job.tenant_id), job.spec.preferences
        wanted = wishes.policy
        if wanted is None and wishes.quality_target is not None and not own.has_target:
            wanted = Strategy.QUALITY_TARGET
        return own if wanted is None else self._tightened(wanted, own)

    @property
    def all_policies(self) -> Iterable[RoutingPolicy]:
        """Every policy that a job may have been decided under."""
        owns = {each.hash: each for each in (BUILT_IN, *self.policies.values(), *PRESETS.values())}
        yield from owns.values()
        for own in owns.values():
            if own.bounds != BUILT_IN:
                yield from (self._tightened(name, own) for name in (*self.policies, *PRESETS))

    def _policy_of_tenant(self, tenant_id: str) -> RoutingPolicy:
        named = self.tenant(tenant_id).policy
        found = None if named is None else self.policies.get(named) or PRESETS.get(named)
        return found or self.policies.get(DEFAULT_POLICY, BUILT_IN)

    def _tightened(self, wanted: str, own: RoutingPolicy) -> RoutingPolicy:
        key = (wanted, own.hash)
        if key not in self._within:
            named = self.policies.get(wanted) or PRESETS.get(wanted)
            if named is None:
                return RoutingPolicy(name=wanted, missing=wanted)
            self._within[key] = named if named == own or own.bounds == BUILT_IN else named.within(own.bounds)
        return self._within[key]

    def names_chain(self, name: str, kind: Fallback) -> bool:
        """Whether the file names a chain of this very kind for `name`."""
        return name in self.fallbacks.get(kind, {})

    def may_pass_refusal(self, model: Model) -> bool:
        """Whether the file lets a content that `model` refused go on: it begins a chain for that, or stands within one."""
        return any(
            not {model.name, model.id}.isdisjoint((name, *others))
            for name, others in self.fallbacks.get(Fallback.CONTENT_POLICY, {}).items()
        )

    def chain(self, name: str, kind: Fallback = Fallback.GENERAL) -> tuple[tuple[Model, ...], ...]:
        """In ranks: the deployments of `name`, then those of each of its fallbacks, in order.

        Where the file names a chain of the kind asked for, `name` itself is left out: what is too long for it, or refused
        by it, would be so under another of its ids. Without one, a context window is looked for along the general chain; a
        refused content goes nowhere.
        """
        if kind is not Fallback.GENERAL and self.names_chain(name, kind):
            return ((), *(self.named(other) for other in self.fallbacks[kind][name] if other != name))
        if kind is Fallback.CONTENT_POLICY:
            return ((),)
        follow = self.fallbacks.get(Fallback.GENERAL, {}).get(name, self.default_fallbacks)
        return tuple(self.named(each) for each in (name, *(other for other in follow if other != name)))
