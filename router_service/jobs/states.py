"""The state machine of a job. The database restates it as a trigger; a test compares the two.

Every write names its from-state and the job's epoch or attempt, so that a late or doubled message changes nothing.
"""

from __future__ import annotations

from enum import StrEnum


class JobState(StrEnum):
    """Where a job stands; each member says who moves it on."""

    QUEUED = "queued"  # accepted and durable; the router moves it on
    ROUTED = "routed"  # has a model, capacity and a ticket in that model's queue; a provider worker claims it
    RUNNING = "running"  # a worker holds its lease; the worker finishes it, or the janitor when the lease expires
    RETRY_WAIT = "retry_wait"  # will be tried again at `available_at`; the janitor queues it
    DEAD = "dead"  # given up on this model; the dead-letter worker finds the next one or fails it
    SUCCEEDED = "succeeded"  # terminal: one result is stored
    FAILED = "failed"  # terminal, unless an operator replays its dead letter
    CANCELLED = "cancelled"  # terminal: the caller asked for it
    EXPIRED = "expired"  # terminal: its deadline passed before it could finish


TERMINAL = frozenset({JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED})
LIVE = frozenset(JobState) - TERMINAL

TRANSITIONS: frozenset[tuple[JobState, JobState]] = frozenset(
    {
        (JobState.QUEUED, JobState.ROUTED),  # router: epoch + 1
        (JobState.ROUTED, JobState.RUNNING),  # claim by epoch: attempt + 1, lease
        (JobState.ROUTED, JobState.QUEUED),  # janitor: ticket lost, epoch + 1
        (JobState.RUNNING, JobState.SUCCEEDED),  # finish by attempt
        (JobState.RUNNING, JobState.FAILED),  # finish by attempt: no model could do it
        (JobState.RUNNING, JobState.RETRY_WAIT),  # finish by attempt, or lease expired
        (JobState.RUNNING, JobState.DEAD),  # finish by attempt, or the third lost lease
        (JobState.RUNNING, JobState.QUEUED),  # graceful shutdown, by attempt
        (JobState.RUNNING, JobState.CANCELLED),  # caller: attempt + 1 makes a late finish stale
        (JobState.RETRY_WAIT, JobState.QUEUED),  # janitor: due
        (JobState.DEAD, JobState.QUEUED),  # dead-letter worker: next model, the old one excluded
        (JobState.DEAD, JobState.FAILED),  # dead-letter worker: no model left, parked
        (JobState.FAILED, JobState.QUEUED),  # operator: replay of a parked dead letter, epoch + 1
    }
    | {
        (waiting, end)
        for waiting in (JobState.QUEUED, JobState.ROUTED, JobState.RETRY_WAIT, JobState.DEAD)
        for end in (JobState.CANCELLED, JobState.EXPIRED)
    }
)
