"""`waybill eval robustness`: how many choices stay the same when a question is put in other words."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import numpy as np

from router_service.evaluation import routing
from router_service.evaluation.perturbations import PERTURBATIONS
from router_service.prediction import training

if TYPE_CHECKING:
    from collections.abc import Sequence

    from router_service.evaluation.benchmark_files import Benchmark
    from router_service.evaluation.routing import Prices


def measure(train: Sequence[Benchmark], test: Benchmark, prices: Prices, *, seed: int = 0) -> dict[str, Any]:
    """For each way of rewording, the share of changed texts that keep their model: the least and the mean over all lambdas.

    Texts that a way leaves as they are do not count. The prompt's length is that of the original throughout: what is measured
    is whether wording moves a choice, not what a longer prompt costs.
    """
    predictor = training.train([each.examples for each in train])
    plain = routing.expect(predictor, test.examples.texts, test.tokens_in, prices)
    settings = routing.lambdas(plain)
    ways = []
    for name, perturb in PERTURBATIONS.items():
        random = Random(f"{seed} {name}")  # noqa: S311 no secret
        texts = [perturb(text, random) for text in test.examples.texts]
        changed = np.array([new != old for new, old in zip(texts, test.examples.texts, strict=True)])
        if not changed.any():
            continue
        other = routing.expect(predictor, texts, test.tokens_in, prices)
        same = [
            float((routing.choose(plain, each) == routing.choose(other, each))[changed].mean()) for each in settings
        ]
        worst = int(np.argmin(same))
        ways.append(
            {
                "way": name,
                "changed": int(changed.sum()),
                "least": same[worst],
                "at_lambda": float(settings[worst]),
                "mean": float(np.mean(same)),
            }
        )
    return {"questions": len(test.ids), "models": len(prices), "ways": ways}
