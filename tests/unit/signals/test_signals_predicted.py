from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

from router_service.errors import InvalidRequestError
from router_service.evaluation.benchmark_files import read_labels
from router_service.prediction.examples import Examples
from router_service.prediction.training import Recipe, train
from router_service.signals.extract import extract
from router_service.signals.predicted import LEAST_SURE, Prophet, predicted
from router_service.signals.request import Request
from router_service.signals.signals import Signals

if TYPE_CHECKING:
    from pathlib import Path

PROPHET = Prophet()
EASY = "Tom has 4 apples and buys 3 more. How many apples does he have now?"
HARD = (
    "Let f be holomorphic on the unit disc with |f(z)| <= 1. Determine the supremum of |f'(0)|. A. 1 B. 2 C. 3 D. none"
)


def read(*texts: str, domain: str | None = None) -> list[Signals]:
    metadata = {"waybill.domain": domain} if domain else None
    bodies = ({"messages": [{"role": "user", "content": text}]} for text in texts)
    return extract([Request.of(body, tokens_in=10, metadata=metadata) for body in bodies], (PROPHET,))


def test_the_shipped_predictor_tells_easy_from_hard_and_knows_a_domain_where_it_is_sure() -> None:
    easy, hard = read(EASY, HARD)
    assert easy.failed == hard.failed == {}
    assert easy.difficulty is not None
    assert hard.difficulty is not None
    assert easy.difficulty < 0.5 < hard.difficulty
    assert easy.domain == "math"
    assert (easy.domain_confidence or 0) >= LEAST_SURE
    told = predicted(easy)
    assert told is not None
    assert told["p_correct"] == {}  # it knows no model


def test_a_hint_of_the_domain_goes_before_what_is_predicted() -> None:
    (told,) = read(EASY, domain="law")
    assert (told.domain, told.domain_confidence) == ("law", 1.0)


def test_what_is_predicted_is_stored_and_read_back_and_hardly_depends_on_the_batch() -> None:
    batch = read(EASY, HARD, "Bonjour", "")
    assert [Signals.from_json(each.as_json()) for each in batch] == batch
    (alone,) = read(HARD)
    assert alone.domain == batch[1].domain
    assert alone.difficulty == pytest.approx(
        batch[1].difficulty, abs=1e-3
    )  # sums of floats go by the size of the batch


def test_nothing_is_known_where_no_predictor_has_read() -> None:
    assert predicted(None) is None
    assert predicted(Signals(language="de")) is None


def test_no_length_is_expected_of_a_model_that_was_trained_without_any(tmp_path: Path) -> None:
    """What is not known must not be 0: that would make the model nearly free."""
    lines = [
        {
            "text": f"{subject} {number}: what is it, and why?",
            "outcomes": {"told": float(number % 3 > 0), "untold": float(number % 2)},
            "tokens_out": {"told": 100 + number % 7} if number % 5 else {},
        }
        for number in range(120)
        for subject in ("court", "river")
    ]
    path = tmp_path / "labels.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    own = train([read_labels(path)], recipe=Recipe(landmarks=40))
    (signals,) = extract(
        [Request.of({"messages": [{"role": "user", "content": EASY}]}, tokens_in=10)], (Prophet(lambda: own),)
    )
    told = predicted(signals)
    assert told is not None
    assert set(told["p_correct"]) == {"told", "untold"}
    assert told["p_usual"] == {"told": pytest.approx(2 / 3, abs=0.01), "untold": pytest.approx(0.5, abs=0.01)}
    assert list(told["answer_tokens"]) == ["told"]
    assert 60 < told["answer_tokens"]["told"] < 140


@pytest.mark.parametrize("length", [-5, math.inf, math.nan])
def test_a_length_that_is_none_is_refused_with_its_line(tmp_path: Path, length: float) -> None:
    path = tmp_path / "labels.jsonl"
    lines = [{"text": "x", "outcomes": {"m": 1}, "tokens_out": {"m": each}} for each in (5, length)]
    path.write_text("\n".join(map(json.dumps, lines)))
    with pytest.raises(InvalidRequestError, match=r"labels\.jsonl:2: tokens_out\.m is"):
        read_labels(path)
    if not math.isnan(length):
        with pytest.raises(InvalidRequestError, match="negative or infinite"):
            Examples(
                source="s",
                texts=("x",),
                domains=(None,),
                models=("m",),
                outcomes=np.ones((1, 1)),
                tokens_out=np.array([[length]]),
            )
