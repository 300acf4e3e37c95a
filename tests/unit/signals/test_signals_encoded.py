from __future__ import annotations

import base64
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_service.signals.encoded import LEAST, without_encoded

IMAGE = base64.b64encode(random.Random(1).randbytes(60_000)).decode()
URL = f"data:image/png;base64,{IMAGE}"


def body_of(*parts: object) -> str:
    return json.dumps({"messages": [{"role": "user", "content": list(parts)}]})


@pytest.mark.parametrize("slash", ["/", r"\/"])
def test_images_sounds_and_files_in_base64_are_left_out(slash: str) -> None:
    text = {"type": "text", "text": "Was ist das? " * 100}
    whole = body_of(
        text,
        {"type": "image_url", "image_url": {"url": URL}},
        {"type": "input_audio", "input_audio": {"data": IMAGE, "format": "wav"}},
        {"type": "file", "file": {"file_data": URL}},
    )
    left = without_encoded(whole.replace("/", slash))
    assert len(left) < 2000
    assert json.loads(left) == json.loads(whole.replace(IMAGE, ""))


@given(st.recursive(st.text() | st.integers(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_other_json_stays_as_it_is(value: object) -> None:
    body = json.dumps([value, "x" * LEAST, f"say data:;base64,{IMAGE[:100]} and so on"])
    assert without_encoded(body) == body


@pytest.mark.parametrize("end", ["\\", '\\"', "\\n", "\\u00e4", "/\\/\\"])
def test_what_follows_a_long_one_is_whole(end: str) -> None:
    said = [f"data:;base64,{IMAGE}{json.loads(f'{chr(34)}{end}{chr(34)}') if end[-1] != chr(92) else '/'}"]
    assert json.loads(without_encoded(json.dumps(said)))[0].startswith("data:;base64,")


def test_what_stands_behind_the_end_of_base64_or_in_a_text_is_kept() -> None:
    encoded = "QUJD" * 400
    behind = f'{{"url":"data:image/png;base64,{encoded}=key=AKIA"}}'
    assert without_encoded(behind) == '{"url":"data:image/png;base64,key=AKIA"}'
    within = f'{{"text":"see ;base64,{encoded} there"}}'
    assert without_encoded(within) == within
