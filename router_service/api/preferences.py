"""What a request says of routing, as it comes: our `router` object, and OpenRouter's `provider` in the body.

Sources of the contract: OpenRouter's provider routing (`order`, `only`, `ignore`, `allow_fallbacks`, `sort`, `max_price`,
`data_collection`, `zdr`, `require_parameters`). What of it we cannot keep is refused, never dropped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from router_service.catalog.dialect import Name
from router_service.catalog.problems import what_is_wrong
from router_service.chat.request import ChatShape
from router_service.errors import InvalidRequestError
from router_service.jobs.preferences import NONE, Preferences, Safety, Sort
from router_service.jobs.spec import JobSpec
from router_service.signals.hints import DIFFICULTY, DOMAIN, LANGUAGE, PREFIX, TASK, check_hints

PER_MILLION = 1e-6
MOST_QUOTED = 60
Names = Annotated[tuple[Name, ...], Field(max_length=100)]
Usd = Annotated[float, Field(ge=0, le=1e6, strict=True)]
Share = Annotated[float, Field(ge=0, le=1, strict=True)]
S = TypeVar("S", bound=BaseModel)


class _Wishes(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class RouterWishes(_Wishes):
    """Our own: constraints, how to choose, and hints that go before what is predicted of the job."""

    residency: Annotated[str, Field(pattern=r"^[a-z]{2,8}(-[a-z0-9]+)*$")] | None = None
    quality: Share | None = None
    quality_target: Annotated[float, Field(gt=0, le=1, strict=True)] | None = None
    policy: Annotated[str, Field(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f\x7f]+$")] | None = None
    max_cost_usd: Usd | None = None
    safety: Safety | None = None
    language: str | None = None
    domain: str | None = None
    task: str | None = None
    difficulty: Share | None = None


class MaxPrice(_Wishes):
    """US dollars per million tokens."""

    prompt: Usd | None = None
    completion: Usd | None = None


class ProviderWishes(_Wishes):
    """OpenRouter's. Names are ids or names of models, or providers; `only` of none would leave no model."""

    order: Names = ()
    only: Annotated[Names, Field(min_length=1)] = ()
    ignore: Names = ()
    allow_fallbacks: bool = True
    sort: Sort | None = None
    max_price: MaxPrice = MaxPrice()
    data_collection: Literal["allow", "deny"] = "allow"
    zdr: bool = False
    require_parameters: bool = True


OBJECTS: dict[type[BaseModel], str] = {RouterWishes: "router", ProviderWishes: "provider"}
NOT_KEPT = {
    "quantizations": "a catalog does not say how a model is quantized: name the models that will do under `only`",
    "enforce_distillable_text": "name the models whose terms allow it under `only`",
    "preferred_min_throughput": "`sort: throughput` would be right",
    "preferred_max_latency": "`sort: latency` would be right",
}


class Wished(_Wishes):
    """What a request asks for in all: two constraints of every job, and its preferences."""

    residency: str | None = None
    quality: float | None = None
    preferences: Preferences = NONE


NOTHING = Wished()


def read_wishes(
    body: Mapping[str, Any],
    *,
    path: str,
    around: Sequence[tuple[str, object]] = (),
    metadata: Mapping[str, object] | None = None,
) -> Wished:
    """Read what a request says of routing: `router` and `provider` in its body, and hints among metadata.

    `path` names the body. `around`: what is said outside of it, each (path, `router` object); what comes later goes before, the
    body's own before all, key by key. `metadata`: the job's, beside that of the body. Raises InvalidRequestError.
    """
    within = body.get("metadata")
    hints = check_hints(within if isinstance(within, Mapping) else None, path=f"{path}.metadata") | check_hints(
        metadata
    )
    layers = [(at, given) for at, given in (*around, (f"{path}.router", body.get("router"))) if given is not None]
    if not layers and not hints and "provider" not in body:
        return NOTHING
    said: dict[str, Any] = {}
    for at, given in layers:
        wishes = _read(RouterWishes, given, path=at)
        hints |= _own_hints(wishes, path=at)
        if "residency" in said and wishes.residency not in (None, said["residency"]):
            raise InvalidRequestError(
                f"{at}.residency: {wishes.residency!r} differs from {said['residency']!r}, which is said around it",
                param=f"{at}.residency",
            )
        said |= {name: getattr(wishes, name) for name in wishes.model_fields_set}
    wishes = RouterWishes.model_construct(**said)
    provider = _read(ProviderWishes, body.get("provider"), path=f"{path}.provider")
    preferences = _preferences(wishes, provider, hints)
    return Wished(residency=wishes.residency, quality=wishes.quality, preferences=preferences)


def _preferences(wishes: RouterWishes, provider: ProviderWishes, hints: Mapping[str, str]) -> Preferences:
    difficulty = hints.get(DIFFICULTY)
    return Preferences(
        policy=wishes.policy,
        quality_target=wishes.quality_target,
        max_cost_usd=wishes.max_cost_usd,
        max_input_cost=_per_token(provider.max_price.prompt),
        max_output_cost=_per_token(provider.max_price.completion),
        safety=wishes.safety,
        only=provider.only,
        ignore=provider.ignore,
        order=provider.order,
        allow_fallbacks=provider.allow_fallbacks,
        sort=provider.sort,
        no_training=provider.data_collection == "deny",
        no_retention=provider.zdr,
        language=hints.get(LANGUAGE),
        domain=hints.get(DOMAIN),
        task=hints.get(TASK),
        difficulty=None if difficulty is None else float(difficulty),
    )


def _read(kind: type[S], given: object, *, path: str) -> S:
    """An object of that kind, an empty one where nothing is given. Raises InvalidRequestError."""
    try:
        return kind.model_validate({} if given is None else given)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        place = tuple(part[:MOST_QUOTED] if isinstance(part, str) else part for part in problem["loc"])
        at = ".".join([path, *map(str, place)])
        said = _elsewhere(kind, place) or what_is_wrong({**problem, "loc": place}, root=kind)
        raise InvalidRequestError(f"{at}: {said}", param=at) from None


def _elsewhere(kind: type[BaseModel], location: tuple[int | str, ...]) -> str | None:
    """What would be right in the place of a key of OpenRouter's that is not kept, or of one that stands in the wrong object."""
    key = str(location[0]) if len(location) == 1 else ""
    if kind is ProviderWishes and key in NOT_KEPT:
        return f"OpenRouter's key is not kept; {NOT_KEPT[key]}"
    for other, name in OBJECTS.items():
        if key in other.model_fields and key not in kind.model_fields:
            return f"unknown key; it belongs to `{name}`"
    return None


def _own_hints(wishes: RouterWishes, *, path: str) -> dict[str, str]:
    """Those of the `router` object, in the form and by the names of hints in metadata. Raises InvalidRequestError."""
    hints: dict[str, object] = {LANGUAGE: wishes.language, DOMAIN: wishes.domain, TASK: wishes.task}
    given = {key: value for key, value in hints.items() if value is not None}
    if wishes.difficulty is not None:
        given[DIFFICULTY] = repr(wishes.difficulty)
    try:
        return check_hints(given, path=path)
    except InvalidRequestError as error:
        param = (error.param or path).replace(PREFIX, "")
        raise InvalidRequestError(error.message.replace(PREFIX, ""), param=param) from None


def _per_token(price: float | None) -> float | None:
    return None if price is None else price * PER_MILLION


def spec_of(shape: ChatShape, wished: Wished) -> JobSpec:
    """What a request asks for in all: its sizes, and what it says of routing.

    Raises InvalidRequestError where it caps its cost, but asks for several answers that nobody bounds.
    """
    if wished.preferences.max_cost_usd is not None and shape.tokens_out is None and shape.choices > 1:
        raise InvalidRequestError(
            f"router.max_cost_usd: what n = {shape.choices} answers may cost is not known without max_tokens",
            param="router.max_cost_usd",
        )
    return JobSpec(
        model=shape.model,
        tokens_in=shape.tokens_in,
        tokens_out=shape.tokens_out,
        features=shape.features,
        residency=wished.residency,
        quality=wished.quality,
        preferences=wished.preferences,
    )
