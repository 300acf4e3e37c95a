"""LiteLLM's YAML dialect as Pydantic models: what may stand in a catalog file. Our own keys are under `router`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, TypeAdapter, field_validator, model_validator

Count = Annotated[int, Field(gt=0)]
Rate = Annotated[float, Field(gt=0)]
Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Place = Annotated[str, Field(pattern=r"^[a-z]{2,8}(-[a-z0-9]+)*$")]
Name = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\x00-\x20\x7f]+$")]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,127}$")]
TenantId = Annotated[str, Field(min_length=1, max_length=200)]
Fallbacks = list[dict[Name, list[Name]]]
Tries = Annotated[int, Field(ge=0, le=20)]


class Section(BaseModel):
    """A part of the file. A key that nobody knows is an error, not a wish."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Residency(Section):
    inference: Place | list[Place]
    storage: Place | list[Place]


class SimulatedSection(Section):
    latency_ms: Annotated[float, Field(ge=0)] = 0.0
    jitter: Share = 0.0
    failure_rate: Share = 0.0
    failure: Literal["400", "401", "404", "408", "429", "500", "502", "503", "timeout", "context", "content_policy"] = (
        "500"
    )
    retry_after_s: Annotated[float, Field(ge=0, le=3600)] | None = None
    output_tokens: Count = 16
    seed: int = 0


class RouterKeys(Section):
    """Our own keys of one model, all optional."""

    quality: dict[str, Share] = {}
    languages: list[str] = []
    domains: list[str] = []
    modalities: list[str] = []
    features: list[str] = []
    safety: str | None = None
    data_residency: Residency | None = None
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
        if value == "auto":
            raise ValueError("'auto' is reserved: it asks the router to choose")
        return value


class RetryPolicy(Section):
    """Retries by kind of error. LiteLLM's keys: the name of a kind in `ErrorKind`, and `Retries`."""

    BadRequestErrorRetries: Tries | None = None
    AuthenticationErrorRetries: Tries | None = None
    TimeoutErrorRetries: Tries | None = None
    RateLimitErrorRetries: Tries | None = None
    ContentPolicyViolationErrorRetries: Tries | None = None
    InternalServerErrorRetries: Tries | None = None


class TenantSection(Section):
    """A tenant's share and caps."""

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


class RouterSettings(Section):
    routing_strategy: str | None = None
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
