"""Faults on purpose, at the places where a crash hurts: around every COMMIT, and between a COMMIT and what follows it.

`WAYBILL_FAILPOINT=name:kill|raise|sleep[=seconds]`, read with the settings, arms one place of one process when that process
starts; nothing else can. Without it a failpoint is one look at a name of this module.

Each fault happens once in the life of the process that was armed, the first time it comes by: what heals is then seen to
heal in the same process too, where one that raised again and again would only ever show the fault. A process that is
killed stays dead; whoever starts it anew leaves the variable out.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from collections.abc import Mapping

LEASES_ASLEEP = 1.5

NAMES: Mapping[str, str] = MappingProxyType(
    {
        "api.jobs.before_commit": "a job is written, not committed; its client has no answer",
        "api.jobs.after_commit": "a job is accepted; its client has no answer and the router was not rung",
        "api.batches.before_commit": "a batch and its jobs are written, not committed",
        "api.batches.after_commit": "a batch is accepted; its client has no answer and the router was not rung",
        "api.cancel_job.before_commit": "a job is cancelled, not committed; its client has no answer",
        "api.cancel_job.after_commit": "a job is cancelled; its client has no answer, and what it held is still held",
        "api.cancel_batch.before_commit": "a batch and its jobs are cancelled, not committed",
        "api.cancel_batch.after_commit": "a batch and its jobs are cancelled; its client has no answer",
        "api.dead_letters.before_commit": "parked letters are replayed or discarded, not committed",
        "api.dead_letters.after_commit": "parked letters are replayed or discarded; nobody was told, and the router was not rung",
        "api.files.before_commit": "a file is stored, not committed; its client has no answer",
        "api.files.after_commit": "a file is stored; its client has no answer and does not know its id",
        "router.before_release_commit": "held jobs are let go, not committed",
        "router.after_release_commit": "held jobs are let go; none was looked at",
        "router.before_commit": "jobs are assigned and their places taken; the rows are not committed",
        "router.after_commit": "jobs are ROUTED; no ticket was sent",
        "router.after_publish": "tickets are sent; the router has not noted that it is done",
        "provider.before_claim": "tickets were taken from the broker, which forgot them; their jobs are ROUTED",
        "provider.after_claim": "jobs are RUNNING under a lease; no capacity is reserved",
        "provider.after_reserve": "capacity is reserved; the call was not made",
        "provider.after_call": "the provider has answered; nobody else knows",
        "provider.before_finish_commit": "the end of a call is written, not committed",
        "provider.after_finish_commit": "the end of a call is committed; its slot is still held",
        "provider.after_settle": "the slot is given back; nobody was told",
        "provider.before_return_commit": "the return of a claimed job, whose call was not made, is written, not committed",
        "provider.after_return_commit": "a claimed job is queued again; its place is still held and the router was not rung",
        "provider.before_give_back_commit": "tickets that waited are given back, not committed",
        "provider.after_give_back_commit": "jobs are queued again; their places are still held and the router was not rung",
        "provider.before_dead_letter": "a job is DEAD; its ticket was not sent",
        "dead_letter.before_commit": "dead jobs are moved on, not committed",
        "dead_letter.after_commit": "dead jobs are moved on; the router was not rung",
        "janitor.leases.before_commit": "calls are taken over and dead letters written, not committed",
        "janitor.leases": "calls are taken over; their slots are still held, their dead letters not sent",
        "janitor.routed.before_commit": "jobs are queued again whose tickets were lost, not committed",
        "janitor.routed": "jobs are queued again; their places are still held and the router was not rung",
        "janitor.retries": "due jobs are queued; the router was not rung",
        "janitor.letters": "lost dead letters are marked as sent, and are not",
        "janitor.deadlines": "jobs have expired; what they held is still held",
        "janitor.cancelling": "jobs of a batch are cancelled; what they held is still held",
        "janitor.batches": "a batch has ended with its files; the next one was not looked at",
        "janitor.counters": "routed jobs are queued again; the gate of the lost counters is still shut",
    }
)


class Fault(StrEnum):
    """What happens there."""

    KILL = "kill"  # SIGKILL to this process: no handler runs, no buffer is written
    RAISE = "raise"  # FailpointError
    SLEEP = "sleep"  # nothing for a while: past the lease where no seconds are given


class FailpointError(Exception):
    """Stands for the error that nobody foresaw; hence not one of WaybillError's tree, which somebody handles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """A parsed WAYBILL_FAILPOINT. `sleep_s` is None where the lease says how long."""

    name: str
    fault: Fault
    sleep_s: float | None = None


@dataclass(slots=True, kw_only=True)
class _Armed:
    name: str
    fault: Fault
    sleep_s: float


# The one mutable global of the house: a failpoint must cost nothing and pass through no signature.
_armed: _Armed | None = None


def parse(text: str) -> Wish | None:
    """What the variable asks for; None where it is empty. Raises ValueError that says what would be right."""
    if not text:
        return None
    name, _, what = text.partition(":")
    if name not in NAMES:
        raise ValueError(f"no failpoint is named {name!r}; there are {', '.join(NAMES)}")
    word, equals, seconds = what.partition("=")
    if word not in set(Fault) or (equals and word != Fault.SLEEP):
        raise ValueError(f"{what!r} is no fault; kill, raise, sleep and sleep=SECONDS are")
    return Wish(name=name, fault=Fault(word), sleep_s=_seconds(seconds) if equals else None)


def arm(wish: Wish | None, *, lease_s: float) -> None:
    """Called once, where a process starts."""
    global _armed  # noqa: PLW0603 (see above)
    _armed = None
    if wish is not None:
        sleep_s = lease_s * LEASES_ASLEEP if wish.sleep_s is None else wish.sleep_s
        _armed = _Armed(name=wish.name, fault=wish.fault, sleep_s=sleep_s)


def failpoint(name: str) -> None:
    """The fault that was asked for here, if one was. `sleep` stops the whole process, as SIGSTOP does: it renews no lease."""
    if _armed is not None and _armed.name == name and (sleep_s := _strike(_armed)):
        time.sleep(sleep_s)


async def afailpoint(name: str) -> None:
    """The same, but for `sleep`: this task alone waits, and the rest of the process lives on; its leases are renewed."""
    if _armed is not None and _armed.name == name and (sleep_s := _strike(_armed)):
        await asyncio.sleep(sleep_s)


def _strike(armed: _Armed) -> float:
    """Disarm, say so on stderr (unbuffered: nothing may come after it), and do it. The seconds to sleep."""
    global _armed  # noqa: PLW0603 (see above)
    _armed = None
    os.write(2, f"failpoint {armed.name}: {armed.fault}\n".encode())
    match armed.fault:
        case Fault.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        case Fault.RAISE:
            raise FailpointError(armed.name)
        case Fault.SLEEP:
            return armed.sleep_s
        case _:
            assert_never(armed.fault)
    return 0.0


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ValueError(f"sleep={text!r}: give seconds above 0")
    return seconds
