"""Turns a catalog file into a Catalog: checked whole, each problem with its path, secrets taken out of what is stored."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import types
from typing import TYPE_CHECKING, Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from router_service.catalog.dialect import CatalogFile, ModelEntry, RouterSettings
from router_service.catalog.models import Catalog, Limits, Model, Places, Provider, Retries, Simulation
from router_service.errors import CatalogError
from router_service.jobs.spec import Feature

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ENVIRONMENT = "os.environ/"
LOCAL_FILE = "kept-in-the-local-file"
DEFAULT_SLOTS = 100
DEFAULT_TIMEOUT_S = 600.0
OPENAI_BASE = "https://api.openai.com/v1"
NOT_ENFORCED = {
    "litellm_params": ("rpd", "tpd"),
    "model_info.router": ("limit_group",),
}
NO_EFFECT_ON_MODEL = frozenset(
    {
        "languages",
        "domains",
        "safety",
        "evidence",
        "retention_days",
        "trains_on_data",
        "latency_ms_p50",
        "burst_s",
        "batch_lane",
    }
)
NO_EFFECT = (
    "routing_strategy",
    "context_window_fallbacks",
    "content_policy_fallbacks",
    "allowed_fails",
    "cooldown_time",
    "retry_policy",
)


def parse_document(text: str, *, source: str) -> dict[str, Any]:
    """The file's content as plain data. Raises CatalogError where it is no YAML mapping."""
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        what = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
        raise CatalogError(source, [f"{where}{what}"]) from error
    if not isinstance(document, dict):
        raise CatalogError(source, ["the file must be a mapping with the key `model_list`"])
    return document


def build_catalog(document: Mapping[str, Any], *, source: str) -> Catalog:
    """The catalog of a parsed document. Raises CatalogError with every problem that was found."""
    try:
        file = CatalogFile.model_validate(document)
    except ValidationError as error:
        raise CatalogError(source, [_explain(problem) for problem in error.errors(include_url=False)]) from error
    problems: list[str] = []
    models = tuple(_models(file.model_list, problems))
    names = {model.name for model in models} | {model.id for model in models}
    problems += _unknown_names(file.router_settings, names)
    if problems:
        raise CatalogError(source, problems)
    return Catalog(
        hash=content_hash(document),
        models=models,
        fallbacks=_merged(file.router_settings.fallbacks),
        default_fallbacks=tuple(file.router_settings.default_fallbacks),
        retries=Retries(tries=file.router_settings.num_retries + 1),
    )


def notes(document: Mapping[str, Any]) -> list[str]:
    """Keys of a valid document that this version reads but does not act on yet."""
    settings = document.get("router_settings") or {}
    unused = [f"router_settings.{key}" for key in NO_EFFECT if settings.get(key)]
    for index, entry in enumerate(document["model_list"]):
        keys = ((entry.get("model_info") or {}).get("router") or {}).keys()
        unused += [f"model_list[{index}].model_info.router.{key}" for key in sorted(keys & NO_EFFECT_ON_MODEL)]
    return [f"{path} has no effect in this version" for path in unused]


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
        for section, keys in NOT_ENFORCED.items():
            part: Any = entry
            for name in section.split("."):
                part = getattr(part, name)
            problems += [
                f"{path}.{section}.{key}: this limit is not enforced by this version, so it is refused; use rpm or tpm"
                for key in keys
                if getattr(part, key) is not None
            ]
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
    residency = info.router.data_residency
    yield Model(
        id=identity,
        name=entry.model_name,
        provider=provider,
        upstream=upstream,
        api_base=(params.api_base or OPENAI_BASE).rstrip("/") if provider is Provider.OPENAI else None,
        api_key=params.api_key,
        limits=Limits(
            slots=params.max_parallel_requests or DEFAULT_SLOTS,
            rpm=params.rpm,
            tpm=params.tpm,
            itpm=params.itpm,
            otpm=params.otpm,
        ),
        timeout_s=params.timeout or DEFAULT_TIMEOUT_S,
        input_cost=info.input_cost_per_token,
        output_cost=info.output_cost_per_token,
        max_input_tokens=info.max_input_tokens,
        max_output_tokens=info.max_output_tokens,
        order=params.order,
        weight=params.weight,
        features=_features(entry, provider),
        quality=dict(info.router.quality),
        residency=Places(inference=_places(residency.inference), storage=_places(residency.storage))
        if residency
        else None,
        simulation=Simulation(**(info.router.simulated.model_dump() if info.router.simulated else {}))
        if provider is Provider.SIMULATED
        else None,
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


def _places(value: str | list[str]) -> frozenset[str]:
    return frozenset((value,) if isinstance(value, str) else value)


def _merged(fallbacks: Sequence[Mapping[str, Sequence[str]]]) -> dict[str, tuple[str, ...]]:
    return {name: tuple(others) for each in fallbacks for name, others in each.items()}


def _unknown_names(settings: RouterSettings, names: set[str]) -> Iterator[str]:
    for key in ("fallbacks", "context_window_fallbacks", "content_policy_fallbacks"):
        for index, each in enumerate(getattr(settings, key)):
            for name, others in each.items():
                for wrong in sorted({name, *others} - names):
                    yield f"router_settings.{key}[{index}].{name}: no model is named {wrong!r}{_nearest(wrong, names)}"
    for wrong in sorted(set(settings.default_fallbacks) - names):
        yield f"router_settings.default_fallbacks: no model is named {wrong!r}{_nearest(wrong, names)}"


def _explain(problem: Mapping[str, Any]) -> str:
    location = problem["loc"]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".") or "(file)"
    if problem["type"] == "extra_forbidden":
        return f"{path}: unknown key{_nearest(str(location[-1]), _keys_at(location[:-1]))}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    # An acronym such as URL keeps its capitals.
    return f"{path}: {message if message[:2].isupper() else message[:1].lower() + message[1:]}"


def _nearest(word: str, known: set[str]) -> str:
    close = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else f"; known: {', '.join(sorted(known))}"


def _keys_at(location: Sequence[str | int]) -> set[str]:
    """The keys that the dialect knows at a place of the document."""
    section: Any = CatalogFile
    for part in location:
        if isinstance(part, int):
            continue
        section = next(iter(_sections(section.model_fields[part].annotation)), None)
        if section is None:
            return set()
    return set(section.model_fields)


def _sections(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for argument in get_args(annotation):
        yield from _sections(argument)
