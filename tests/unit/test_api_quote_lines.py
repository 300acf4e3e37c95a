from __future__ import annotations

import json
from dataclasses import replace

import pytest

from router_service.api.plans import LONGEST_POLL_S, POLL_S, WAIT_S, pauses_s
from router_service.api.quote_lines import Sample
from tests.support.steps import new_job

MOST_BYTES = 20_000


@pytest.mark.parametrize("text", ["harbour", "报告的内容", '"\\\n', "😀"])
def test_a_sample_has_no_more_bytes_than_it_may_whatever_its_characters(text: str) -> None:
    sample = Sample(most=100, most_bytes=MOST_BYTES)
    bodies = [json.dumps({"content": f"{number} {text * 50}"}, ensure_ascii=False) for number in range(300)]
    sample.add(replace(new_job(), body=body) for body in bodies)
    kept = sample.as_json()
    assert MOST_BYTES / 8 < len(kept.encode()) < MOST_BYTES + 200
    lines = [line["body"] for line in json.loads(kept)]
    assert lines == bodies[:: bodies.index(lines[1])]


def test_a_sample_of_one_line_has_it_though_it_is_too_long() -> None:
    sample = Sample(most_bytes=10)
    sample.add([new_job()])
    assert len(json.loads(sample.as_json())) == 1


def test_who_waits_for_a_quote_looks_less_and_less_often() -> None:
    pauses = list(pauses_s())
    assert pauses[0] == POLL_S
    assert max(pauses) == LONGEST_POLL_S
    assert sum(pauses) == pytest.approx(WAIT_S)
    assert len(pauses) <= 20
