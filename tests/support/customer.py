"""What a client does with a stack, over HTTP as any client would; the rows and Redis are looked at only to check what it says."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import httpx
import openai
import psycopg
from psycopg.rows import dict_row

from tests.support.batches import CHAT, Json
from tests.support.processes import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    import redis
    from openai.types import Batch

TERMINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})
# What a call before the last one may have ended as: a worker's death, a failure that is tried again, a throttle.
EXPLAINED = frozenset({"lost", "late", "failed", "throttled", "returned", "uncalled", "cancelled"})
LEASES = ("waybill:slots:*", "waybill:places:*")


class Customer:
    """A stack from outside: `http` and `openai` hold its key. A stack says where its servers are."""

    http: httpx.Client
    openai: openai.OpenAI

    @property
    def database_url(self) -> str:
        raise NotImplementedError

    def admin_redis(self) -> redis.Redis:
        """As the user who may do everything; the roles' user may not FLUSHALL."""
        raise NotImplementedError

    def rows(self, statement: str, *parameters: object) -> list[Json]:
        with psycopg.connect(self.database_url, autocommit=True, row_factory=dict_row) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    # --- jobs and batches

    def submit(self, model: str, prompt: str = "a harbour", **fields: Any) -> str:
        """One job; its id."""
        answer = self.http.post(
            "/v1/jobs",
            json={"model": model, "input": {"messages": [{"role": "user", "content": prompt}]}, **fields},
        )
        assert answer.status_code == 202, answer.text
        job_id: str = answer.json()["id"]
        return job_id

    def job(self, job_id: str, *, wait_s: float = 0) -> Json:
        answer = self.http.get(f"/v1/jobs/{job_id}", params={"wait": wait_s}, timeout=wait_s + 20)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def finished(self, job_id: str, *, patience_s: float = 60.0) -> Json:
        """The job once it is terminal, through restarts of the API."""
        found: Json = {}

        def terminal() -> bool:
            with suppress(httpx.HTTPError, AssertionError):
                found.update(self.job(job_id, wait_s=1))
            return found.get("status") in TERMINAL

        until(terminal, patience_s=patience_s, what=f"{job_id} ended")
        return found

    def submit_batch(self, content: bytes) -> str:
        file = self.openai.files.create(file=("batch.jsonl", content), purpose="batch")
        batch = self.openai.batches.create(input_file_id=file.id, endpoint=CHAT, completion_window="24h")
        assert batch.status == "in_progress", batch.errors
        return batch.id

    def done_of(self, batch: str) -> int:
        """How many jobs of a batch are terminal, asked of the database: the API may be down."""
        (row,) = self.rows(
            "SELECT count(*) AS n FROM jobs WHERE batch_id = %s AND finished_at IS NOT NULL",
            batch.removeprefix("batch_"),
        )
        return int(row["n"])

    def running(self, batch: str) -> int:
        """How many calls of a batch are under way."""
        (row,) = self.rows(
            "SELECT count(*) AS n FROM jobs WHERE batch_id = %s AND state = 'running'", batch.removeprefix("batch_")
        )
        return int(row["n"])

    def wait_done(self, batch: str, count: int, *, patience_s: float = 60.0) -> None:
        def reached() -> bool:
            with suppress(psycopg.OperationalError):
                return self.done_of(batch) >= count
            return False

        until(reached, patience_s=patience_s, what=f"{count} jobs of {batch} ended")

    def wait_batch(self, batch: str, *, patience_s: float) -> Batch:
        """The batch once it has ended, through restarts of the API and the database."""
        found: list[Batch] = []

        def ended() -> bool:
            with suppress(openai.APIConnectionError, openai.InternalServerError):
                found[:] = [self.openai.batches.retrieve(batch)]
            return bool(found) and found[0].status in {"completed", "expired", "cancelled", "failed"}

        until(
            ended, patience_s=patience_s, what=f"{batch} ended; counts {found and found[0].request_counts}", every_s=0.2
        )
        return found[0]

    def lines_of(self, file_id: str | None) -> list[Json]:
        if file_id is None:
            return []
        return [json.loads(line) for line in self.openai.files.content(file_id).text.splitlines()]

    def attempts_of(self, batch: str) -> list[Json]:
        return self.rows(
            "SELECT a.*, j.custom_id, j.state, r.attempt AS stored FROM attempts a JOIN jobs j ON j.id = a.job_id "
            "LEFT JOIN job_results r ON r.job_id = j.id WHERE j.batch_id = %s ORDER BY a.job_id, a.attempt",
            batch.removeprefix("batch_"),
        )

    def leases_held(self) -> dict[str, int]:
        """Slots and places in Redis that have not expired, by key, where there are any."""
        with self.admin_redis() as admin:
            seconds, microseconds = cast("tuple[int, int]", admin.time())
            now_ms = seconds * 1000 + microseconds // 1000
            keys = [key.decode() for pattern in LEASES for key in admin.scan_iter(pattern)]
            held = {key.removeprefix("waybill:"): int(admin.zcount(key, now_ms, "+inf")) for key in keys}
        return {key: count for key, count in held.items() if count}

    # --- what must hold

    def assert_batch_whole(self, batch: Batch, wanted: Sequence[str]) -> None:
        """Every custom_id exactly once, both files in input order, counts that agree with them."""
        outputs, errors = self.lines_of(batch.output_file_id), self.lines_of(batch.error_file_id)
        place = {custom_id: number for number, custom_id in enumerate(wanted)}
        for lines in (outputs, errors):
            places = [place[line["custom_id"]] for line in lines]
            assert places == sorted(places), "lines are not in input order"
        found = [line["custom_id"] for line in (*outputs, *errors)]
        assert len(found) == len(set(found)), "a custom_id came twice"
        assert set(found) == set(wanted), f"missing: {sorted(set(wanted) - set(found))[:5]}"
        counts = batch.request_counts
        assert counts is not None
        assert (counts.completed, counts.failed) == (len(outputs), len(errors))

    def assert_attempts_explained(self, batch: str) -> list[Json]:
        """Every call before a job's last one says why it was not the last; the stored result is the answered call's."""
        attempts = self.attempts_of(batch)
        by_job: dict[str, list[Json]] = {}
        for attempt in attempts:
            by_job.setdefault(str(attempt["job_id"]), []).append(attempt)
        for job_id, calls in by_job.items():
            told = [(call["attempt"], call["outcome"]) for call in calls]
            assert [call["attempt"] for call in calls] == list(range(1, len(calls) + 1)), (job_id, told)
            assert all(call["outcome"] in EXPLAINED for call in calls[:-1]), (job_id, told)
            if calls[-1]["state"] == "succeeded":
                assert calls[-1]["outcome"] == "answered", (job_id, told)
                assert calls[-1]["stored"] == calls[-1]["attempt"], (job_id, told)
        return attempts

    def assert_slots_come_back(self, *, patience_s: float = 20.0) -> None:
        """No reservation is held once nothing runs; the API shows the same."""
        until(lambda: not self.leases_held(), patience_s=patience_s, what="all slots came back")
        models = self.http.get("/v1/models").json()["data"]
        deployments = [each for model in models for each in model["waybill"]["deployments"]]
        assert {each["in_flight"] for each in deployments} == {0}
