"""What is expected of each model on one job: from a trained predictor, from what the catalog declares, and from verdicts so far.

The prior of a model on a job is what the predictor says of it, or, for a model that it was not trained with, the quality that the
catalog declares for jobs of this kind, made less for a hard job and more for an easy one (`prediction.cold_start`). Verdicts on
real answers move it by a *shift*. Of n verdicts with a sum of scores S, on answers of which the priors had expected a sum E, the
posterior mean of a beta distribution around the prior, of a weight of STRENGTH verdicts, is the prior plus

    (S - E) / (n + STRENGTH)

The *level* of a model, which floors are held against, is what is declared of it for jobs of the kind, or, where nothing is, its
mean over the questions that the predictor was trained with; moved by the same verdicts, with E summed over these levels.

A narrower cell is shrunk towards the next wider one: a model over all domains, in one domain, in one domain of the tenant alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from router_service.prediction.cold_start import LEAST, MOST, declared
from router_service.routing.insight import Estimate
from router_service.signals.predicted import hardness_of, predicted

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from router_service.catalog.models import Model
    from router_service.signals.predicted import Predicted
    from router_service.signals.signals import Signals

STRENGTH = 25.0  # verdicts that the wider cell is worth
STEP = 0.02  # the least change of a shift that is acted on: choices do not flap with every verdict
UNKNOWN_QUALITY = 0.5
EVERYBODY = ""


class Cell(NamedTuple):
    """Whose evidence, on which model, in which domain; None: over all domains. A domain that is not known is ''."""

    learner: str
    model_id: str
    domain: str | None


class Count(NamedTuple):
    """Verdicts: the sum of their scores, how many, and the sums of what the priors and the levels had expected."""

    score: float = 0.0
    trials: float = 0.0
    expected: float = 0.0
    levels: float = 0.0


class Shift(NamedTuple):
    """What verdicts move the quality expected on a job by, and the level of the model."""

    quality: float = 0.0
    level: float = 0.0


def estimates_of(
    signals: Signals | None,
    models: Iterable[Model],
    *,
    task: str | None,
    domain: str | None,
    tenant_id: str,
    shifts: Mapping[Cell, Shift],
) -> dict[str, Estimate]:
    """By model id; a model of which nothing is known, neither predicted nor declared nor judged, is left out."""
    told, hardness = predicted(signals), hardness_of(signals)
    found: dict[str, Estimate] = {}
    for model in models:
        prior = prior_of(model, told, hardness, task=task, domain=domain)
        shift = _shift(shifts, tenant_id=tenant_id, model_id=model.id, domain=domain or "")
        tokens_out = _named(told["answer_tokens"], model) if told else None
        if prior is None and shift is None and tokens_out is None:
            continue
        level = level_of(model, told, task=task, domain=domain)
        if shift is not None:
            level = _moved(UNKNOWN_QUALITY if level is None else level, shift.level)
            prior = _moved(UNKNOWN_QUALITY if prior is None else prior, shift.quality)
        found[model.id] = Estimate(
            quality=None if prior is None else _moved(prior, 0.0),
            level=level,
            tokens_out=None if tokens_out is None else round(tokens_out),
        )
    return found


def prior_of(
    model: Model, told: Predicted | None, hardness: float | None, *, task: str | None, domain: str | None
) -> float | None:
    """The probability of a right answer before any verdict; None where nobody said anything of the model."""
    trained = _named(told["p_correct"], model) if told else None
    if trained is not None:
        return trained
    quality = model.expected_quality(task, domain)
    return quality if quality is None or hardness is None else declared(quality, hardness)


def level_of(model: Model, told: Predicted | None, *, task: str | None, domain: str | None) -> float | None:
    """The share of right answers to jobs of a kind before any verdict: declared, else that of the questions trained with."""
    stated = model.expected_quality(task, domain)
    return stated if stated is not None or told is None else _named(told["p_usual"], model)


def shifts_of(counts: Mapping[Cell, Count], before: Mapping[Cell, Shift]) -> dict[Cell, Shift]:
    """What each cell's verdicts move an expectation by, cells over all domains included.

    `before`: the shifts in use; one that would change by no more than STEP stays.
    """
    sums: dict[Cell, Count] = {}
    for cell, count in counts.items():
        whole = cell._replace(domain=None)
        sums[whole] = Count(*(one + other for one, other in zip(sums.get(whole, Count()), count, strict=True)))
    known = {**sums, **counts}
    shifts: dict[Cell, Shift] = {}
    for cell in sorted(known, key=lambda each: (each.learner != EVERYBODY, each.domain is not None)):
        wider = next((shifts[each] for each in _wider(cell) if each in shifts), Shift())
        held = before.get(cell, (None, None))
        score, trials, *awaited = known[cell]
        shifts[cell] = Shift(
            *(
                _shifted(score - each, trials, wider=by, held=old)
                for each, by, old in zip(awaited, wider, held, strict=True)
            )
        )
    return shifts


def _shifted(surplus: float, trials: float, *, wider: float, held: float | None) -> float:
    exact = wider + (surplus - trials * wider) / (trials + STRENGTH)
    return held if held is not None and abs(exact - held) <= STEP else round(exact, 4)


def _wider(cell: Cell) -> tuple[Cell, ...]:
    """From the next wider one on."""
    everywhere, others = cell._replace(domain=None), cell._replace(learner=EVERYBODY)
    if cell.learner == EVERYBODY:
        return () if cell.domain is None else (everywhere,)
    if cell.domain is None:
        return (others,)
    return (others, everywhere, others._replace(domain=None))


def _shift(shifts: Mapping[Cell, Shift], *, tenant_id: str, model_id: str, domain: str) -> Shift | None:
    """That of the narrowest cell with evidence; None without any."""
    cell = Cell(tenant_id, model_id, domain)
    return next((shifts[each] for each in (cell, *_wider(cell)) if each in shifts), None)


def _named(values: Mapping[str, float], model: Model) -> float | None:
    """By id, by name, or by the model's name at its provider."""
    return next((values[name] for name in (model.id, model.name, model.upstream) if name in values), None)


def _moved(quality: float, by: float) -> float:
    return round(min(MOST, max(LEAST, quality + by)), 4)
