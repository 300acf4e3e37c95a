"""Turns a catalog file into a Catalog: checked whole, each problem with its path, secrets taken out of what is stored."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from router_service.catalog.dialect import CatalogFile, ModelEntry, RouterSettings
from router_service.catalog.limits import RATES, group_caps, group_differences, tenant
from router_service.catalog.models import (
    Breaker,
    Catalog,
    ErrorKind,
    Limits,
    Model,
    Places,
    Provider,
    Retries,
    Simulation,
)
from router_service.catalog.nearness import nearest
from router_service.catalog.problems import explain
from router_service.catalog.public_quality import public_quality
from router_service.catalog.routing import pair_of, policies_of, problems_of, shadow_of
from router_service.errors import CatalogError
from router_service.jobs.spec import Fallback, Feature

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from router_service.catalog.dialect import Residency, RouterKeys

ENVIRONMENT = "os.environ/"
LOCAL_FILE = "kept-in-the-local-file"
DEFAULT_SLOTS = 100
DEFAULT_TIMEOUT_S = 600.0
OPENAI_BASE = "https://api.openai.com/v1"
DEFAULT_BURST_S = 1.0
FALLBACKS = {
    Fallback.GENERAL: "fallbacks",
    Fallback.CONTEXT_WINDOW: "context_window_fallbacks",
    Fallback.CONTENT_POLICY: "content_policy_fallbacks",
}
# Keys that are read and have no effect, by the section of a model where they stand; beside each what has one.
NO_EFFECT: Mapping[str, Mapping[str, str]] = {
    "litellm_params": {"region_name": "model_info.router.data_residency says where a model computes and stores"},
    "model_info": {"base_model": ""},
    "model_info.router": {"evidence": "", "batch_lane": ""},
}
WHOLE_FILE = "the file must be a mapping with the key `model_list`"


def parse_document(text: str, *, source: str, wanted: str = WHOLE_FILE) -> dict[str, Any]:
    """The file's content as plain data. Raises CatalogError where it is no YAML mapping, which says what is `wanted`."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
        raise CatalogError(source, [f"{where}{what}"]) from error
    if not isinstance(document, dict):
        raise CatalogError(source, [wanted])
    return document


def build_catalog(document: Mapping[str, Any], *, source: str) -> Catalog:
    """The catalog of a parsed document. Raises CatalogError with every problem that was found."""
    try:
        file = CatalogFile.model_validate(document)
    except ValidationError as error:
        raise CatalogError(source, [explain(problem) for problem in error.errors(include_url=False)]) from error
    problems: list[str] = []
    models = with_public_quality(tuple(_models(file.model_list, problems)))
    names = {model.name for model in models} | {model.id for model in models}
    problems += _unknown_names(file.router_settings, names)
    problems += problems_of(file.router_settings, names=names)
    if problems:
        raise CatalogError(source, problems)
    settings = file.router_settings
    return Catalog(
        hash=content_hash(document),
        models=models,
        fallbacks=_fallbacks(settings),
        default_fallbacks=tuple(settings.default_fallbacks),
        retries=_retries(settings),
        breaker=_breaker(settings),
        groups=group_caps(file),
        tenants={name: tenant(section) for name, section in settings.router.tenants.items()},
        policies=(policies := policies_of(settings)),
        pair=pair_of(settings),
        shadow=shadow_of(settings, policies),
    )


def with_public_quality(models: tuple[Model, ...]) -> tuple[Model, ...]:
    """Where no quality is declared at all, what public benchmarks say stands in; beside declared ones it is another scale."""
    if any(model.quality for model in models):
        return models
    return tuple(replace(model, quality=dict(public_quality(model.upstream))) for model in models)


def notes(document: Mapping[str, Any]) -> list[str]:
    """What an operator should know of a valid document: keys without effect, limits of a group that differ."""
    settings = document.get("router_settings") or {}
    args = settings.get("routing_strategy_args") or {}
    unused = [("router_settings.routing_strategy_args.ttl", "")] if "ttl" in args else []
    for index, entry in enumerate(document["model_list"]):
        for path, keys in NO_EFFECT.items():
            section: Mapping[str, Any] = entry
            for part in path.split("."):
                section = section.get(part) or {}
            unused += [(f"model_list[{index}].{path}.{key}", keys[key]) for key in sorted(section.keys() & keys.keys())]
    differences = group_differences(CatalogFile.model_validate(document))
    said = [f"{path} has no effect in this version{f': {instead}' if instead else ''}" for path, instead in unused]
    return said + list(differences)


def content_hash(document: Mapping[str, Any]) -> str:
    """A hash of what the document says, whatever the order of its keys."""
    text = json.dumps(without_secrets(document), sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def without_secrets(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document with each literal `api_key` taken out: a worker reads those from its own file."""
    entries = [
        entry | {"litellm_params": params | {"api_key": LOCAL_FILE}}
        if isinstance(params := entry.get("litellm_params"), dict) and _is_literal(params.get("api_key"))
        else entry
        for entry in document["model_list"]
    ]
    return dict(document) | {"model_list": entries}


def secrets(
    catalog: Catalog, *, local: Catalog | None, environ: Mapping[str, str]
) -> tuple[dict[str, str], tuple[str, ...]]:
    """Each model's key, and the ids of models whose key this machine does not have.

    `local` is the catalog of this machine's own file, the only place where a literal key stands.
    """
    found: dict[str, str] = {}
    missing: list[str] = []
    for model in catalog.models:
        key = model.api_key
        if key == LOCAL_FILE:
            own = local.by_id.get(model.id) if local else None
            key = own.api_key if own else None
            if key is None:
                missing.append(model.id)
        if key is not None and key.startswith(ENVIRONMENT):
            key = environ.get(key.removeprefix(ENVIRONMENT))
            if key is None:
                missing.append(model.id)
        if key is not None:
            found[model.id] = key
    return found, tuple(missing)


def _is_literal(key: object) -> bool:
    return isinstance(key, str) and key != LOCAL_FILE and not key.startswith(ENVIRONMENT)


def _models(entries: Sequence[ModelEntry], problems: list[str]) -> Iterator[Model]:
    taken: set[str] = set()
    for index, entry in enumerate(entries):
        path = f"model_list[{index}]"
        given = entry.model_info.id
        identity = given or _free_id(entry.model_name, taken)
        if identity in taken:
            problems.append(f"{path}.model_info.id: {identity!r} is taken by an earlier entry; ids must be unique")
        taken.add(identity)
        yield from _model(entry, identity, path, problems)


def _free_id(name: str, taken: set[str]) -> str:
    clean = re.sub(r"[^A-Za-z0-9._/:@-]", "-", name)
    clean = clean if clean[:1].isalnum() else f"m{clean}"
    number = 1
    while (identity := clean if number == 1 else f"{clean}-{number}") in taken:
        number += 1
    return identity


def _model(entry: ModelEntry, identity: str, path: str, problems: list[str]) -> Iterator[Model]:
    params, info = entry.litellm_params, entry.model_info
    prefix, slash, rest = params.model.partition("/")
    name, upstream = (prefix, rest) if slash else (Provider.OPENAI, params.model)
    if name not in set(Provider):
        known = ", ".join(f"{provider}/..." for provider in Provider)
        problems.append(
            f"{path}.litellm_params.model: no provider {name!r}; known: {known} "
            f"(a server that speaks the OpenAI wire is openai/<its model> with api_base)"
        )
        return
    provider = Provider(name)
    yield Model(
        id=identity,
        name=entry.model_name,
        provider=provider,
        upstream=upstream,
        api_base=(params.api_base or OPENAI_BASE).rstrip("/") if provider is Provider.OPENAI else None,
        api_key=params.api_key,
        limits=_limits(entry),
        limit_group=info.router.limit_group,
        timeout_s=params.timeout or DEFAULT_TIMEOUT_S,
        input_cost=info.input_cost_per_token,
        output_cost=info.output_cost_per_token,
        max_input_tokens=info.max_input_tokens,
        max_output_tokens=info.max_output_tokens,
        order=params.order,
        weight=params.weight,
        features=_features(entry, provider),
        quality=dict(info.router.quality),
        residency=_residency(info.router.data_residency),
        simulation=_simulation(info.router) if provider is Provider.SIMULATED else None,
        tokenizer=info.router.tokenizer,
        languages=frozenset(info.router.languages),
        domains=frozenset(info.router.domains),
        safety=info.router.safety,
        trains_on_data=info.router.trains_on_data,
        retention_days=info.router.retention_days,
        latency_s=None if info.router.latency_ms_p50 is None else info.router.latency_ms_p50 / 1000,
    )


def _features(entry: ModelEntry, provider: Provider) -> frozenset[str]:
    """What the model can do. A remote model is taken to know tools and schemas unless `features` is written; vision never is."""
    router = entry.model_info.router
    features = set(router.features)
    if not features and provider is not Provider.LOCAL:
        features = {Feature.TOOLS, Feature.JSON_SCHEMA}
    if entry.model_info.supports_vision or "image" in router.modalities:
        features.add(Feature.VISION)
    if "audio" in router.modalities:
        features.add(Feature.AUDIO)
    return frozenset(features)


def _limits(entry: ModelEntry) -> Limits:
    params, burst_s = entry.litellm_params, entry.model_info.router.burst_s
    return Limits(
        slots=params.max_parallel_requests or DEFAULT_SLOTS,
        **{rate: getattr(params, rate) for rate in RATES},
        burst_s=DEFAULT_BURST_S if burst_s is None else burst_s,
    )


def _residency(given: Residency | None) -> Places | None:
    return None if given is None else Places(inference=frozenset(given.inference), storage=frozenset(given.storage))


def _simulation(router: RouterKeys) -> Simulation:
    return Simulation(**(router.simulated.model_dump() if router.simulated else {}))


def _fallbacks(settings: RouterSettings) -> dict[Fallback, dict[str, tuple[str, ...]]]:
    """The chains that the file names, by kind; a kind without any is left out."""
    named = {
        kind: {name: tuple(others) for each in getattr(settings, key) for name, others in each.items()}
        for kind, key in FALLBACKS.items()
    }
    return {kind: chains for kind, chains in named.items() if chains}


def _retries(settings: RouterSettings) -> Retries:
    given = settings.retry_policy.model_dump(exclude_none=True) if settings.retry_policy else {}
    by_kind = {ErrorKind(key.removesuffix("Retries")): retries for key, retries in given.items()}
    return Retries(tries=settings.num_retries + 1, by_kind=by_kind)


def _breaker(settings: RouterSettings) -> Breaker:
    standard, fails = Breaker(), settings.allowed_fails
    return Breaker(
        allowed_fails=standard.allowed_fails if fails is None else fails,
        blocking_fails=standard.blocking_fails if fails is None else fails,
        cooldown_s=standard.cooldown_s if settings.cooldown_time is None else settings.cooldown_time,
    )


def _unknown_names(settings: RouterSettings, names: set[str]) -> Iterator[str]:
    for key in FALLBACKS.values():
        for index, each in enumerate(getattr(settings, key)):
            for name, others in each.items():
                for wrong in sorted({name, *others} - names):
                    yield f"router_settings.{key}[{index}].{name}: no model is named {wrong!r}{nearest(wrong, names)}"
    for wrong in sorted(set(settings.default_fallbacks) - names):
        yield f"router_settings.default_fallbacks: no model is named {wrong!r}{nearest(wrong, names)}"
