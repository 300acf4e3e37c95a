"""What is expected of each model on one job: from a trained predictor, from what the catalog declares, and from verdicts so far.

The prior of a model on a job is what the predictor says of it, or, for a model that it was not trained with, the quality that the
catalog declares for jobs of this kind, made less for a hard job and more for an easy one. Verdicts on real answers, counted by
model and domain, move it: counts of n trials are weighed against STRENGTH of the prior's own (the mean of a beta distribution),
first over all domains, then in the job's. The shift is made in logits, so that no estimate leaves (0, 1).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from router_service.routing.insight import Estimate
from router_service.signals.predicted import predicted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from router_service.catalog.models import Model
    from router_service.signals.predicted import Predicted
    from router_service.signals.signals import Signals

STRENGTH = 20.0  # trials that the prior is worth
SLOPE = 0.8  # logits that a standard deviation of difficulty takes from a model that the predictor does not know
LEAST, MOST = 0.002, 0.998
ALL = "*"
STEP = 0.01  # verdicts move an estimate by whole steps: a choice does not flap with every one of them


class Count(NamedTuple):
    """The sum of scores over so many trials."""

    score: float = 0.0
    trials: float = 0.0

    def without(self, part: Count) -> Count:
        return Count(max(0.0, self.score - part.score), max(0.0, self.trials - part.trials))


class Evidence(NamedTuple):
    """Verdicts on answers so far, by (model id, domain): of the tenant alone, and of all who share. ALL: over all domains."""

    own: Mapping[tuple[str, str], Count]
    shared: Mapping[tuple[str, str], Count]


NOTHING = Count()
NO_EVIDENCE = Evidence({}, {})


def estimates_of(
    signals: Signals | None,
    models: Iterable[Model],
    *,
    task: str | None,
    domain: str | None,
    evidence: Evidence = NO_EVIDENCE,
) -> dict[str, Estimate]:
    """By model id; a model of which nothing is known, neither predicted nor declared nor judged, is left out."""
    told = predicted(signals)
    found: dict[str, Estimate] = {}
    for model in models:
        prior = _prior(model, told, task=task, domain=domain)
        level = _declared_or(prior, model, task=task, domain=domain)
        learned = _learned(model.id, domain, level, evidence)
        tokens_out = _named(told["tokens_out"], model) if told else None
        if learned is None and prior is None and tokens_out is None:
            continue
        quality = prior
        if learned is not None and level is not None:
            quality = _shifted(level if prior is None else prior, by=_logit(learned) - _logit(level))
        elif learned is not None:
            quality = learned
        found[model.id] = Estimate(
            quality=None if quality is None else round(quality, 4),
            level=None if learned is None else round(learned, 4),
            tokens_out=None if tokens_out is None else round(tokens_out),
        )
    return found


def _prior(model: Model, told: Predicted | None, *, task: str | None, domain: str | None) -> float | None:
    """The probability of a right answer before any verdict."""
    trained = _named(told["quality"], model) if told else None
    if trained is not None:
        return trained
    declared = model.expected_quality(task, domain)
    if declared is None or told is None:
        return declared
    return _shifted(declared, by=-SLOPE * told["familiarity"] * told["hardness"])


def _declared_or(prior: float | None, model: Model, *, task: str | None, domain: str | None) -> float | None:
    """What verdicts are weighed against: the model's quality on jobs of this kind, not on this job."""
    declared = model.expected_quality(task, domain)
    return prior if declared is None else declared


def _learned(model_id: str, domain: str | None, level: float | None, evidence: Evidence) -> float | None:
    """The level after the verdicts: those of all who share, then the tenant's own, each over all domains and then in this one.

    None without a verdict on the model.
    """
    learned, seen = 0.5 if level is None else level, False
    for counts in (evidence.shared, evidence.own):
        here = counts.get((model_id, domain or ""), NOTHING)
        for count in (counts.get((model_id, ALL), NOTHING).without(here), here):
            if count.trials > 0:
                seen = True
                learned = (STRENGTH * learned + count.score) / (STRENGTH + count.trials)
    return min(MOST, max(LEAST, round(learned / STEP) * STEP)) if seen else None


def _named(values: Mapping[str, float], model: Model) -> float | None:
    """By id, by name, or by the model's name at its provider."""
    return next((values[name] for name in (model.id, model.name, model.upstream) if name in values), None)


def _shifted(quality: float, *, by: float) -> float:
    return 1 / (1 + math.exp(-(_logit(quality) + by)))


def _logit(quality: float) -> float:
    bounded = min(MOST, max(LEAST, quality))
    return math.log(bounded / (1 - bounded))
