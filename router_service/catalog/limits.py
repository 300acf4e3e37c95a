"""Limits that hold beyond one model: those of a group, which are stated by its models, and those of a tenant."""

from __future__ import annotations

from typing import TYPE_CHECKING

from router_service.catalog.models import Caps, Tenant

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from router_service.catalog.dialect import CatalogFile, ModelEntry, TenantSection

RATES = ("rpm", "tpm", "itpm", "otpm", "rpd", "tpd")
SLOTS = "max_parallel_requests"


def group_caps(file: CatalogFile) -> dict[str, Caps]:
    """What each group may use in all: of each kind of limit the least that one of its models states."""
    caps = {}
    for group, entries in _groups(file).items():
        least = {key: min(stated, default=None) for key, stated in _stated(entries).items()}
        slots = least.pop(SLOTS)
        caps[group] = Caps(slots=None if slots is None else int(slots), **least)
    return caps


def group_differences(file: CatalogFile) -> Iterator[str]:
    """A line for each kind of limit of which models of one group state different ones."""
    for group, entries in sorted(_groups(file).items()):
        for key, stated in _stated(entries).items():
            if len(set(stated)) > 1:
                least = f"{min(stated):.15g}"
                yield f"limit_group {group}: its models state different {key}; the least, {least}, rules them all"


def tenant(section: TenantSection) -> Tenant:
    rates = {rate: getattr(section, rate) for rate in RATES}
    caps = Caps(slots=section.max_parallel_requests, **rates)
    return Tenant(weight=section.weight, caps=caps, policy=section.policy, learn=section.learn)


def _groups(file: CatalogFile) -> dict[str, list[ModelEntry]]:
    groups: dict[str, list[ModelEntry]] = {}
    for entry in file.model_list:
        if entry.model_info.router.limit_group is not None:
            groups.setdefault(entry.model_info.router.limit_group, []).append(entry)
    return groups


def _stated(entries: Sequence[ModelEntry]) -> dict[str, list[float]]:
    return {
        key: [limit for entry in entries if (limit := getattr(entry.litellm_params, key)) is not None]
        for key in (SLOTS, *RATES)
    }
