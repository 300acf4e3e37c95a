"""Files and batches over HTTP: what is taken, what is refused and with which words, and what comes back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.support.requests import CHAT, jsonl, make_batch, request_line, upload
from tests.support.steps import answered

if TYPE_CHECKING:
    import httpx
    import pytest

    from tests.support.steps import Sql, Steps


async def test_a_file_is_stored_listed_read_and_deleted(api: httpx.AsyncClient, sql: Sql) -> None:
    content = jsonl(*(request_line(number) for number in range(3)))
    file_id = await upload(api, content)
    shown = (await api.get(f"/v1/files/{file_id}")).json()
    assert (
        shown
        | {
            "object": "file",
            "bytes": len(content),
            "filename": "in.jsonl",
            "purpose": "batch",
            "status": "processed",
            "expires_at": None,
        }
        == shown
    )
    got = await api.get(f"/v1/files/{file_id}/content")
    assert (got.content, got.headers["content-length"]) == (content, str(len(content)))
    assert got.headers["x-content-type-options"] == "nosniff"
    gone = await api.delete(f"/v1/files/{file_id}")
    assert gone.json() == {"id": file_id, "object": "file", "deleted": True}
    for method, path in (("GET", ""), ("GET", "/content"), ("DELETE", "")):
        assert (await api.request(method, f"/v1/files/{file_id}{path}")).status_code == 404
    assert await sql.value("SELECT count(*) FROM file_chunks") == 0


async def test_a_large_file_comes_back_byte_for_byte(api: httpx.AsyncClient, sql: Sql) -> None:
    content = bytes(range(256)) * 12_000
    file_id = await upload(api, content)
    assert (await api.get(f"/v1/files/{file_id}/content")).content == content
    assert await sql.value("SELECT count(*) FROM file_chunks") == 4


async def test_files_are_paged_both_ways_and_filtered(api: httpx.AsyncClient) -> None:
    made = [await upload(api, b"{}\n") for _ in range(5)]
    for order, wanted in (("asc", sorted(made)), ("desc", sorted(made, reverse=True))):
        seen: list[str] = []
        more, after = True, dict[str, str]()
        while more:
            page = (await api.get("/v1/files", params={"limit": 2, "order": order, **after})).json()
            seen += [file["id"] for file in page["data"]]
            more, after = page["has_more"], {"after": page["last_id"]}
        assert seen == wanted
    assert len((await api.get("/v1/files", params={"purpose": "batch"})).json()["data"]) == 5
    assert (await api.get("/v1/files", params={"purpose": "batch_output"})).json()["data"] == []
    for wrong in ({"limit": 0}, {"limit": 10_001}, {"order": "up"}):
        assert (await api.get("/v1/files", params=wrong)).status_code == 400


async def test_a_file_that_expires_is_gone_afterwards(api: httpx.AsyncClient, sql: Sql) -> None:
    response = await api.post(
        "/v1/files",
        files={"file": b"{}\n"},
        data={"purpose": "batch", "expires_after[anchor]": "created_at", "expires_after[seconds]": "3600"},
    )
    shown = response.json()
    assert 3599 <= shown["expires_at"] - shown["created_at"] <= 3601
    await sql.rows("UPDATE files SET expires_at = now()")
    assert (await api.get(f"/v1/files/{shown['id']}")).status_code == 404
    assert (await api.get("/v1/files")).json()["data"] == []


async def test_a_wrong_upload_is_refused(api: httpx.AsyncClient, sql: Sql) -> None:
    for data, file, param in (
        ({"purpose": "fine-tune"}, b"x", "purpose"),
        ({}, b"x", "purpose"),
        ({"purpose": "batch"}, b"", "file"),
        ({"purpose": "batch", "expires_after[seconds]": "3599"}, b"x", "expires_after[seconds]"),
        ({"purpose": "batch", "expires_after[anchor]": "now"}, b"x", "expires_after[anchor]"),
    ):
        response = await api.post("/v1/files", files={"file": ("f", file)}, data=data)
        assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    missing = await api.post("/v1/files", data={"purpose": "batch"})
    assert (missing.status_code, missing.json()["error"]["param"]) == (400, "file")
    broken = await api.post(
        "/v1/files", content=b"no multipart", headers={"content-type": "multipart/form-data; boundary=x"}
    )
    assert broken.status_code == 400
    declared = await api.post("/v1/files", headers={"content-length": "210000001"}, content=b"")
    assert declared.status_code == 413
    assert await sql.value("SELECT count(*) FROM files") == 0


async def test_an_awkward_file_name_is_kept_within_bounds(api: httpx.AsyncClient) -> None:
    response = await api.post(
        "/v1/files", files={"file": ("\u00e9" * 300 + "\n/../x", b"{}")}, data={"purpose": "batch"}
    )
    assert response.status_code == 200
    assert len(response.json()["filename"]) <= 255


async def test_a_batch_of_a_file_is_in_progress_with_its_lines_as_jobs(api: httpx.AsyncClient, sql: Sql) -> None:
    content = jsonl(request_line(1), request_line(2, model="beta"), request_line(3, model="auto"))
    batch = await make_batch(api, content, metadata={"k": "v"}, completion_window="1h")
    assert (
        batch
        | {
            "object": "batch",
            "endpoint": CHAT,
            "status": "in_progress",
            "completion_window": "1h",
            "metadata": {"k": "v"},
            "request_counts": {"total": 3, "completed": 0, "failed": 0},
            "errors": None,
            "output_file_id": None,
            "error_file_id": None,
        }
        == batch
    )
    assert 3599 <= batch["expires_at"] - batch["created_at"] <= 3601
    rows = await sql.rows("SELECT line, custom_id, model, priority, deadline FROM jobs ORDER BY line")
    assert [(row["line"], row["custom_id"], row["model"]) for row in rows] == [
        (1, "c1", "alpha"),
        (2, "c2", "beta"),
        (3, "c3", "auto"),
    ]
    assert all(row["priority"] < 0 and row["deadline"] is not None for row in rows)


async def test_a_batch_of_2000_lines_is_accepted_and_ends_in_input_order(api: httpx.AsyncClient, steps: Steps) -> None:
    batch = await make_batch(api, jsonl(*(request_line(number) for number in range(2000))))
    assert batch["request_counts"]["total"] == 2000
    while claims := await steps.claim(await steps.route(most=500)):
        await steps.finish(*(answered(claim) for claim in claims))
    await steps.end_batch()
    ended = (await api.get(f"/v1/batches/{batch['id']}")).json()
    assert (ended["status"], ended["request_counts"]) == (
        "completed",
        {"total": 2000, "completed": 2000, "failed": 0},
    )
    assert ended["usage"]["total_tokens"] == 2000 * 10
    assert ended["completed_at"]
    assert ended["error_file_id"] is None
    content = (await api.get(f"/v1/files/{ended['output_file_id']}/content")).text
    assert [json.loads(line)["custom_id"] for line in content.splitlines()] == [f"c{number}" for number in range(2000)]


MESSAGE = {"role": "user", "content": "x"}
BROKEN_LINES: list[tuple[bytes, str, str | None]] = [
    (b"{not json", "invalid_json", None),
    (b"[]", "invalid_json", None),
    (b"\xff\xfe", "invalid_json", None),
    (b'{"custom_id": NaN}', "invalid_json", None),
    (b"[" * 5000, "invalid_json", None),
    (jsonl(request_line(9, custom_id=None)).strip(), "invalid_value", "custom_id"),
    (jsonl(request_line(9, custom_id="")).strip(), "invalid_value", "custom_id"),
    (jsonl(request_line(9, custom_id=5)).strip(), "invalid_value", "custom_id"),
    (jsonl(request_line(9, custom_id="x" * 513)).strip(), "invalid_value", "custom_id"),
    (jsonl(request_line(9, custom_id="a\x00b")).strip(), "invalid_value", "custom_id"),
    (jsonl(request_line(9, custom_id="\ud800")).strip(), "invalid_json", None),
    (jsonl(request_line(1)).strip(), "duplicate_custom_id", "custom_id"),
    (jsonl(request_line(9, method="GET")).strip(), "invalid_method", "method"),
    (jsonl(request_line(9, url="/v1/embeddings")).strip(), "invalid_url", "url"),
    (jsonl(request_line(9, extra=1)).strip(), "unknown_parameter", "extra"),
    (jsonl(request_line(9, body=None)).strip(), "invalid_value", "body"),
    (jsonl(request_line(9, body={"model": "alpha"})).strip(), "invalid_value", "body.messages"),
    (jsonl(request_line(9, model="nobody")).strip(), "model_not_found", "body.model"),
    (
        jsonl(request_line(9, body={"model": "alpha", "messages": [{"role": {}}]})).strip(),
        "invalid_value",
        "body.messages[0].role",
    ),
]


async def test_a_broken_line_fails_the_batch_with_its_number_and_no_job_is_stored(
    api: httpx.AsyncClient, sql: Sql
) -> None:
    for broken, code, param in BROKEN_LINES:
        content = jsonl(request_line(1)) + b"\n" + broken + b"\n" + jsonl(request_line(3))
        batch = await make_batch(api, content)
        assert batch["status"] == "failed", broken
        (error,) = batch["errors"]["data"]
        assert (error["line"], error["code"], error["param"]) == (3, code, param), (broken, error)
        assert error["message"]
        assert batch["request_counts"] == {"total": 0, "completed": 0, "failed": 0}
        assert batch["failed_at"]
    assert await sql.value("SELECT count(*) FROM jobs") == 0
    assert await sql.value("SELECT count(*) FROM job_inputs") == 0


async def test_lines_that_no_model_may_take_fail_alone_and_the_others_go_on(
    api: httpx.AsyncClient, steps: Steps, sql: Sql
) -> None:
    picture = {"model": "alpha", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}
    lines = [request_line(1), request_line(2, body=picture), request_line(3), request_line(4, body=picture)]
    batch = await make_batch(api, jsonl(*lines))
    assert (batch["status"], batch["errors"]) == ("in_progress", None)
    assert batch["request_counts"] == {"total": 4, "completed": 0, "failed": 2}
    assert await sql.value("SELECT count(*) FROM jobs j JOIN batches b ON j.finished_at = b.created_at") == 2
    await steps.finish(*(answered(claim) for claim in await steps.claim(await steps.route(most=500))))
    await steps.end_batch()
    ended = (await api.get(f"/v1/batches/{batch['id']}")).json()
    assert (ended["status"], ended["request_counts"]) == ("completed", {"total": 4, "completed": 2, "failed": 2})
    content = (await api.get(f"/v1/files/{ended['error_file_id']}/content")).text
    failed = [json.loads(line) for line in content.splitlines()]
    assert [(line["custom_id"], line["response"], line["error"]["code"]) for line in failed] == [
        ("c2", None, "no_compliant_model"),
        ("c4", None, "no_compliant_model"),
    ]
    assert "missing_feature" in failed[0]["error"]["message"]


async def test_a_batch_of_which_no_line_can_be_done_is_completed_with_all_of_them_failed(
    api: httpx.AsyncClient, steps: Steps
) -> None:
    picture = {"model": "alpha", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]}
    batch = await make_batch(api, jsonl(*(request_line(number, body=picture) for number in range(1500))))
    await steps.end_batch()
    ended = (await api.get(f"/v1/batches/{batch['id']}")).json()
    assert (ended["status"], ended["request_counts"]) == (
        "completed",
        {"total": 1500, "completed": 0, "failed": 1500},
    )
    assert ended["output_file_id"] is None


async def test_every_broken_line_is_told_up_to_a_number(api: httpx.AsyncClient) -> None:
    lines = [request_line(number, method="GET") for number in range(100)]
    batch = await make_batch(api, jsonl(*lines))
    assert [error["line"] for error in batch["errors"]["data"]][:20] == list(range(1, 21))


async def test_a_broken_line_behind_a_thousand_good_ones_leaves_no_job(api: httpx.AsyncClient, sql: Sql) -> None:
    batch = await make_batch(api, jsonl(*(request_line(number) for number in range(2500))) + b"{")
    assert [error["line"] for error in batch["errors"]["data"]] == [2501]
    assert await sql.value("SELECT count(*) FROM jobs") == 0


async def test_a_file_without_lines_or_with_too_many_fails_the_batch(api: httpx.AsyncClient, sql: Sql) -> None:
    empty = await make_batch(api, b"\n \r\n")
    assert [error["code"] for error in empty["errors"]["data"]] == ["empty_file"]
    crowded = await make_batch(api, jsonl(request_line(1)) + b"1\n" * 20)
    assert len(crowded["errors"]["data"]) == 20


async def test_more_lines_than_allowed_fail_the_batch(
    api: httpx.AsyncClient, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("router_service.api.batch_input.MOST_LINES", 10)
    batch = await make_batch(api, jsonl(*(request_line(number) for number in range(11))))
    assert [error["code"] for error in batch["errors"]["data"]] == ["too_many_lines"]
    exact = await make_batch(api, jsonl(*(request_line(number) for number in range(10))))
    assert exact["status"] == "in_progress"


async def test_a_line_that_is_too_long_is_named(api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router_service.api.batch_input.MOST_LINE_BYTES", 1000)
    batch = await make_batch(api, jsonl(request_line(1)) + b" " * 2000)
    (error,) = batch["errors"]["data"]
    assert (error["code"], error["param"]) == ("too_large", "line 2")


async def test_a_file_with_crlf_a_bom_and_no_last_newline_is_read(api: httpx.AsyncClient) -> None:
    content = b"\xef\xbb\xbf" + jsonl(request_line(1), request_line(2)).replace(b"\n", b"\r\n").rstrip()
    assert (await make_batch(api, content))["request_counts"]["total"] == 2


async def test_a_wrong_batch_is_refused(api: httpx.AsyncClient, sql: Sql) -> None:
    file_id = await upload(api, jsonl(request_line(1)))
    good: dict[str, Any] = {"input_file_id": file_id, "endpoint": CHAT}
    for wrong, status, param in (
        (good | {"endpoint": "/v1/embeddings"}, 400, "endpoint"),
        (good | {"completion_window": "soon"}, 400, "completion_window"),
        (good | {"input_file_id": "file-x"}, 404, "id"),
        (good | {"input_file_id": "file-" + "0" * 32}, 404, "input_file_id"),
        (good | {"surprise": 1}, 400, "surprise"),
        ({"endpoint": CHAT}, 400, "input_file_id"),
        (good | {"metadata": {f"k{n}": "v" for n in range(17)}}, 400, "metadata"),
        (good | {"metadata": {"k" * 65: "v"}}, 400, "metadata"),
        (good | {"metadata": {"k": "v" * 513}}, 400, "metadata.k"),
        (good | {"metadata": {"k": "\x00"}}, 400, "metadata"),
        (good | {"max_parallel_requests": 0}, 400, "max_parallel_requests"),
        (good | {"max_parallel_requests": 1_000_001}, 400, "max_parallel_requests"),
        (good | {"max_parallel_requests": "5"}, 400, "max_parallel_requests"),
        (good | {"max_parallel_requests": True}, 400, "max_parallel_requests"),
    ):
        response = await api.post("/v1/batches", json=wrong)
        error = response.json()["error"]
        assert response.status_code == status, (wrong, error)
        assert error["param"].startswith(param), (wrong, error)
    assert await sql.value("SELECT count(*) FROM batches") == 0
    kept = good | {"metadata": {f"{n:064}": "v" * 512 for n in range(16)}}
    assert (await api.post("/v1/batches", json=kept)).json()["metadata"] == kept["metadata"]


async def test_a_batch_keeps_the_cap_on_its_calls_at_a_time(api: httpx.AsyncClient, sql: Sql) -> None:
    content = jsonl(request_line(1))
    free = await make_batch(api, content)
    capped = await make_batch(api, content, max_parallel_requests=1_000_000)
    assert (free["max_parallel_requests"], capped["max_parallel_requests"]) == (None, 1_000_000)
    shown = (await api.get(f"/v1/batches/{capped['id']}")).json()
    assert shown["max_parallel_requests"] == 1_000_000
    assert await sql.value("SELECT max(max_parallel_requests) FROM batches") == 1_000_000


async def test_an_output_file_is_no_input(api: httpx.AsyncClient, sql: Sql) -> None:
    file_id = await upload(api, jsonl(request_line(1)))
    await sql.rows("UPDATE files SET purpose = 'batch_output'")
    response = await api.post("/v1/batches", json={"input_file_id": file_id, "endpoint": CHAT})
    assert (response.status_code, response.json()["error"]["param"]) == (400, "input_file_id")


async def test_batches_are_paged_newest_first(api: httpx.AsyncClient) -> None:
    made = [(await make_batch(api, jsonl(request_line(1))))["id"] for _ in range(3)]
    first = (await api.get("/v1/batches", params={"limit": 2})).json()
    rest = (await api.get("/v1/batches", params={"limit": 2, "after": first["last_id"]})).json()
    assert (first["has_more"], rest["has_more"]) == (True, False)
    assert [batch["id"] for batch in (*first["data"], *rest["data"])] == sorted(made, reverse=True)
    assert (await api.get("/v1/batches", params={"limit": 101})).status_code == 400


async def test_cancelling_a_batch_is_shown_at_once_and_again_and_refused_at_its_end(
    api: httpx.AsyncClient, steps: Steps
) -> None:
    batch = await make_batch(api, jsonl(request_line(1), request_line(2)))
    (claim,) = await steps.claim((await steps.route())[:1])
    for _ in range(2):
        cancelled = await api.post(f"/v1/batches/{batch['id']}/cancel")
        assert (cancelled.status_code, cancelled.json()["status"]) == (200, "cancelling")
    await steps.finish(answered(claim))
    await steps.end_batch()
    ended = (await api.post(f"/v1/batches/{batch['id']}/cancel")).json()
    assert (ended["status"], ended["request_counts"]) == ("cancelled", {"total": 2, "completed": 1, "failed": 1})
    assert ended["cancelled_at"]
    done = await make_batch(api, jsonl(request_line(1)))
    await steps.finish(*[answered(one) for one in await steps.run_on()])
    await steps.end_batch()
    assert (await api.post(f"/v1/batches/{done['id']}/cancel")).status_code == 400
    failed = await make_batch(api, b"{")
    assert (await api.post(f"/v1/batches/{failed['id']}/cancel")).status_code == 400


async def test_progress_tells_counts_by_state_and_model(api: httpx.AsyncClient, steps: Steps) -> None:
    batch = await make_batch(api, jsonl(*(request_line(number) for number in range(4))))
    claims = await steps.claim((await steps.route())[:2])
    await steps.finish(answered(claims[0]))
    told = (await api.get(f"/v1/batches/{batch['id']}/progress")).json()
    assert (told["total"], told["cost_usd"], told["input_tokens"]) == (4, 0.5, 7)
    assert {state: count for state, count in told["counts"].items() if count} == {
        "succeeded": 1,
        "running": 1,
        "routed": 2,
    }
    assert [(model["model"], model["running"], model["succeeded"]) for model in told["models"]] == [("alpha", 1, 1)]
    assert told["eta_s"] > 0


async def test_models_are_shown_with_their_live_counters(api: httpx.AsyncClient) -> None:
    listed = (await api.get("/v1/models")).json()
    assert [model["id"] for model in listed["data"]] == ["alpha", "beta"]
    (deployment,) = (await api.get("/v1/models/alpha")).json()["waybill"]["deployments"]
    assert (deployment["in_flight"], deployment["queue"], deployment["dead_letter_queue"]) == (0, 0, 0)
    missing = await api.get("/v1/models/no/body")
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "model_not_found")
