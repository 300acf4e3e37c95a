"""What requests say of routing over HTTP: taken, kept with the job, or refused with the place that is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.conftest import client_of, publish, running
from tests.support.catalogs import document, entry
from tests.support.requests import MESSAGES, accept_job, jsonl, make_batch, request_line

if TYPE_CHECKING:
    import httpx

    from router_service.settings import Settings
    from router_service.store.session import Database
    from tests.support.steps import Sql

EU = {"data_residency": {"inference": "eu", "storage": "eu"}}


async def test_what_a_job_asks_of_routing_is_kept_with_it(api: httpx.AsyncClient, sql: Sql) -> None:
    wishes = {"policy": "fastest", "max_cost_usd": 0.5, "language": "pt-BR", "difficulty": 0.25}
    provider = {"order": ["beta"], "sort": "price", "max_price": {"prompt": 3}, "data_collection": "allow"}
    job_id = await accept_job(api, router=wishes, input={"messages": MESSAGES, "provider": provider, "max_tokens": 5})
    kept = {
        "policy": "fastest",
        "max_cost_usd": 0.5,
        "max_input_cost": 3e-6,
        "language": "pt",
        "difficulty": 0.25,
        "order": ["beta"],
        "sort": "price",
    }
    assert (await api.get(f"/v1/jobs/{job_id}")).json()["router"] == kept
    assert await sql.value("SELECT preferences FROM jobs") == kept


async def test_hints_may_stand_in_the_metadata(api: httpx.AsyncClient) -> None:
    within = {"messages": MESSAGES, "metadata": {"waybill.language": "de"}, "router": {"policy": "fastest"}}
    job_id = await accept_job(api, metadata={"waybill.domain": "Law", "team": "x"}, input=within)
    shown = (await api.get(f"/v1/jobs/{job_id}")).json()
    assert shown["router"] == {"domain": "law", "language": "de", "policy": "fastest"}
    assert shown["metadata"] == {"waybill.domain": "Law", "team": "x"}


@pytest.mark.parametrize(
    ("changes", "param", "said"),
    [
        ({"router": {"polciy": "x"}}, "router.polciy", "router.polciy"),
        ({"router": {"policy": "nobody's"}}, "router.policy", "cheapest-capable"),
        ({"router": {"quality_target": 0.9, "policy": "fastest"}}, "router.quality_target", "aims at no quality"),
        ({"router": {"max_cost_usd": True}}, "router.max_cost_usd", "number"),
        ({"quality": "0.1"}, "quality", "number"),
        ({"router": {"quality_target": 2}}, "router.quality_target", "less than or equal to 1"),
        ({"router": {"task": "dance"}}, "router.task", "summarize"),
        ({"router": {"residency": "us"}, "residency": "eu"}, "router.residency", "differs"),
        ({"input": {"messages": MESSAGES, "router": {"quality": "good"}}}, "input.router.quality", "number"),
        ({"input": {"messages": MESSAGES, "metadata": {"waybill.task": "x"}}}, "input.metadata.waybill.task", "chat"),
        ({"metadata": {"waybill.colour": "red"}}, "metadata.waybill.colour", "waybill.domain"),
        ({"input": {"messages": MESSAGES, "provider": {"sort": "best"}}}, "input.provider.sort", "price"),
        (
            {"input": {"messages": MESSAGES, "provider": {"quantizations": ["fp8"]}}},
            "input.provider.quantizations",
            "OpenRouter's key is not kept; a catalog does not say how a model is quantized: name the models",
        ),
        ({"input": {"messages": MESSAGES, "provider": {"ignore": ["a\0b"]}}}, "input.provider.ignore.0", "pattern"),
        ({"input": {"messages": MESSAGES, "provider": {"order": ["a", "\0"]}}}, "input.provider.order.1", "pattern"),
        ({"input": {"messages": MESSAGES, "provider": {"only": []}}}, "input.provider.only", "at least 1"),
        ({"input": {"messages": MESSAGES, "router": {"policy": "\0"}}}, "input.router.policy", "pattern"),
        (
            {"input": {"messages": MESSAGES, "router": {f"a: {'x' * 5000}": 1}}},
            f"input.router.a: {'x' * 57}",
            ": unknown key",
        ),
        ({"router": {"x" * 5000: 1}}, f"router.{'x' * 60}", ": unknown key"),
        ({"router": {"langauge": "de"}}, "router.langauge", "router.langauge: unknown key; did you mean 'language'?"),
        ({"router": {"language": "xx"}}, "router.language", "a language tag such as 'de'"),
        ({"rooter": {}}, "rooter", "rooter: unknown key; did you mean 'router'?"),
        ({"max_cost_usd": 1}, "max_cost_usd", "max_cost_usd: unknown key; it belongs to router"),
        (
            {"input": {"messages": MESSAGES, "router": {"sort": "price"}}},
            "input.router.sort",
            "it belongs to `provider`",
        ),
        (
            {"input": {"messages": MESSAGES, "provider": {"residency": "eu"}}},
            "input.provider.residency",
            "it belongs to `router`",
        ),
        (
            {"input": {"messages": MESSAGES, "provider": {"ignored": ["a"]}}},
            "input.provider.ignored",
            "did you mean 'ignore'?",
        ),
        (
            {"input": {"messages": MESSAGES, "provider": {"only": ["nobody", "none"]}}},
            "provider.only",
            "no model and no provider is named 'nobody', 'none'; 2 are known: alpha, beta",
        ),
        ({"input": {"messages": MESSAGES, "provider": {"only": ["alfa"]}}}, "provider.only", "did you mean 'alpha'?"),
        (
            {"input": {"messages": MESSAGES, "provider": {"order": ["bete"], "allow_fallbacks": False}}},
            "provider.order",
            "did you mean 'beta'?",
        ),
        ({"model": "router-1.5"}, "model", "'router-1.5' is no threshold; router-0 to router-1"),
        ({"model": "router-0.5"}, "model", "the catalog names none under router_settings.router.pair"),
        (
            {"input": {"messages": MESSAGES, "n": 3}, "router": {"max_cost_usd": 1}},
            "router.max_cost_usd",
            "what n = 3 answers may cost is not known without max_tokens",
        ),
        ({"model": "alpa"}, "model", "no model is named 'alpa'; did you mean 'alpha'?"),
    ],
)
async def test_a_wish_that_is_wrong_is_refused_with_its_place(
    api: httpx.AsyncClient, changes: dict[str, Any], param: str, said: str
) -> None:
    response = await api.post("/v1/jobs", json={"model": "auto", "input": {"messages": MESSAGES}} | changes)
    assert response.status_code in {400, 422}, response.text
    error = response.json()["error"]
    assert error["param"] == param
    assert said in error["message"]
    assert len(response.text) < 1000


async def test_a_line_with_a_name_that_cannot_be_stored_is_refused_with_its_place(api: httpx.AsyncClient) -> None:
    body = {"model": "auto", "messages": MESSAGES, "provider": {"ignore": ["\0"]}}
    batch = await make_batch(api, jsonl(request_line(1, body=body)))
    assert batch["status"] == "failed"
    assert "provider.ignore.0" in batch["errors"]["data"][0]["param"]


async def test_lines_say_where_they_may_go_and_the_batch_says_it_for_all(api: httpx.AsyncClient, sql: Sql) -> None:
    body = {"model": "alpha", "messages": MESSAGES}
    lines = [
        request_line(1),
        request_line(2, router={"quality_target": 0.5}),
        request_line(3, body=body | {"router": {"language": "de"}, "provider": {"ignore": ["beta"]}}),
    ]
    await make_batch(api, jsonl(*lines), router={"policy": "quality-target", "quality_target": 0.9})
    rows = await sql.rows("SELECT preferences FROM jobs ORDER BY line")
    common = {"policy": "quality-target", "quality_target": 0.9}
    assert [row["preferences"] for row in rows] == [
        common,
        common | {"quality_target": 0.5},
        common | {"language": "de", "ignore": ["beta"]},
    ]


async def test_a_line_whose_wish_is_wrong_fails_the_batch_with_its_number(api: httpx.AsyncClient) -> None:
    batch = await make_batch(
        api, jsonl(request_line(1), request_line(2, router={"residency": "EU"}), request_line(3, router=[]))
    )
    assert batch["status"] == "failed"
    errors = batch["errors"]["data"]
    assert [(error["line"], error["param"]) for error in errors] == [(2, "router.residency"), (3, "router")]


async def test_a_list_with_one_name_that_is_known_is_taken(api: httpx.AsyncClient) -> None:
    provider = {"only": ["nobody", "simulated"], "ignore": ["nobody"], "order": ["nobody"]}
    await accept_job(api, input={"messages": MESSAGES, "provider": provider})


async def test_what_no_model_may_take_is_refused_and_told_what_would_do(
    settings: Settings, database: Database, api_key: str
) -> None:
    await publish(database, document(entry("here", router=EU), entry("there")))
    async with running(settings) as app, client_of(app, key=api_key) as api:
        wanted = {"model": "auto", "input": {"messages": MESSAGES}, "residency": "eu", "router": {"safety": "high"}}
        response = await api.post("/v1/jobs", json=wanted)
        assert response.status_code == 422
        error = response.json()["error"]
        assert error["code"] == "no_compliant_model"
        assert "What would do: here: the model's safety class stated in the catalog" in error["message"]


async def test_a_line_with_residency_goes_where_it_may(
    settings: Settings, database: Database, api_key: str, sql: Sql
) -> None:
    await publish(database, document(entry("here", router=EU), entry("there")))
    async with running(settings) as app, client_of(app, key=api_key) as api:
        batch = await make_batch(
            api, jsonl(request_line(1, model="auto", router={"residency": "eu"}), request_line(2, model="auto"))
        )
        assert batch["errors"] is None
        assert [row["residency"] for row in await sql.rows("SELECT residency FROM jobs ORDER BY line")] == ["eu", None]
        refused = await make_batch(api, jsonl(request_line(1, model="there", router={"residency": "eu"})))
        assert refused["request_counts"] == {"total": 1, "completed": 0, "failed": 1}
        assert await sql.value("SELECT error_code FROM jobs WHERE state = 'failed'") == "no_compliant_model"


async def test_a_line_may_not_undo_the_residency_that_its_batch_asks_for(api: httpx.AsyncClient) -> None:
    line = request_line(1, router={"residency": "us"})
    batch = await make_batch(api, jsonl(line), router={"residency": "eu"})
    assert batch["status"] == "failed"
    (error,) = batch["errors"]["data"]
    assert error["message"].startswith("router.residency: 'us' differs from 'eu'")
    assert error["line"] == 1


async def test_a_threshold_chooses_without_a_quality_target(
    settings: Settings, database: Database, api_key: str
) -> None:
    pair = {"pair": {"strong": "a", "weak": "b"}}
    await publish(database, document(entry("a"), entry("b"), router=pair))
    async with running(settings) as app, client_of(app, key=api_key) as api:
        response = await api.post(
            "/v1/jobs", json={"model": "router-0.3", "router": {"quality_target": 0.9}, "input": {"messages": MESSAGES}}
        )
    assert response.status_code == 400
    assert "router-0.3 chooses by its threshold" in response.json()["error"]["message"]
