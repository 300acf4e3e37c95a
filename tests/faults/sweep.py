"""How each failpoint is reached: which process it is in, what has to be there, and what work leads through it.

A failpoint that is not named in WAYS is reached by an ordinary job.

No rate binds here: a window takes a minute to fill and a case two seconds, so that what fills one would be other cases' work, in
an order that chance decides. Chaos has rates that bind. The slots do bind.
"""

from __future__ import annotations

import itertools
import signal
import time
from dataclasses import dataclass, field, replace
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
OFFERS = {"steady": Offer(slots=4, rpm=6000, latency_s=0.1), "single": Offer(slots=1, latency_s=0.05)}
ONLY_SLOT = "waybill:slots:model:single"
HIT_S = 30.0  # a lost dead letter is missed after 10, and looked for every 5
PROCESSES = {
    "api": "api",
    "router": "router-1",
    "provider": "provider-1",
    "dead_letter": "dead-letter-1",
    "janitor": "janitor-1",
}


def entries() -> list[dict[str, Any]]:
    """Those of the oracle; every call of `doomed` fails, and `steady` takes over; `hopeless` fails, and nothing does."""
    known = [
        entry(
            name,
            model=f"openai/{name}",
            params={"api_base": f"{Cluster.ORACLE}/v1", "max_parallel_requests": offer.slots} | offer.rates,
        )
        for name, offer in OFFERS.items()
    ]
    failing = {"simulated": {"failure_rate": 1.0, "latency_ms": 5}}
    return [*known, *(entry(name, model=f"simulated/{name}", router=failing) for name in ("doomed", "hopeless"))]


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
        answer = self.post("/v1/jobs", json=body)
        if answer is None:
            return None
        job_id = str(answer["id"]).removeprefix("job_")
        self.accepted.append(Accepted(id=job_id, tag=tag, may_end=frozenset(filter(None, [may_end]))))
        return job_id

    def batch(self, count: int = 3, *, may_end: str = "") -> str | None:
        """The id of a batch, if it was accepted. Its jobs are then accepted too."""
        tags = [f"{self.tags}{next(self._numbers)}" for _ in range(count)]
        content = lines(["steady"] * count, prompt=lambda number: prompt(tags[number], tokens_in=20, tokens_out=5))
        file = self.post("/v1/files", files={"file": ("in.jsonl", content)}, data={"purpose": "batch"})
        if file is None:
            return None
        wanted = {"input_file_id": file["id"], "endpoint": CHAT, "completion_window": "1h"}
        answer = self.post("/v1/batches", json=wanted)
        if answer is None:
            return None
        batch_id = str(answer["id"]).removeprefix("batch_")
        rows = self.cluster.rows("SELECT id FROM jobs WHERE batch_id = %s ORDER BY line", batch_id)
        self.accepted += [
            Accepted(id=row["id"].hex, tag=tag, may_end=frozenset(filter(None, [may_end])))
            for row, tag in zip(rows, tags, strict=True)
        ]
        return batch_id

    def cancel(self, what: str) -> None:
        """Cancel all that was accepted so far, by its path. Whoever is told that it is cancelled never sees it otherwise."""
        if self.post(f"{what}/cancel") is not None:
            self.accepted = [replace(each, seen="cancelled") for each in self.accepted]

    def post(self, path: str, **content: Any) -> dict[str, Any] | None:
        """An answer of success. None: refused, or no answer came, and what was asked for has been done or not."""
        try:
            answer = self.cluster.http.post(path, **content)
        except httpx.HTTPError:
            return None
        return dict(answer.json()) if answer.is_success else None


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


def _cancelled_job(client: Client) -> None:
    """One that waits, so that it is sure to be there to be cancelled."""
    with client.cluster.frozen("router-1"):
        client.cancel(f"/v1/jobs/job_{client.job(may_end='cancelled')}")


def _cancelled_batch(client: Client) -> None:
    with client.cluster.frozen("router-1"):
        client.cancel(f"/v1/batches/batch_{client.batch(may_end='cancelled')}")


def _parked_letter(client: Client) -> None:
    job_id = client.job("hopeless")
    client.cluster.until(
        lambda: _state(client, job_id) == "failed", patience_s=HIT_S, what="the job has failed", every_s=0.02
    )


def _replay(client: Client) -> bool:
    """Of the job that was parked, which must then succeed. Whether there was an answer; without one it is safe to repeat."""
    wanted = {"all": True, "job_id": f"job_{client.accepted[0].id}", "to_model": "steady"}
    return client.post("/v1/dead-letters/replay", json=wanted) is not None


def _replay_again(client: Client) -> None:
    client.cluster.until(lambda: _replay(client), patience_s=HIT_S, what="the replay is answered")


def _held_job(client: Client) -> None:
    """As a router leaves it that found no model for it, for an hour: only the release lets it go in time."""
    client.cluster.roles["router-1"].send(signal.SIGSTOP)  # until it is replaced; the next one lets held jobs go
    client.cluster.rows("UPDATE jobs SET held_until = now() + interval '1 hour' WHERE id = %s", client.job())


def _drain(client: Client) -> None:
    """The worker is told to stop while a job is claimed for the only slot, which somebody else holds, and a ticket waits."""
    cluster = client.cluster
    with cluster.admin_redis() as admin:
        admin.zadd(ONLY_SLOT, {"somebody": (time.time() + 2 * HIT_S) * 1000})
    for _number in range(2):
        client.job("single")
    both = "SELECT state FROM jobs WHERE model_id = 'single' AND state IN ('routed', 'running') ORDER BY state"
    cluster.until(
        lambda: [row["state"] for row in cluster.rows(both)] == ["routed", "running"],
        patience_s=HIT_S,
        what="one job is claimed, one waits",
        every_s=0.005,
    )
    cluster.roles["provider-1"].send(signal.SIGTERM)


def _free_slot(client: Client) -> None:
    with client.cluster.admin_redis() as admin:
        admin.zrem(ONLY_SLOT, "somebody")


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
    "api.files.before_commit": Way(work=_batch),
    "api.files.after_commit": Way(work=_batch),
    "api.cancel_job.before_commit": Way(work=_cancelled_job),
    "api.cancel_job.after_commit": Way(work=_cancelled_job),
    "api.cancel_batch.before_commit": Way(work=_cancelled_batch),
    "api.cancel_batch.after_commit": Way(work=_cancelled_batch),
    "api.dead_letters.before_commit": Way(before=_parked_letter, work=_replay, after=_replay_again),
    "api.dead_letters.after_commit": Way(before=_parked_letter, work=_replay, after=_replay_again),
    "router.before_release_commit": Way(before=_held_job, work=lambda _client: None),
    "router.after_release_commit": Way(before=_held_job, work=lambda _client: None),
    "provider.before_return_commit": Way(work=_drain, after=_free_slot),
    "provider.after_return_commit": Way(work=_drain, after=_free_slot),
    "provider.before_give_back_commit": Way(work=_drain, after=_free_slot),
    "provider.after_give_back_commit": Way(work=_drain, after=_free_slot),
    "provider.before_dead_letter": Way(work=_doomed, after=_later),
    "dead_letter.before_commit": Way(work=_doomed, after=_later),
    "dead_letter.after_commit": Way(work=_doomed, after=_later),
    "janitor.leases.before_commit": Way(work=_silent_worker),
    "janitor.leases": Way(work=_silent_worker),
    "janitor.routed.before_commit": Way(work=_lost_ticket),
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
