from __future__ import annotations

import pytest

from router_service.errors import InvalidRequestError
from router_service.jobs.windows import window_s


@pytest.mark.parametrize(
    ("text", "seconds"), [("1s", 1), ("90m", 5400), ("24h", 86_400), ("007d", 604_800), ("90d", 90 * 86_400)]
)
def test_a_window_is_a_number_and_a_unit(text: str, seconds: int) -> None:
    assert window_s(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        "24",
        "h",
        "0h",
        "-1h",
        "1.5h",
        " 1h",
        "1h ",
        "1h\n",
        "1H",
        "1w",
        "91d",
        "99999999d",
        "1e3s",
        "\u0661h",
        "1h1m",
    ],
)
def test_another_form_is_refused_and_told_what_would_be_right(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="such as '24h'") as caught:
        window_s(text)
    assert caught.value.param == "completion_window"
