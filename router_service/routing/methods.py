"""What policies name beyond what is built in: constraints, strategies and score terms of other packages.

A package offers them as entry points of the groups below, each under a name with a colon (`acme:night-rate`); docs/extending.md
has an example. They are loaded once per process. A policy that names one which is not installed lets no model through: jobs
wait, and their explanation says what is missing.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeAlias

from router_service.errors import SettingsError
from router_service.routing.constraints import Rejection
from router_service.routing.strategies import SCORERS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from router_service.catalog.models import Model
    from router_service.catalog.policies import RoutingPolicy
    from router_service.routing.constraints import Constraint
    from router_service.routing.question import Prospect, Question
    from router_service.routing.strategies import Score, Scorer

CONSTRAINTS_GROUP = "waybill.constraints"
STRATEGIES_GROUP = "waybill.strategies"
SCORES_GROUP = "waybill.scores"
MARK = ":"
FAILED = "plugin_failed"
NUL = r"\u0000"
Term: TypeAlias = Callable[["Prospect"], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Methods:
    """By the names that policies use. `versions`: of the packages that they come from."""

    constraints: Mapping[str, Constraint] = field(default_factory=dict)
    strategies: Mapping[str, Scorer] = field(default_factory=lambda: dict(SCORERS))
    terms: Mapping[str, Term] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)


BUILT_IN = Methods()


def asked_of(name: str, constraint: Constraint, asked: Question, model: Model) -> Rejection | None:
    """What a plugin's constraint says. One that raises, or says what cannot be stored, lets no model through."""
    try:
        out = constraint(asked, model)
        if out is None:
            return None
        said = json.dumps([str(out.reason), out.bound], allow_nan=False)
        if NUL in said:
            raise ValueError("no database keeps U+0000")
        reason, bound = json.loads(said)
        return Rejection(reason=reason, bound=bound)
    except Exception as error:  # noqa: BLE001 (another's code: what it does must not stop the other jobs)
        return failed(name, error)


def scores_of(
    policy: RoutingPolicy, scorer: Scorer, prospects: Sequence[Prospect], methods: Methods
) -> list[Score] | Rejection:
    """By the scorer and the policy's terms; a Rejection of all where one of a plugin raises, or gives what is no number."""
    name = policy.strategy
    try:
        scores = [tuple(map(float, score)) for score in scorer(prospects)]
        for term, weight in policy.terms:
            name = term
            terms = [float(methods.terms[term](each)) for each in prospects]
            if not all(map(math.isfinite, terms)):
                raise ValueError("a finite number would be right")
            scores = [(first + weight * more, *rest) for (first, *rest), more in zip(scores, terms, strict=True)]
        name = policy.strategy
        is_whole = len(scores) == len(prospects) and all(scores)
        if not is_whole or not all(map(math.isfinite, itertools.chain(*scores))):
            raise ValueError("a finite score for each prospect would be right")
    except Exception as error:  # noqa: BLE001 (as above)
        return failed(name, error)
    return scores


def failed(name: str, error: Exception) -> Rejection:
    """Its type alone: a message might quote the request."""
    return Rejection(reason=FAILED, bound=f"{name}: {type(error).__name__}")


def load_methods() -> Methods:
    """What is installed. Raises SettingsError where a name has no colon, or stands in two packages."""
    versions: dict[str, str] = {}
    return Methods(
        constraints=_load(CONSTRAINTS_GROUP, versions),
        strategies=SCORERS | _load(STRATEGIES_GROUP, versions),
        terms=_load(SCORES_GROUP, versions),
        versions=versions,
    )


def _load(group: str, versions: dict[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    owners: dict[str, str] = {}
    for entry in entry_points(group=group):
        owner = f"{entry.dist.name} {entry.dist.version}" if entry.dist else "an unknown package"
        if MARK not in entry.name:
            raise SettingsError(
                f"{owner} offers {entry.name!r} in {group}: write it with a colon, as in 'acme:{entry.name}'"
            )
        if entry.name in owners:
            raise SettingsError(
                f"{owner} and {owners[entry.name]} both offer {entry.name!r} in {group}: remove one of them"
            )
        owners[entry.name] = versions[entry.name] = owner
        found[entry.name] = entry.load()
    return found
