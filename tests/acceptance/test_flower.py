"""Flower as `waybill up` runs it: behind a password, on loopback, to look at and not to touch."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.stacks import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.stacks import RunningStack

pytestmark = pytest.mark.timeout(180)

PAGES = ["/", "/workers", "/tasks", "/broker", "/api/workers", "/api/tasks", "/api/queues/length"]
MODELS = ("fast", "slow", "local")
LISTENING = "0A"


@pytest.fixture
def flower(stack: RunningStack) -> Iterator[httpx.Client]:
    password = (stack.data_dir / "flower-password").read_text().strip()
    url = stack.state.flower_url
    assert url is not None
    with httpx.Client(base_url=url, auth=("waybill", password), timeout=20, trust_env=False) as client:

        def knows_workers() -> bool:
            with suppress(httpx.TransportError):  # the stack is ready before Flower listens
                # Of itself Flower asks the workers once, when it starts, and not all of them may have been there.
                workers = client.get("/api/workers", params={"refresh": "true"}).json()
                return any(name.startswith("provider") for name in workers)
            return False

        until(knows_workers, patience_s=30, what="Flower knows the workers")
        yield client


def test_flower_shows_nothing_without_its_password(flower: httpx.Client) -> None:
    for page in PAGES:
        assert httpx.get(f"{flower.base_url}{page}", trust_env=False).status_code == 401, page
        wrong = httpx.get(f"{flower.base_url}{page}", auth=("waybill", "wrong"), trust_env=False)
        assert wrong.status_code == 401, page
        assert flower.get(page).status_code == 200, page


def test_flower_listens_on_loopback_only(flower: httpx.Client) -> None:
    assert flower.base_url.port is not None
    assert {address for address, port in listening() if port == flower.base_url.port} == {"0100007F"}


def test_brokers_page_lists_every_queue_with_its_length(stack: RunningStack, flower: httpx.Client) -> None:
    """Messages wait in a queue while its worker is stopped (SIGSTOP); the page and the API of Flower count them."""
    wanted = {"route", *(f"{kind}.{model}" for kind in ("model", "dlq") for model in MODELS)}
    with stack.frozen("provider-1"):
        jobs = [stack.submit("slow") for _ in range(5)]
        with stack.admin_redis() as admin:
            until(lambda: admin.llen("model.slow") >= 4, patience_s=15, what="tickets wait in model.slow")
            waiting = int(admin.llen("model.slow"))
        page = flower.get("/broker").text
        lengths = {
            queue["name"]: queue["messages"] for queue in flower.get("/api/queues/length").json()["active_queues"]
        }
    assert wanted <= set(lengths)
    assert all(f">{queue}<" in page.replace("\n", "").replace(" ", "") for queue in wanted)
    assert lengths["model.slow"] == waiting
    assert lengths["dlq.slow"] == 0
    assert {stack.finished(job)["status"] for job in jobs} == {"succeeded"}


def test_tasks_show_job_epoch_and_attempt(stack: RunningStack, flower: httpx.Client) -> None:
    job = stack.submit("fast")
    stack.finished(job)
    tasks: dict[str, Any] = {}

    def shown() -> bool:
        tasks.update(flower.get("/api/tasks", params={"limit": 1000}).json())
        return any(job in (task["args"] or "") and task["state"] == "SUCCESS" for task in tasks.values())

    until(shown, patience_s=20, what=f"Flower shows the task of {job}")
    (told,) = [task["args"] for task in tasks.values() if job in (task["args"] or "")]
    assert "epoch 1" in told
    assert "attempt 1" in told


def test_flower_refuses_to_change_anything(stack: RunningStack, flower: httpx.Client) -> None:
    """Every way of Flower's to change a worker or to send a task, with the right password."""
    worker = next(name for name in flower.get("/api/workers").json() if name.startswith("provider"))
    workers = stack.state.children
    actions: dict[str, dict[str, Any]] = {
        f"/api/worker/shutdown/{worker}": {},
        f"/api/worker/pool/restart/{worker}": {},
        f"/api/worker/pool/grow/{worker}": {"params": {"n": 5}},
        f"/api/worker/pool/shrink/{worker}": {"params": {"n": 1}},
        f"/api/worker/pool/autoscale/{worker}": {"params": {"min": 1, "max": 2}},
        f"/api/worker/queue/add-consumer/{worker}": {"params": {"queue": "strange"}},
        f"/api/worker/queue/cancel-consumer/{worker}": {"params": {"queue": "model.fast"}},
        "/api/task/revoke/some-task": {"params": {"terminate": "true"}},
        "/api/task/timeout/waybill.call": {"params": {"workername": worker, "soft": 1, "hard": 1}},
        "/api/task/rate-limit/waybill.call": {"params": {"workername": worker, "ratelimit": "1/h"}},
        "/api/task/apply/waybill.call": {"json": {"args": [[]]}},
        "/api/task/async-apply/waybill.call": {"json": {"args": [[]]}},
        "/api/task/send-task/waybill.call": {"json": {"args": [[]]}},
        "/api/task/abort/some-task": {},
    }
    answers = {path: flower.post(path, **action).status_code for path, action in actions.items()}
    assert {path: status for path, status in answers.items() if status not in {401, 403, 404, 405}} == {}
    assert stack.finished(stack.submit("fast"))["status"] == "succeeded"
    assert stack.state.children == workers


def listening() -> list[tuple[str, int]]:
    """Every listening TCP socket of this machine as (address in hex, port)."""
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:] if Path(table).exists() else []:
            fields = line.split()
            address, _, port = fields[1].partition(":")
            if fields[3] == LISTENING:
                found.append((address, int(port, 16)))
    return found
