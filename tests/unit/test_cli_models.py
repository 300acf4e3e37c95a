from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from rich.console import Console

from router_service.cli import output
from router_service.cli.client import ApiClient
from router_service.cli.models import MOMENT, OFFER, Pace, moment_rows, offer_rows, pace, screens, trouble_line
from router_service.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

NOTHING: dict[str, Any] = {
    "calls": 0.0,
    "throttled": 0.0,
    "wait_seconds": {},
    "stale_finishes": 0,
    "duplicate_calls": 0,
}


def deployment(name: str = "small-eu", **changes: Any) -> dict[str, Any]:
    """As `/v1/models` tells it."""
    quiet = {
        "id": name,
        "max_input_tokens": 128_000,
        "input_cost_per_token": 2e-7,
        "output_cost_per_token": 8e-7,
        "quality": 0.7,
        "slots": 50,
        "rpm": 3000,
        "tpm": 1_500_000,
        "itpm": None,
        "otpm": None,
        "rpd": None,
        "tpd": None,
        "in_flight": 0,
        "waiting": 0,
        "held_by": None,
        "paused_s": 0.0,
        "broken_s": 0.0,
        "limit_factor": 1.0,
        "latency_s": None,
        "latency_p95_s": None,
        "queue": 0,
        "dead_letter_queue": 0,
        "counts": NOTHING,
    }
    return quiet | changes


def model(name: str, *deployments: dict[str, Any]) -> dict[str, Any]:
    return {"id": name, "waybill": {"deployments": list(deployments)}}


def drawn(columns: Sequence[str], rows: Sequence[Sequence[object]], *, width: int) -> list[str]:
    screen = Console(width=width, file=StringIO())
    screen.print(output.plain_table(columns, rows))
    return screen.file.getvalue().rstrip().splitlines()  # type: ignore[attr-defined,no-any-return]


def moment(**changes: Any) -> tuple[object, ...]:
    (row,) = moment_rows([model("small", deployment(**changes))], {})
    return row


def test_a_rate_is_the_difference_of_two_readings() -> None:
    before = NOTHING | {"calls": 10.0, "wait_seconds": {"rpm": 5.0}}
    after = NOTHING | {"calls": 30.0, "throttled": 1.0, "wait_seconds": {"rpm": 25.0, "slots": 3.0}}
    assert pace(before, after, seconds=2.0) == Pace(calls=10.0, throttled=0.5, waits={"rpm": 10.0, "slots": 1.5})


@pytest.mark.parametrize(
    ("before", "after", "seconds"), [(None, NOTHING, 1.0), (NOTHING, None, 1.0), (NOTHING, NOTHING, 0)]
)
def test_there_is_no_rate_without_two_readings(before: Any, after: Any, seconds: float) -> None:
    assert pace(before, after, seconds=seconds) == Pace()


def test_a_count_that_redis_lost_begins_anew() -> None:
    assert pace(NOTHING | {"calls": 100.0}, NOTHING | {"calls": 4.0}, seconds=2.0).calls == 2.0


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, None),
        ({"held_by": "rpm"}, "rpm"),
        ({"held_by": "paused", "paused_s": 12.4}, "paused 12 s"),
        ({"held_by": "breaker", "broken_s": 240.0}, "breaker 4 min"),
        ({"held_by": "slots", "broken_s": -0.001}, "slots"),
        ({"in_flight": None, "paused_s": None, "broken_s": None, "limit_factor": None}, None),
    ],
)
def test_what_holds_a_model_is_told_with_its_time(changes: dict[str, Any], shown: str | None) -> None:
    assert moment(**changes)[MOMENT.index("held by")] == shown


def test_a_share_of_the_limits_is_told_where_it_is_not_whole() -> None:
    assert moment(limit_factor=0.85)[MOMENT.index("#share")] == "85%"
    assert moment(limit_factor=1.0)[MOMENT.index("#share")] is None


def test_waits_are_told_the_longest_first_and_without_crumbs() -> None:
    paces = {"small-eu": Pace(calls=12.34, waits={"slots": 0.01, "rpm": 2.0, "tpm": 31.25})}
    (row,) = moment_rows([model("small", deployment())], paces)
    assert row[MOMENT.index("#calls/s")] == "12"
    assert row[MOMENT.index("jobs wait for")] == "tpm 31, rpm 2.0"


def test_a_deployment_of_two_names_is_one_row_of_the_moment_and_two_of_the_offer() -> None:
    shared = deployment()
    both = [model("small", shared), model("cheap", shared)]
    assert len(moment_rows(both, {})) == 1
    assert [row[:2] for row in offer_rows(both)] == [("small", "small-eu"), ("cheap", "small-eu")]


def test_the_offer_tells_how_long_calls_take_in_the_mean_and_at_most() -> None:
    (row,) = offer_rows([model("small", deployment(latency_s=1.234, latency_p95_s=45.67))])
    assert (row[OFFER.index("#s/call")], row[OFFER.index("#p95 s")]) == ("1.2", "46")


def test_limits_are_told_in_few_letters() -> None:
    (row,) = offer_rows([model("small", deployment(rpd=10_000))])
    assert "3k rpm 1.5M tpm 10k rpd" in row


@pytest.mark.parametrize("width", [100, 140])
def test_a_busy_moment_fits_a_line_of_an_ordinary_terminal(width: int) -> None:
    busy = deployment(
        "small-eu-west-1", in_flight=50, waiting=1000, dead_letter_queue=120, held_by="paused", paused_s=58.0,
        limit_factor=0.5, latency_s=12.34,
    )  # fmt: skip
    paces = {busy["id"]: Pace(calls=123.4, throttled=12.3, waits={"rpm": 1234.5, "slots": 12.0})}
    lines = drawn(MOMENT, moment_rows([model("small", busy)], paces), width=width)
    assert len(lines) == 2, lines
    assert "rpm 1234, slots 12" in lines[1]


def test_trouble_is_one_line() -> None:
    counts = NOTHING | {"stale_finishes": 2.0, "duplicate_calls": 1.0}
    listed = {
        "data": [model("a", deployment("a", counts=counts)), model("b", deployment("b", counts=counts))],
        "waybill": {"recovered": {"lease": 3.0, "dead_letter": 1.0, "routed": 0.0}},
    }
    line = {"queued": 12_345, "oldest_s": 190.0}
    assert trouble_line(listed, line) == (
        "in line 12,345, the oldest for 3 min · stale finishes 4 · duplicate calls 2 · mended: dead letter 1, lease 3"
    )
    quiet = {"data": [model("a", deployment(counts=None))]}
    assert trouble_line(quiet, {"queued": 0, "oldest_s": None}).startswith("in line 0 · stale finishes 0")


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.2, "0 s"), (119.0, "119 s"), (120.0, "2 min"), (7300.0, "2 h"), (200_000.0, "2 d")]
)
def test_durations_are_short(seconds: float, shown: str) -> None:
    assert output.duration(seconds) == shown


def shown(view: RenderableType) -> str:
    screen = Console(width=140, file=StringIO())
    screen.print(view)
    return screen.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_watching_goes_on_while_the_service_does_not_answer() -> None:
    alive = [True, False, True]

    def serve(request: httpx.Request) -> httpx.Response:
        if not alive[0]:
            raise httpx.ConnectError("down", request=request)
        listed = {"data": [model("small", deployment(in_flight=3))]}
        return httpx.Response(200, json=listed if request.url.path == "/v1/models" else {"queued": 0})

    client = ApiClient("http://127.0.0.1:1", key="k", transport=httpx.MockTransport(serve))
    views = screens(client, sleep=lambda _: alive.remove(alive[0]))
    assert "3/50" in shown(next(views))
    assert "not reachable" in shown(next(views))
    assert "3/50" in shown(next(views))


def test_watching_a_service_that_was_never_there_ends() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("down", request=request)

    client = ApiClient("http://127.0.0.1:1", key="k", transport=httpx.MockTransport(refuse))
    with pytest.raises(UnavailableError):
        next(screens(client))
