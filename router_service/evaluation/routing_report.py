"""Files in, reports out, for `waybill eval routing`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from router_service.errors import InvalidRequestError
from router_service.evaluation import routing, targets
from router_service.evaluation.benchmark_files import Benchmark, read_folder, read_prices

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from router_service.evaluation.routing import Actual, Expected
    from router_service.routing.calibration import Curve


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """`target`: the folder to train on that has outcomes of the whole pool; `others` serve what all questions share."""

    target: Benchmark
    others: tuple[Benchmark, ...]
    prices: dict[str, tuple[float, float]]


def read(
    folders: Sequence[Path], prices: Path, *, pool: str | None, only: Sequence[str], without: Sequence[str]
) -> Inputs:
    """InvalidRequestError: a file is wrong, or no folder and pool fit each other."""
    benchmarks = [read_folder(folder) for folder in folders]
    models = sorted({model for each in benchmarks for model in each.examples.models})
    chosen = routing.pool(benchmarks, read_prices(prices, models=models, pool=pool), only=only, without=without)
    fitting = [each for each in benchmarks if set(chosen) <= set(each.examples.models)]
    return Inputs(target=fitting[0], others=tuple(each for each in benchmarks if each is not fitting[0]), prices=chosen)


def run(inputs: Inputs, test_folder: Path, *, category_given: bool) -> tuple[dict[str, Any], Expected, tuple[str, ...]]:
    """The report, what the router expected of every test question, and the questions' ids.

    Without outcomes in the test folder the report only says what was routed.
    """
    test = read_folder(test_folder)
    expected = routing.predict([inputs.target, *inputs.others], test, inputs.prices, category_given=category_given)
    report: dict[str, Any] = {
        "models": len(inputs.prices),
        "trained_on": len(inputs.target.ids),
        "routed": len(test.ids),
    }
    if not set(inputs.prices) <= set(test.examples.models):
        return report, expected, test.ids
    rows, actual = routing.known(test, inputs.prices)
    if not len(rows):
        raise InvalidRequestError(
            f"{test_folder}: no question has outcomes of all {len(inputs.prices)} models of the pool"
        )
    seen = expected.rows(rows)
    report |= routing.measure(seen, actual, list(inputs.prices))
    ids = [test.ids[row] for row in rows]
    report["targets"] = targets.delivered(_calibrate(inputs), ids, seen, actual)
    return report, expected, test.ids


def _calibrate(inputs: Inputs) -> Curve:
    """What quality each setting brings, from training questions that were left out in turn."""
    target = inputs.target
    expected = routing.left_out(target, inputs.prices, routing.folds(len(target.ids)), others=inputs.others)
    return targets.calibrate(*_with_outcomes(expected, target, inputs))


def _with_outcomes(expected: Expected, benchmark: Benchmark, inputs: Inputs) -> tuple[Expected, Actual]:
    rows, actual = routing.known(benchmark, inputs.prices)
    return expected.rows(rows), actual


def leave_out(inputs: Inputs) -> dict[str, Any]:
    """Each category of the training folder, routed by what all others teach."""
    groups = routing.by_group(inputs.target)
    if len(groups) < 2:
        raise InvalidRequestError("to leave a category out, the questions need at least two in `category` or `task`")
    expected = routing.left_out(inputs.target, inputs.prices, list(groups.values()), others=inputs.others)
    seen, actual = _with_outcomes(expected, inputs.target, inputs)
    report = routing.measure(seen, actual, list(inputs.prices))
    report["categories"] = [_category(name, rows, expected, inputs) for name, rows in groups.items()]
    return report


def _category(name: str, rows: Any, expected: Expected, inputs: Inputs) -> dict[str, Any]:
    there, actual = routing.known(inputs.target.rows(rows), inputs.prices)
    own = expected.rows(rows[there])
    told = routing.measure(own, actual, list(inputs.prices), rounds=200)
    return {
        "category": name,
        "questions": told["questions"],
        "aiq": told["router"]["router_aiq"],
        "zero_aiq": told["zero"]["zero_aiq"],
        "interval": told["intervals"]["more_aiq"],
    }
