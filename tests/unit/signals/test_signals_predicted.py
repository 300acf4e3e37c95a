from __future__ import annotations

import pytest

from router_service.signals.extract import extract
from router_service.signals.predicted import LEAST_SURE, Prophet, predicted
from router_service.signals.request import Request
from router_service.signals.signals import Signals

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
