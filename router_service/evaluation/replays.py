"""Whether decisions that several routers take under load come out the same when they are taken again from what was stored."""

from __future__ import annotations

from collections import Counter
from typing import Any

from router_service.evaluation.stack import batch_file, ok, private_stack

PAGE = 20_000
LINES_PER_FILE = 10_000
TEXTS = (
    "Summarize in one sentence: the harbour of the old town opened again after long works.",
    "Fasse in einem Satz zusammen: Der Hafen der alten Stadt wurde nach langen Arbeiten wieder eröffnet.",
    "Résume en une phrase : le port de la vieille ville a rouvert après de longs travaux.",
    "What is 17 times 23? Answer with the number alone.",
    "Write a Python function that returns the longest word of a text.",
)


def run(*, jobs: int, routers: int) -> dict[str, Any]:
    """Route so many jobs, with models that fail and fill up, then take each decision again."""
    with private_stack(_catalog(), workers=2, routers=routers) as stack, stack.client() as client:
        sizes = [LINES_PER_FILE] * (jobs // LINES_PER_FILE) + ([jobs % LINES_PER_FILE] if jobs % LINES_PER_FILE else [])
        batches = [client.create_batch(client.upload(_lines(size))) for size in sizes]
        for batch in batches:
            client.finished(batch)
        told = [
            ok(client.http.post("/v1/decisions/replay", json={"batch_id": batch["id"], "limit": PAGE}))
            for batch in batches
        ]
        models: Counter[str] = Counter()
        for batch in batches:
            progress = ok(client.http.get(f"/v1/batches/{batch['id']}/progress"))
            models.update({each["model"]: each["succeeded"] for each in progress["models"]})
    return {
        "jobs": jobs,
        "routers": routers,
        "decisions": sum(each["decisions"] for each in told),
        "same": sum(each["same"] for each in told),
        "different": [difference for each in told for difference in each["different"]][:10],
        **{f"jobs.{model}": count for model, count in models.most_common()},
    }


def _lines(count: int) -> bytes:
    return batch_file((f"line-{number}", _body(number)) for number in range(count))


def _body(number: int) -> dict[str, Any]:
    text = f"{TEXTS[number % len(TEXTS)]} ({number})"
    return {"model": "auto", "messages": [{"role": "user", "content": text}], "max_tokens": 32}


def _catalog() -> dict[str, Any]:
    """Models that fill up, fail, and are for one language: what decisions look at changes all the time."""

    def entry(name: str, cost: float, slots: int, simulated: dict[str, Any], **router: Any) -> dict[str, Any]:
        return {
            "model_name": name,
            "litellm_params": {"model": f"simulated/{name}", "max_parallel_requests": slots},
            "model_info": {
                "input_cost_per_token": cost,
                "output_cost_per_token": cost,
                "router": {"simulated": simulated, **router},
            },
        }

    return {
        "model_list": [
            entry("cheap", 1e-7, 20, {"latency_ms": 20, "jitter": 0.5, "failure_rate": 0.02}, quality={"default": 0.6}),
            entry("german", 5e-8, 10, {"latency_ms": 30}, quality={"default": 0.7}, languages=["de"]),
            entry("good", 1e-6, 40, {"latency_ms": 40, "jitter": 0.5}, quality={"default": 0.85}),
            entry("best", 5e-6, 40, {"latency_ms": 60}, quality={"default": 0.95}),
        ],
        "router_settings": {
            "num_retries": 1,
            "router": {"policies": {"default": {"quality_target": 0.9, "exploration": {"share": 0.05}}}},
        },
    }
