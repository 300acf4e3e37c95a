"""LiteLLM's YAML dialect as Pydantic models: what may stand in a catalog file. Our own keys are under `router`."""

from __future__ import annotations

import re
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    TypeAdapter,
    field_validator,
    model_validator,
)

from router_service.catalog.nearness import nearest
from router_service.catalog.words import language_problem
from router_service.jobs.preferences import Safety
from router_service.jobs.spec import AUTO, Feature, Modality, threshold_of

MOST_USD_PER_TOKEN = 1.0
PLACE = re.compile(r"[a-z]{2,8}(-[a-z0-9]+)*")
KIND = re.compile(r"[a-z0-9][a-z0-9 _.-]{0,39}")
WILD = frozenset("*?[")


def _per_token(price: float) -> float:
    if price > MOST_USD_PER_TOKEN:
        raise ValueError(
            f"{price:g} is more than a dollar a token; prices are US dollars per token: 0.2 a million is 2e-7"
        )
    return price


def _place(word: str) -> str:
    if PLACE.fullmatch(word) is None:
        raise ValueError(
            f"{word!r} is written as no place is; lower case such as 'eu', 'us' or 'eu-west-1' would be right"
        )
    return word


def _kind(word: str) -> str:
    if KIND.fullmatch(word) is None:
        right = "1 to 40 of a-z, 0-9, '_', '.', '-' and spaces, such as 'law', would be right"
        raise ValueError(f"{word!r} is the name of no task and no domain; {right}")
    return word


def _language(word: str) -> str:
    if (problem := language_problem(word)) is not None:
        raise ValueError(problem)
    return word


Count = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False), AfterValidator(_per_token)]
Share = Annotated[float, Field(ge=0, le=1)]
Language = Annotated[str, AfterValidator(_language)]
KindName = Annotated[str, AfterValidator(_kind)]
Place = Annotated[str, AfterValidator(_place)]
Places = Annotated[
    list[Place], Field(min_length=1), BeforeValidator(lambda given: [given] if isinstance(given, str) else given)
]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x20\x7f]+$")]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,127}$")]
TenantId = Annotated[str, Field(min_length=1, max_length=200)]
Fallbacks = list[dict[Name, list[Name]]]
Tries = Annotated[int, Field(ge=0, le=20)]
Usd = Annotated[float, Field(ge=0, le=1e6)]
Target = Annotated[float, Field(gt=0, le=1)]


Failure: TypeAlias = Annotated[
    Literal["400", "401", "404", "408", "429", "500", "502", "503", "timeout", "context", "content_policy"],
    BeforeValidator(lambda given: str(given) if isinstance(given, int) else given),
]


def _matches(kinds: type[StrEnum]) -> AfterValidator:
    """A shell pattern that matches at least one of a closed set."""

    def check(pattern: str) -> str:
        if not any(fnmatchcase(each, pattern) for each in kinds):
            raise ValueError(f"{pattern!r} matches none{nearest(pattern, set(kinds))}")
        return pattern

    return AfterValidator(check)


def _language_pattern(pattern: str) -> str:
    return pattern if set(pattern) & WILD else _language(pattern)


Pattern = Annotated[str, Field(min_length=1, max_length=200)]
Patterns = Annotated[list[Pattern], Field(min_length=1)]
LanguagePattern = Annotated[Pattern, AfterValidator(_language_pattern)]
FeaturePattern = Annotated[Pattern, _matches(Feature)]
ModalityPattern = Annotated[Pattern, _matches(Modality)]


class Section(BaseModel):
    """A part of the file. A key that nobody knows is an error, not a wish."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Residency(Section):
    inference: Places
    storage: Places


class SimulatedSection(Section):
    latency_ms: Annotated[float, Field(ge=0)] = 0.0
    jitter: Share = 0.0
    failure_rate: Share = 0.0
    failure: Failure = "500"
    retry_after_s: Annotated[float, Field(ge=0, le=3600)] | None = None
    output_tokens: Count = 16
    seed: int = 0


class RouterKeys(Section):
    """Our own keys of one model, all optional."""

    quality: Annotated[dict[KindName, Share], Field(examples=["{default: 0.7}"])] = {}
    languages: Annotated[list[Language], Field(examples=["[de, en]"])] = []
    domains: Annotated[list[KindName], Field(examples=["[law]"])] = []
    modalities: Annotated[list[Modality], Field(examples=["[text, image]"])] = []
    features: Annotated[list[Feature], Field(examples=["[tools, json_schema]"])] = []
    safety: Safety | None = None
    data_residency: Annotated[Residency | None, Field(examples=["{inference: eu, storage: eu}"])] = None
    evidence: str | None = None
    retention_days: Annotated[int, Field(ge=0)] | None = None
    trains_on_data: bool | None = None
    latency_ms_p50: Annotated[float, Field(gt=0)] | None = None
    burst_s: Annotated[float, Field(ge=0, le=60)] | None = None
    limit_group: Id | None = None
    batch_lane: bool | None = None
    tokenizer: Literal["o200k_base", "cl100k_base"] | None = None
    simulated: SimulatedSection | None = None


class LitellmParams(Section):
    model: Name
    api_base: str | None = None
    api_key: str | None = None
    rpm: Rate | None = None
    tpm: Rate | None = None
    itpm: Rate | None = None
    otpm: Rate | None = None
    rpd: Rate | None = None
    tpd: Rate | None = None
    max_parallel_requests: Count | None = None
    timeout: Annotated[float, Field(gt=0, le=86_400)] | None = None
    region_name: str | None = None
    order: int = 0
    weight: Annotated[float, Field(gt=0)] = 1.0

    @field_validator("api_base")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None:
            TypeAdapter(HttpUrl).validate_python(value)
        return value


class ModelInfo(Section):
    id: Id | None = None
    mode: Literal["chat"] = "chat"
    base_model: str | None = None
    input_cost_per_token: Price | None = None
    output_cost_per_token: Price | None = None
    max_input_tokens: Count | None = None
    max_output_tokens: Count | None = None
    supports_vision: bool | None = None
    router: RouterKeys = RouterKeys()


class ModelEntry(Section):
    model_name: Name
    litellm_params: LitellmParams
    model_info: ModelInfo = ModelInfo()

    @field_validator("model_name")
    @classmethod
    def _not_reserved(cls, value: str) -> str:
        if value == AUTO:
            raise ValueError("'auto' is reserved: it asks the router to choose")
        if threshold_of(value) is not None:
            raise ValueError(f"{value!r} is reserved: such names choose between two models at a threshold")
        return value


class RetryPolicy(Section):
    """Retries by kind of error. LiteLLM's keys: the name of a kind in `ErrorKind`, and `Retries`."""

    BadRequestErrorRetries: Tries | None = None
    AuthenticationErrorRetries: Tries | None = None
    TimeoutErrorRetries: Tries | None = None
    RateLimitErrorRetries: Tries | None = None
    ContentPolicyViolationErrorRetries: Tries | None = None
    InternalServerErrorRetries: Tries | None = None


class ExplorationSection(Section):
    """How many jobs try another model than the best one, and within what bounds."""

    share: Annotated[float, Field(ge=0, le=0.2)] = 0.0
    most_quality_loss: Share = 0.05
    most_cost_factor: Annotated[float, Field(ge=1, le=100)] = 1.5


class WhenSection(Section):
    """What a rule looks at: each a list of shell patterns, of which one must match."""

    language: Annotated[list[LanguagePattern] | None, Field(min_length=1, examples=["[de, en]"])] = None
    domain: Annotated[Patterns | None, Field(examples=["[law]"])] = None
    task: Annotated[Patterns | None, Field(examples=["[summarize]"])] = None
    flag: Annotated[Patterns | None, Field(examples=['["pii.*"]'])] = None
    feature: Annotated[list[FeaturePattern] | None, Field(min_length=1, examples=["[vision]"])] = None
    modality: Annotated[list[ModalityPattern] | None, Field(min_length=1, examples=["[image]"])] = None
    tenant: Annotated[Patterns | None, Field(examples=["[acme]"])] = None

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not self.model_fields_set:
            raise ValueError(f"a rule looks at something: {', '.join(type(self).model_fields)}")
        return self


class RuleSection(Section):
    """A specialization: which models where."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    when: WhenSection
    only: list[Name] = []
    prefer: list[Name] = []
    avoid: list[Name] = []

    @model_validator(mode="after")
    def _some(self) -> Self:
        if not (self.only or self.prefer or self.avoid):
            raise ValueError("a rule names models under `only`, `prefer` or `avoid`")
        return self


class PolicySection(Section):
    """A routing policy. In the catalog under `router_settings.router.policies`, or a file of its own."""

    strategy: Annotated[str, Field(min_length=1, max_length=100)] = "cheapest-capable"
    quality_target: Target | None = None
    quality_usd: Usd | None = None
    min_quality: Share | None = None
    wait_usd_per_hour: Usd | None = None
    latency_usd_per_hour: Usd = 0.0
    latency_buffer: Annotated[float, Field(ge=0, le=10)] = 0.0
    signals: bool | None = None
    plan: bool | None = None
    learned: bool = True
    rules: list[RuleSection] = []
    exploration: ExplorationSection = ExplorationSection()
    terms: dict[str, Annotated[float, Field(allow_inf_nan=False)]] = {}
    constraints: list[str] = []

    @model_validator(mode="after")
    def _one_aim(self) -> Self:
        if self.quality_target is not None and self.quality_usd is not None:
            raise ValueError("give `quality_target` or `quality_usd`: the one is calibrated to what the other states")
        is_aimed = self.quality_target is not None or self.quality_usd is not None
        aims = "strategy" not in self.model_fields_set or self.strategy == "quality-target" or ":" in self.strategy
        if is_aimed and not aims:
            raise ValueError(f"`strategy: {self.strategy}` aims at no quality; leave it out, or write quality-target")
        return self


class PairSection(Section):
    """The two models of `router-<threshold>` names."""

    strong: Name
    weak: Name

    @model_validator(mode="after")
    def _two(self) -> Self:
        if self.strong == self.weak:
            raise ValueError(f"strong and weak are both {self.strong!r}; a pair is of two models")
        return self


class ShadowSection(Section):
    """A policy that decides beside the one in force, on a share of the jobs, and moves none."""

    policy: str
    share: Annotated[float, Field(gt=0, le=1)] = 0.1


class TenantSection(Section):
    """A tenant's share and caps, its policy, and who learns from what it says of answers (counts only, never content)."""

    policy: str | None = None
    learn: Literal["shared", "own", "no"] = "own"
    weight: Annotated[float, Field(gt=0, le=1000)] = 1.0
    max_parallel_requests: Count | None = None
    rpm: Rate | None = None
    tpm: Rate | None = None
    itpm: Rate | None = None
    otpm: Rate | None = None
    rpd: Rate | None = None
    tpd: Rate | None = None


class RouterSection(Section):
    """Our own keys of the whole router. The tenant `*` stands for each tenant that is not named."""

    tenants: dict[TenantId, TenantSection] = {}
    policies: dict[Annotated[str, Field(min_length=1, max_length=100)], PolicySection] = {}
    pair: PairSection | None = None
    shadow: ShadowSection | None = None


class StrategyArgs(Section):
    """LiteLLM's arguments of a strategy. `ttl` has no effect: our counters forget by themselves."""

    ttl: Annotated[float, Field(gt=0)] | None = None
    lowest_latency_buffer: Annotated[float, Field(ge=0, le=10)] | None = None


class RouterSettings(Section):
    routing_strategy: str | None = None
    routing_strategy_args: StrategyArgs = StrategyArgs()
    fallbacks: Fallbacks = []
    context_window_fallbacks: Fallbacks = []
    content_policy_fallbacks: Fallbacks = []
    default_fallbacks: list[Name] = []
    allowed_fails: Annotated[int, Field(ge=0)] | None = None
    cooldown_time: Annotated[float, Field(ge=0)] | None = None
    num_retries: Tries = 2
    retry_policy: RetryPolicy | None = None
    router: RouterSection = RouterSection()


class CatalogFile(Section):
    """The whole file."""

    model_list: Annotated[list[ModelEntry], Field(min_length=1)]
    router_settings: RouterSettings = RouterSettings()

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            raise ValueError("the file must be a mapping with the key `model_list`")  # noqa: TRY004 (Pydantic wants it)
        return value
