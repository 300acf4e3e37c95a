"""Quotes against what batches come to, through the whole stack over simulated models with limits."""

from __future__ import annotations

from typing import Any

from router_service.evaluation.stack import CHAT, batch_file, ok, private_stack

SENTENCES = 20  # a prompt has up to so many
TOKENS_OUT = 40
MODELS = (  # name, US dollars a token, quality, milliseconds of a call, limits
    ("cheap", 1e-7, 0.80, 200, {"rpm": 1200, "max_parallel_requests": 50}),
    ("middling", 4e-7, 0.85, 500, {"max_parallel_requests": 10}),
    ("dear", 2e-6, 0.90, 400, {"max_parallel_requests": 100}),
)


def run(*, jobs: int, within_s: float | None, batches: int) -> dict[str, Any]:
    """Quote a batch, run it, and hold the two together; as often as `batches` says, one after the other.

    `within_s`: in how long it is to be done; None: the policy weighs time against cost. Errors are actual / quoted - 1.
    """
    asked = {} if within_s is None else {"finish_within_s": within_s}
    with private_stack(_catalog()) as stack, stack.client() as client:
        file_id = client.upload(batch_file((f"line-{number}", _body(number)) for number in range(jobs)))
        rows = []
        for _batch in range(batches):
            quote = ok(client.http.post("/v1/batches/quote", json={"input_file_id": file_id, **asked}))
            batch = ok(client.http.post("/v1/batches", json={"input_file_id": file_id, "endpoint": CHAT, **asked}))
            client.finished(batch)
            plan = ok(client.http.get(f"/v1/batches/{batch['id']}/plan"))
            replay = ok(client.http.post("/v1/decisions/replay", json={"batch_id": batch["id"], "limit": 20_000}))
            rows.append(_row(quote, plan, replay))
    return {"jobs": jobs, "within_s": within_s, "runs": rows}


def _row(quote: dict[str, Any], plan: dict[str, Any], replay: dict[str, Any]) -> dict[str, Any]:
    if quote["status"] != "possible":
        return {"note": quote["note"]}
    actual, cost_usd, finish_s = plan["actual"], quote["cost_usd"], quote["finish_s"]
    return {
        "quoted_usd": cost_usd["expected"],
        "actual_usd": actual["cost_usd"],
        "cost_error": round(actual["cost_usd"] / cost_usd["expected"] - 1, 4),
        "in_cost": cost_usd["low"] <= actual["cost_usd"] <= cost_usd["high"],
        "quoted_s": round(finish_s["expected"], 2),
        "actual_s": round(actual["finish_s"], 2),
        "finish_error": round(actual["finish_s"] / finish_s["expected"] - 1, 4),
        "in_finish": finish_s["low"] <= actual["finish_s"] <= finish_s["high"],
        "gap": round(quote["gap"], 4),
        "replayed": f"{replay['same']}/{replay['decisions']}",
        **{f"jobs_at_{model}": count for model, count in sorted(actual["models"].items())},
    }


def _body(number: int) -> dict[str, Any]:
    text = f"Describe harbour {number}. " + "It has ships and cranes. " * (number % SENTENCES)
    return {"model": "auto", "max_tokens": TOKENS_OUT, "messages": [{"role": "user", "content": text}]}


def _catalog() -> dict[str, Any]:
    """The cheap one is limited by requests a minute, the middling one by calls at a time; the dear one takes what is left."""
    models = [
        {
            "model_name": name,
            "litellm_params": {"model": f"simulated/{name}", **limits},
            "model_info": {
                "input_cost_per_token": cost,
                "output_cost_per_token": cost,
                "router": {
                    "quality": {"default": quality},
                    "latency_ms_p50": latency_ms,
                    "simulated": {"latency_ms": latency_ms, "jitter": 0.3, "output_tokens": TOKENS_OUT},
                },
            },
        }
        for name, cost, quality, latency_ms, limits in MODELS
    ]
    policies = {"default": {"quality_target": 0.85}}
    return {"model_list": models, "router_settings": {"router": {"policies": policies}}}
