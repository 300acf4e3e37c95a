"""Extractors that other packages bring: entry points of the group `waybill.signals`, see docs/extending.md."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, cast

from router_service.errors import SettingsError
from router_service.signals.extract import DEFAULT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from importlib.metadata import EntryPoint

    from router_service.signals.extract import Extractor

GROUP = "waybill.signals"


def load_extractors(
    builtin: Sequence[Extractor] = DEFAULT, *, points: Iterable[EntryPoint] | None = None
) -> tuple[Extractor, ...]:
    """`builtin`, and behind them those of installed packages by name. Imports them: call it once per process, not at import.

    Raises SettingsError where one cannot be loaded, is no extractor, or has a name that another has.
    """
    loaded = list(builtin)
    sources = {extractor.name: "Waybill itself" for extractor in builtin}
    found = entry_points(group=GROUP) if points is None else points
    for point in sorted(found, key=lambda point: (point.name, _source(point))):
        extractor = _load(point)
        if extractor.name in sources:
            raise SettingsError(
                f"{GROUP}: the signal extractor {extractor.name!r} comes from {sources[extractor.name]} "
                f"and from {_source(point)}; uninstall one of them, or let it have another name"
            )
        sources[extractor.name] = _source(point)
        loaded.append(extractor)
    return tuple(loaded)


def _load(point: EntryPoint) -> Extractor:
    """An object, or a class that is made one without arguments."""
    where = f"{GROUP}: {point.name} = {point.value!r} of {_source(point)}"
    try:
        loaded = point.load()
        extractor = loaded() if isinstance(loaded, type) else loaded
    except Exception as error:  # foreign code: whatever it raises is told with the package it comes from
        raise SettingsError(f"{where} cannot be loaded: {type(error).__name__}: {error}") from error
    for name in ("name", "version"):
        if not isinstance(getattr(extractor, name, None), str):
            raise SettingsError(f"{where} has no `{name}`: a string is wanted")
    if not callable(getattr(extractor, "extract", None)):
        raise SettingsError(f"{where} has no method `extract(requests)`")
    return cast("Extractor", extractor)


def _source(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown package"
