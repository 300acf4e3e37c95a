"""How each failpoint is reached: which process it is in, what has to be there, and what work leads through it.

A failpoint that is not named in WAYS is reached by an ordinary job.
"""

from __future__ import annotations

import itertools
import signal
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx

from router_service.evaluation.allowance import Offer
from router_service.evaluation.oracle import prompt
from tests.faults.checker import Accepted
from tests.faults.cluster import Cluster
from tests.faults.history import TAG, live
from tests.support.batches import CHAT, lines
from tests.support.catalogs import entry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

SHORTEST = {"WAYBILL_LEASE_S": "1", "WAYBILL_ROUTED_STALE_S": "1.5", "WAYBILL_TICK_S": "0.2"}
OFFERS = {"steady": Offer(slots=4, rpm=6000, latency_s=0.1)}
HIT_S = 15.0
PROCESSES = {
    "api": "api",
    "router": "router-1",
    "provider": "provider-1",
    "dead_letter": "dead-letter-1",
    "janitor": "janitor-1",
}


def entries() -> list[dict[str, Any]]:
    """`steady` is the oracle's; every call of `doomed` fails, and `steady` takes over."""
    steady = {"api_base": f"{Cluster.ORACLE}/v1", "max_parallel_requests": 4, "rpm": 6000}
    doomed = {"simulated": {"failure_rate": 1.0, "latency_ms": 5}}
    return [
        entry("steady", model="openai/steady", params=steady),
        entry("doomed", model="simulated/doomed", router=doomed),
    ]


# Without a breaker, which would lead round `doomed` before long.
ROUTER_SETTINGS: dict[str, Any] = {"num_retries": 1, "fallbacks": [{"doomed": ["steady"]}], "allowed_fails": 1_000_000}


@dataclass(slots=True)
class Client:
    """Hands in work and remembers what was accepted. An answer that does not come is no acceptance."""

    cluster: Cluster
    tags: str = TAG
    accepted: list[Accepted] = field(default_factory=list)
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def job(self, model: str = "steady", *, may_end: str = "", **fields: Any) -> str | None:
        """The id of a job, if it was accepted."""
        tag = f"{self.tags}{next(self._numbers)}"
        content = prompt(tag, tokens_in=20, tokens_out=5)
        body = {"model": model, "input": {"messages": [{"role": "user", "content": content}]}, **fields}
        try:
            answer = self.cluster.http.post("/v1/jobs", json=body)
        except httpx.HTTPError:
            return None
        if answer.status_code != 202:
            return None
        job_id = str(answer.json()["id"]).removeprefix("job_")
        self.accepted.append(Accepted(id=job_id, tag=tag, may_end=frozenset(filter(None, [may_end]))))
        return job_id

    def batch(self, count: int = 3, *, may_end: str = "") -> str | None:
        """The id of a batch, if it was accepted. Its jobs are then accepted too."""
        tags = [f"{self.tags}{next(self._numbers)}" for _ in range(count)]
        content = lines(["steady"] * count, prompt=lambda number: prompt(tags[number], tokens_in=20, tokens_out=5))
        try:
            file = self.cluster.http.post("/v1/files", files={"file": ("in.jsonl", content)}, data={"purpose": "batch"})
            wanted = {"input_file_id": file.json()["id"], "endpoint": CHAT, "completion_window": "1h"}
            answer = self.cluster.http.post("/v1/batches", json=wanted)
        except httpx.HTTPError:
            return None
        if answer.status_code != 200:
            return None
        batch_id = str(answer.json()["id"]).removeprefix("batch_")
        rows = self.cluster.rows("SELECT id FROM jobs WHERE batch_id = %s ORDER BY line", batch_id)
        self.accepted += [
            Accepted(id=row["id"].hex, tag=tag, may_end=frozenset(filter(None, [may_end])))
            for row, tag in zip(rows, tags, strict=True)
        ]
        return batch_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """`before` is arranged while nothing is armed, `work` is done when the process is, `after` when the fault has happened."""

    work: Callable[[Client], object]
    before: Callable[[Client], object] = lambda _client: None
    after: Callable[[Client], object] = lambda _client: None


def process_of(name: str) -> str:
    return PROCESSES[name.partition(".")[0]]


def way_of(name: str) -> Way:
    return WAYS.get(name, Way(work=lambda client: client.job()))


def _doomed(client: Client) -> None:
    client.job("doomed")


def _batch(client: Client) -> None:
    client.batch()


def _silent_worker(client: Client) -> None:
    """A call whose worker dies: its lease will expire."""
    job_id = client.job()
    client.cluster.until(
        lambda: _state(client, job_id) == "running", patience_s=HIT_S, what="the job runs", every_s=0.005
    )
    client.cluster.roles["provider-1"].send(signal.SIGKILL)


def _lost_ticket(client: Client) -> None:
    """As a router leaves it that died after its COMMIT, an hour ago."""
    with client.cluster.frozen("router-1"):
        client.cluster.rows(
            "UPDATE jobs SET state = 'routed', epoch = epoch + 1, model_id = 'steady', "
            "routed_at = now() - interval '1 hour' WHERE id = %s",
            client.job(),
        )


def _lost_letter(client: Client) -> None:
    """As a provider leaves it that died between the COMMIT of DEAD and the ticket, an hour ago."""
    cluster = client.cluster
    with cluster.frozen("dead-letter-1"):
        job_id = client.job("doomed")
        cluster.until(lambda: _state(client, job_id) == "dead", patience_s=HIT_S, what="the job is dead")
        cluster.roles["janitor-1"].send(signal.SIGSTOP)  # until it is replaced
        _later(client)
        with cluster.admin_redis() as admin:
            admin.delete("dlq.doomed")
        cluster.roles["dead-letter-1"].send(signal.SIGKILL)  # the ticket may be in its hands


def _later(client: Client) -> None:
    """A letter is sent again when its ticket has been away for ten seconds: these are over."""
    client.cluster.rows("UPDATE dead_letters SET sent_at = now() - interval '1 hour' WHERE state = 'open'")


def _passed_deadline(client: Client) -> None:
    with client.cluster.frozen("router-1"):
        later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
        job_id = client.job(may_end="expired", deadline=later)
        client.cluster.rows("UPDATE jobs SET deadline = now() WHERE id = %s", job_id)


def _cancelling_batch(client: Client) -> None:
    """As an API leaves it that died between its two statements' COMMITs."""
    with client.cluster.frozen("router-1"):
        batch_id = client.batch(may_end="cancelled")
        client.cluster.rows("UPDATE batches SET cancelling_at = now() WHERE id = %s", batch_id)
        cancelled = "SELECT 1 FROM jobs WHERE batch_id = %s AND state <> 'cancelled'"
        client.cluster.until(
            lambda: not client.cluster.rows(cancelled, batch_id),
            patience_s=HIT_S,
            what="the batch's jobs are cancelled",
        )


def _lost_counters(client: Client) -> None:
    client.cluster.flush_redis()
    client.job()


def _state(client: Client, job_id: str | None) -> str:
    return str(client.cluster.rows("SELECT state FROM jobs WHERE id = %s", job_id)[0]["state"])


WAYS: Mapping[str, Way] = {
    "api.batches.before_commit": Way(work=_batch),
    "api.batches.after_commit": Way(work=_batch),
    "provider.before_dead_letter": Way(work=_doomed, after=_later),
    "dead_letter.before_commit": Way(work=_doomed, after=_later),
    "dead_letter.after_commit": Way(work=_doomed, after=_later),
    "janitor.leases": Way(work=_silent_worker),
    "janitor.routed": Way(work=_lost_ticket),
    "janitor.retries": Way(work=_doomed),
    "janitor.letters": Way(before=_lost_letter, work=lambda _client: None, after=_later),
    "janitor.deadlines": Way(work=_passed_deadline),
    "janitor.cancelling": Way(work=_cancelling_batch),
    "janitor.batches": Way(work=_batch),
    "janitor.counters": Way(work=_lost_counters),
}


def at_rest(cluster: Cluster) -> bool:
    """Nothing is left to do and no slot is held. The place of a lost ticket may be left to expire by itself."""
    ended = live(cluster) == 0 and not cluster.rows("SELECT 1 FROM batches WHERE ended_at IS NULL")
    return (
        ended
        and not slots_of(cluster.leases_held())
        and not cluster.rows("SELECT 1 FROM attempts WHERE ended_at IS NULL")
    )


def slots_of(held: Mapping[str, int]) -> dict[str, int]:
    return {key: count for key, count in held.items() if key.startswith("slots:")}
