"""Hard constraints, one function each: a Rejection with the reason and the value that bound, or None.

Unknown is not eligible where it is a matter of place, safety, use of data or price: a model that does not say where it computes
is out where a residency is asked for. `hindrance` is apart from them: it speaks of a model's state at this moment.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_service.catalog.models import Model
    from router_service.jobs.spec import RoutableJob
    from router_service.routing.counters import Counters
    from router_service.routing.question import Question

BREAKER = "breaker"
DEADLINE = "deadline"
UNKNOWN_POLICY = "unknown_policy"
FEW = 5
# Reasons that hold for all jobs of a lane, or pass: the others depend on a job's size or words.
ALIKE_IN_LANE = frozenset(
    {
        UNKNOWN_POLICY,
        "failed_before",
        "no_fallbacks",
        "ignored",
        "not_among_only",
        "not_in_order",
        "residency",
        "residency_unknown",
        "safety",
        "safety_unknown",
        "trains_on_data",
        "trains_on_data_unknown",
        "retention",
        "retention_unknown",
        "missing_feature",
        BREAKER,
        DEADLINE,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejection:
    """Why a model is out, and the value that bound: the model's, or the one asked for where the model's is not known."""

    reason: str
    bound: Any = None


Constraint: TypeAlias = Callable[["Question", "Model"], Rejection | None]


def in_policy(asked: Question, _model: Model) -> Rejection | None:
    missing = asked.policy.missing
    return Rejection(reason=UNKNOWN_POLICY, bound=missing) if missing is not None else None


def not_excluded(asked: Question, model: Model) -> Rejection | None:
    return Rejection(reason="failed_before") if model.id in asked.spec.excluded else None


def is_wanted(asked: Question, model: Model) -> Rejection | None:
    """What the request says of models by name."""
    wishes = asked.spec.preferences
    if wishes.ignore and model.is_one_of(wishes.ignore):
        return Rejection(reason="ignored", bound=_few(wishes.ignore))
    if wishes.only and not model.is_one_of(wishes.only):
        return Rejection(reason="not_among_only", bound=_few(wishes.only))
    if not wishes.allow_fallbacks and wishes.order and not model.is_one_of(wishes.order):
        return Rejection(reason="not_in_order", bound=_few(wishes.order))
    if not wishes.allow_fallbacks and not wishes.order and asked.spec.excluded:
        return Rejection(reason="no_fallbacks", bound=_few(asked.spec.excluded))
    return None


def in_rules(asked: Question, model: Model) -> Rejection | None:
    """What the policy's rules say of models for jobs of this kind."""
    against = [rule.name for rule in asked.rules if rule.only and not model.is_one_of(rule.only)]
    return Rejection(reason="rule", bound=", ".join(against)) if against else None


def in_residency(asked: Question, model: Model) -> Rejection | None:
    """Both the place of inference and that of storage must be the asked one, and no other."""
    residency = asked.spec.residency
    if residency is None:
        return None
    if model.residency is None:
        return Rejection(reason="residency_unknown", bound=residency)
    places = model.residency.inference | model.residency.storage
    if places != {residency}:
        return Rejection(reason="residency", bound=sorted(places))
    return None


def is_safe(asked: Question, model: Model) -> Rejection | None:
    safety = asked.spec.preferences.safety
    if safety is None:
        return None
    if model.safety is None:
        return Rejection(reason="safety_unknown", bound=safety)
    return Rejection(reason="safety", bound=model.safety) if model.safety.rank < safety.rank else None


def keeps_data(asked: Question, model: Model) -> Rejection | None:
    """Neither trains on what it is sent, nor keeps it, where the request says so."""
    wishes = asked.spec.preferences
    if wishes.no_training and model.trains_on_data is not False:
        known = model.trains_on_data is not None
        return Rejection(reason="trains_on_data" if known else "trains_on_data_unknown")
    if wishes.no_retention and model.retention_days != 0:
        known = model.retention_days is not None
        return Rejection(reason="retention" if known else "retention_unknown", bound=model.retention_days)
    return None


def has_features(asked: Question, model: Model) -> Rejection | None:
    if not asked.spec.features:
        return None
    missing = sorted(set(asked.spec.features) - model.features)
    return Rejection(reason="missing_feature", bound=missing) if missing else None


def fits_window(asked: Question, model: Model) -> Rejection | None:
    if model.max_input_tokens is not None and asked.spec.tokens_in > model.max_input_tokens:
        return Rejection(reason="context_window", bound=model.max_input_tokens)
    return None


def fits_output(asked: Question, model: Model) -> Rejection | None:
    if model.max_output_tokens is not None and (asked.spec.tokens_out or 0) > model.max_output_tokens:
        return Rejection(reason="max_output_tokens", bound=model.max_output_tokens)
    return None


def knows_language(asked: Question, model: Model) -> Rejection | None:
    """A model that names languages is for those alone. A job whose language is not known may go to it."""
    if not model.languages or asked.language is None or asked.language in model.languages:
        return None
    return Rejection(reason="language", bound=sorted(model.languages))


def knows_domain(asked: Question, model: Model) -> Rejection | None:
    """A model that names domains is a specialist: a job goes to it only where its domain is known to be one of them."""
    if not model.domains or asked.domain in model.domains or (asked.domain is None and not asked.insight.is_read):
        return None
    return Rejection(reason="domain_unknown" if asked.domain is None else "domain", bound=sorted(model.domains))


def good_enough(asked: Question, model: Model) -> Rejection | None:
    """The job's floor and the policy's, against what is expected of the model on jobs of this kind."""
    floors = [floor for floor in (asked.spec.quality, asked.policy.min_quality) if floor is not None]
    if not floors:
        return None
    quality = asked.level(model)
    if quality is None:
        return Rejection(reason="quality_unknown", bound=max(floors))
    return Rejection(reason="quality", bound=quality) if quality < max(floors) else None


def is_affordable(asked: Question, model: Model) -> Rejection | None:
    """Prices a token, and the whole job's at its longest answer: where nobody bounds that, what it may cost is not known."""
    wishes = asked.spec.preferences
    for most, price in ((wishes.max_input_cost, model.input_cost), (wishes.max_output_cost, model.output_cost)):
        if most is not None and (price is None or price > most):
            return Rejection(reason="price_unknown" if price is None else "max_price", bound=price)
    if wishes.max_cost_usd is None:
        return None
    longest = asked.spec.tokens_out or model.max_output_tokens
    cost = model.cost_usd(tokens_in=asked.spec.tokens_in, tokens_out=longest or 0)
    if cost is None or cost > wishes.max_cost_usd:
        return Rejection(reason="price_unknown" if cost is None else "max_cost", bound=cost)
    is_free = model.output_cost == 0
    return None if longest or is_free else Rejection(reason="max_cost_unknown", bound=wishes.max_cost_usd)


def _few(names: Sequence[str]) -> list[str]:
    """For a decision, which says it of each model."""
    return [*names[:FEW], f"and {len(names) - FEW} more"] if len(names) > FEW else list(names)


CONSTRAINTS: tuple[Constraint, ...] = (
    in_policy,
    not_excluded,
    is_wanted,
    in_rules,
    in_residency,
    is_safe,
    keeps_data,
    has_features,
    fits_window,
    fits_output,
    knows_language,
    knows_domain,
    good_enough,
    is_affordable,
)


def rejection(asked: Question, model: Model) -> Rejection | None:
    """The first of the built-in constraints that the model does not meet."""
    for constraint in CONSTRAINTS:
        if (out := constraint(asked, model)) is not None:
            return out
    return None


def forbidden(asked: Question, model: Model) -> Rejection | None:
    """What must hold at the very call, whatever the catalog said when the job was routed: place, safety, use of data."""
    return in_residency(asked, model) or is_safe(asked, model) or keeps_data(asked, model)


def hindrance(job: RoutableJob, counters: Counters | None) -> Rejection | None:
    """What keeps a model that may do the job from doing it now: too slow for its deadline, or its breaker lets nothing through.

    The deadline first: what is too slow even at its fastest is not worth waiting for. A wait alone never makes a model too
    slow: it may turn out shorter, and a job whose deadline passes while it waits has cost nothing.
    """
    if counters is None:
        return None
    if job.left_s is not None:
        needed_s = least_needed_s(job.spec.tokens_out, least_s=counters.least_s, tokens_out=counters.tokens_out)
        if needed_s is not None and job.left_s < needed_s:
            return Rejection(reason=DEADLINE, bound=needed_s)
    return Rejection(reason=BREAKER, bound=counters.broken_s) if counters.broken_s > 0 else None


def is_late(job: RoutableJob, *, wait_s: float, latency_s: float | None) -> bool:
    """Whether a model will probably be too late for the job: its wait and its expected latency go beyond the deadline."""
    return job.left_s is not None and job.left_s < wait_s + (latency_s or 0.0)


def least_needed_s(limit: int | None, *, least_s: float | None, tokens_out: float | None) -> float | None:
    """What a call takes at the very least; None where nobody knows.

    `least_s` is the least that one took of late, `tokens_out` what answers have in the mean: who allows a shorter one
    (`limit`) may have it sooner.
    """
    if least_s is None or limit is None or not tokens_out:
        return least_s
    return least_s * min(1.0, limit / tokens_out)
