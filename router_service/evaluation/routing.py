"""`waybill eval routing`: train on labelled questions, route others by their text alone, compare with what models answered.

A setting of the router is lambda, in probability of a right answer per USD: each question goes to argmax p - lambda * cost,
where both are predicted. All settings together give a curve of cost against quality; see `frontier` for what is read off it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from router_service.errors import InvalidRequestError
from router_service.evaluation import frontier
from router_service.prediction import training
from router_service.routing.strategies import margin_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from router_service.evaluation.benchmark_files import Benchmark
    from router_service.prediction import Predictor

    Floats = NDArray[np.float64]
    Prices = Mapping[str, tuple[float, float]]

SETTINGS = 160  # lambdas, beside 0 and infinity
SHARES = (0.95, 0.98, 1.0)
FOLDS = 5
HIDDEN_REASONING = "o1-"  # such a model's recorded output leaves its reasoning out: no cost can be told


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What the router goes by, [questions, models of the pool]: `p` and `cost_usd`; `usual_` ones are the models' own means."""

    p: Floats
    cost_usd: Floats
    usual_p: Floats
    usual_cost_usd: Floats

    def rows(self, chosen: NDArray[np.intp]) -> Expected:
        """Of the questions at these places."""
        return replace(self, p=self.p[chosen], cost_usd=self.cost_usd[chosen])


@dataclass(frozen=True, slots=True, kw_only=True)
class Actual:
    """What happened, [questions, models of the pool]: outcomes in [0, 1] and `cost_usd`, without gaps."""

    outcomes: Floats
    cost_usd: Floats

    def single(self, column: int) -> frontier.Point:
        return float(self.cost_usd[:, column].mean()), float(self.outcomes[:, column].mean())

    @property
    def singles(self) -> list[frontier.Point]:
        return [self.single(column) for column in range(self.outcomes.shape[1])]


def predict(
    train: Sequence[Benchmark],
    test: Benchmark,
    prices: Prices,
    *,
    category_given: bool = False,
    recipe: training.Recipe | None = None,
) -> Expected:
    """Train on all of `train` and predict for the test questions from nothing but their text (and category where given)."""
    predictor = training.train([each.examples for each in train], recipe=recipe)
    domains = test.examples.domains if category_given else None
    return expect(predictor, test.examples.texts, test.tokens_in, prices, domains=domains)


def expect(
    predictor: Predictor,
    texts: Sequence[str],
    tokens_in: Floats,
    prices: Prices,
    *,
    domains: Sequence[str | None] | None = None,
) -> Expected:
    """What the predictor and the prices say of texts."""
    said = predictor.predict(texts, domains)
    columns = [predictor.models.index(model) for model in prices]
    usual_p, usual_tokens = (each[columns].astype(np.float64) for each in (predictor.usual_p, predictor.usual_tokens))
    return Expected(
        p=said.p_correct[:, columns].astype(np.float64),
        cost_usd=cost_usd(tokens_in, said.tokens_out[:, columns].astype(np.float64), prices),
        usual_p=usual_p,
        usual_cost_usd=cost_usd(tokens_in.mean(keepdims=True), usual_tokens[None, :], prices)[0],
    )


def cost_usd(tokens_in: Floats, tokens_out: Floats, prices: Prices) -> Floats:
    """USD per question and model of the pool, [questions, models]."""
    price_in, price_out = np.array(list(prices.values())).T
    cost: Floats = (tokens_in[:, None] * price_in + tokens_out * price_out) / 1e6
    return cost


def known(test: Benchmark, prices: Prices) -> tuple[NDArray[np.intp], Actual]:
    """Places of the questions for which every model of the pool has an outcome and a length, and those."""
    columns = [test.examples.models.index(model) for model in prices]
    outcomes, tokens = test.examples.outcomes[:, columns], test.examples.tokens_out[:, columns]
    rows = np.flatnonzero(~np.isnan(outcomes).any(axis=1) & ~np.isnan(tokens).any(axis=1))
    return rows, Actual(outcomes=outcomes[rows], cost_usd=cost_usd(test.tokens_in[rows], tokens[rows], prices))


def lambdas(expected: Expected) -> Floats:
    """0, then evenly by ratio from where cost hardly matters to where nearly nothing else does, then infinity."""
    means = expected.cost_usd.mean(axis=0)
    priced = means[means > 0]  # at a free model's side every other one is dear
    if not len(priced):
        return np.array([0.0, np.inf])
    inner = np.geomspace(1e-3 / priced.max(), 10 / priced.min(), SETTINGS)
    return np.concatenate([[0.0], inner, [np.inf]])


def choose(expected: Expected, setting: float) -> NDArray[np.intp]:
    """For each question the column of the model it goes to; of equal ones the cheaper, then the first.

    The model that is best for a usual question keeps every question for which no other is better by more than a margin: between
    two that are close a choice would turn on a word, and what is gained by turning is within the error.
    """
    if np.isinf(setting):
        return _least(expected.cost_usd)
    value = expected.p - setting * expected.cost_usd
    usual = int(np.argmax(expected.usual_p - setting * expected.usual_cost_usd))
    value[:, usual] += margin_of(1.0, setting * float(expected.usual_cost_usd[usual]))
    best = value >= value.max(axis=1, keepdims=True) - 1e-12
    return _least(np.where(best, expected.cost_usd, np.inf))


def _least(values: Floats) -> NDArray[np.intp]:
    places: NDArray[np.intp] = np.argmin(values, axis=1)
    return places


def measure(
    expected: Expected, actual: Actual, names: Sequence[str], *, rounds: int = 500, seed: int = 0
) -> dict[str, Any]:
    """All that is told of a router on questions whose outcomes are known."""
    settings = lambdas(expected)
    rows = np.arange(len(actual.outcomes))
    choices = [choose(expected, setting) for setting in settings]
    costs = np.stack([actual.cost_usd[rows, choice] for choice in choices], axis=1)
    qualities = np.stack([actual.outcomes[rows, choice] for choice in choices], axis=1)
    weights = np.full((1, len(rows)), 1 / len(rows))
    point = _scores(weights[0], costs, qualities, actual)
    drawn = np.random.default_rng(seed).multinomial(len(rows), weights[0], size=rounds) / len(rows)
    resampled = [_scores(each, costs, qualities, actual) for each in drawn]
    oracle_cost, oracle_quality = frontier.oracle(actual.outcomes, actual.cost_usd)
    return {
        "questions": len(rows),
        "router": {name: _told(point[name]) for name in point if name.startswith("router")},
        "zero": {name: _told(point[name]) for name in point if name.startswith("zero")},
        "intervals": {name: _interval([each[name] for each in resampled]) for name in point if name.startswith("more")},
        "more": {name: _told(point[name]) for name in point if name.startswith("more")},
        "oracle": {"cost_usd": oracle_cost, "quality": oracle_quality},
        "singles": [
            {"model": name, "cost_usd": cost, "quality": quality}
            for name, (cost, quality) in zip(names, actual.singles, strict=True)
        ],
        "ece": frontier.calibration_error(expected.p, actual.outcomes),
        "auroc": frontier.auroc(expected.p, actual.outcomes),
        "curve": [
            {"lambda": float(setting), "cost_usd": float(cost), "quality": float(quality)}
            for setting, cost, quality in zip(settings, costs.mean(axis=0), qualities.mean(axis=0), strict=True)
        ],
    }


def _scores(weights: Floats, costs: Floats, qualities: Floats, actual: Actual) -> dict[str, float]:
    """AIQ and what is saved, of the router, the zero router, and the router's more; questions count by their weights."""
    singles = list(zip(weights @ actual.cost_usd, weights @ actual.outcomes, strict=True))
    strongest = max(singles, key=lambda single: (single[1], -single[0]))
    curves = {
        "router": frontier.hull(zip(weights @ costs, weights @ qualities, strict=True)),
        "zero": frontier.hull(singles),
    }
    cheapest, dearest = min(single[0] for single in singles), max(single[0] for single in singles)
    scores: dict[str, float] = {}
    for name, curve in curves.items():
        scores[f"{name}_aiq"] = frontier.aiq(curve, cheapest=cheapest, dearest=dearest)
        for share in SHARES:
            scores[f"{name}_saved_{share:.0%}"] = frontier.saved(curve, share=share, strongest=strongest)
    own = [name.removeprefix("router_") for name in scores if name.startswith("router_")]
    return scores | {f"more_{name}": scores[f"router_{name}"] - scores[f"zero_{name}"] for name in own}


def _told(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _interval(values: Sequence[float]) -> list[float | None]:
    """The middle 95 % of resampled values; None for an end at which the quality is never reached."""
    ordered = np.sort(np.where(np.isnan(values), -np.inf, values))
    return [_told(float(ordered[int(part * (len(ordered) - 1))])) for part in (0.025, 0.975)]


def left_out(
    benchmark: Benchmark, prices: Prices, parts: Sequence[NDArray[np.intp]], *, others: Sequence[Benchmark] = ()
) -> Expected:
    """Predictions for each part of a benchmark by training on its other parts, and on `others`."""
    whole: Expected | None = None
    for part in parts:
        rest = np.setdiff1d(np.arange(len(benchmark.ids)), part)
        expected = predict([benchmark.rows(rest), *others], benchmark.rows(part), prices)
        if whole is None:
            empty = np.zeros((len(benchmark.ids), len(prices)))
            whole = replace(expected, p=empty, cost_usd=empty.copy())
        whole.p[part], whole.cost_usd[part] = expected.p, expected.cost_usd
    if whole is None:
        raise InvalidRequestError("no part of the benchmark to leave out")
    return whole


def folds(count: int, *, seed: int = 0) -> list[NDArray[np.intp]]:
    """FOLDS parts of `count` questions, drawn by `seed`."""
    order = np.random.default_rng(seed).permutation(count)
    return [np.sort(order[at::FOLDS]) for at in range(FOLDS)]


def by_group(benchmark: Benchmark) -> dict[str, NDArray[np.intp]]:
    """The questions of each category; those without one are in none."""
    domains = np.array([domain or "" for domain in benchmark.examples.domains])
    return {str(name): np.flatnonzero(domains == name) for name in np.unique(domains) if name}


def pool(
    benchmarks: Sequence[Benchmark], prices: Prices, *, only: Sequence[str] = (), without: Sequence[str] = ()
) -> dict[str, tuple[float, float]]:
    """The prices of the models that are routed among. InvalidRequestError: a name that is not there, or fewer than two models."""
    unknown = sorted((set(only) | set(without)) - set(prices))
    if unknown:
        raise InvalidRequestError(f"no price for {', '.join(unknown)}; the pool has {', '.join(sorted(prices))}")
    chosen = {
        model: price
        for model, price in prices.items()
        if (not only or model in only) and model not in without and not model.startswith(HIDDEN_REASONING)
    }
    if len(chosen) < 2:
        raise InvalidRequestError(f"a pool of {len(chosen)} models leaves nothing to choose; name at least two")
    if not any(set(chosen) <= set(each.examples.models) for each in benchmarks):
        raise InvalidRequestError(
            "no training folder has outcomes of all models of the pool; without that they cannot be compared"
        )
    return chosen
