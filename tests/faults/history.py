"""Asks the witnesses what they know: the database, the provider's log and Redis, as the checker wants it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from router_service.evaluation.oracle import HEAD
from tests.faults.checker import Attempt, History, Job, Limit

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from router_service.evaluation.allowance import Offer
    from tests.faults.checker import Accepted
    from tests.faults.cluster import Cluster

ANSWER_ID = "chatcmpl-"
TAG = "job-"  # every tag of ours begins so


def read_history(
    cluster: Cluster,
    accepted: Sequence[Accepted],
    *,
    offers: Mapping[str, Offer],
    faults: Sequence[tuple[float, float]],
    tags: str = TAG,
) -> History:
    """All of a run, or the part of it whose tags begin with `tags`."""
    jobs = [job for job in jobs_of(cluster) if job.tag.startswith(tags)]
    ids = {job.id for job in jobs}
    return History(
        accepted=[each for each in accepted if each.tag.startswith(tags)],
        calls=cluster.oracle.calls(tags=tags),
        limits={name: Limit(slots=offer.slots, rpm=offer.rpm, tpm=offer.tpm) for name, offer in offers.items()},
        jobs=jobs,
        attempts=[attempt for attempt in attempts_of(cluster) if attempt.job_id in ids],
        faults=faults,
        held=cluster.leases_held(),
        open_batches=[str(row["id"]) for row in cluster.rows("SELECT id FROM batches WHERE ended_at IS NULL")],
    )


def jobs_of(cluster: Cluster) -> list[Job]:
    rows = cluster.rows(
        "SELECT j.id, j.state, j.attempt, i.body AS asked, r.attempt AS result_attempt, r.body AS answer, r.status_code "
        "FROM jobs j JOIN job_inputs i ON i.job_id = j.id LEFT JOIN job_results r ON r.job_id = j.id"
    )
    return [
        Job(
            id=row["id"].hex,
            tag=tag_of(row["asked"]),
            state=row["state"],
            attempt=row["attempt"],
            result_attempt=row["result_attempt"],
            result_tag=_answered_tag(row["answer"]) if row["status_code"] == 200 else None,
        )
        for row in rows
    ]


def attempts_of(cluster: Cluster) -> list[Attempt]:
    rows = cluster.rows(
        "SELECT job_id, attempt, model_id, outcome, status_code, extract(epoch FROM started_at)::float8 AS began_s, "
        "extract(epoch FROM ended_at)::float8 AS ended_s FROM attempts"
    )
    return [
        Attempt(
            job_id=row["job_id"].hex,
            attempt=row["attempt"],
            model=row["model_id"],
            began_s=row["began_s"],
            ended_s=row["ended_s"],
            outcome=row["outcome"],
            status_code=row["status_code"],
        )
        for row in rows
    ]


def tag_of(body: str) -> str:
    """The tag that the prompt of a request begins with."""
    content = json.loads(body)["messages"][0]["content"]
    head = HEAD.match(content)
    assert head is not None, f"a prompt without a tag: {content[:40]!r}"
    return str(head["tag"])


def live(cluster: Cluster) -> int:
    """How many jobs are not terminal."""
    return int(cluster.rows("SELECT count(*) AS n FROM jobs WHERE finished_at IS NULL")[0]["n"])


def _answered_tag(answer: str) -> str | None:
    """The oracle echoes the tag in its answer's id. A simulated model echoes nothing."""
    given = str(json.loads(answer)["id"])
    return tag if (tag := given.removeprefix(ANSWER_ID)).startswith(TAG) else None


def states(jobs: Iterable[Job]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for job in jobs:
        counts[job.state] = counts.get(job.state, 0) + 1
    return counts
