"""What must hold after any faults, in the manner of Jepsen: a pure function over what three witnesses say.

The client (every id that was answered with 2xx, and what it saw of it), the provider's own log, the database. None of them
believes another. The times of the provider are its own clock's, those of the database and of the faults wall-clock seconds.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

TERMINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})
ANSWERED = "answered"
# How a call may have ended that was not its job's last one, and nobody's fault was needed.
TRIED_AGAIN = frozenset({"failed", "throttled", "returned", "uncalled", "cancelled"})
# How a call ends whose worker fell silent: only a fault explains it.
SILENCED = frozenset({"lost", "late"})
POISON = 3
SLOTS = "slots"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What a client holds a 2xx for. `may_end` are the terminal states that its wishes allow beside success."""

    id: str
    tag: str
    may_end: frozenset[str] = frozenset()
    seen: str | None = None  # the terminal state that the client was told, if it was


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A call as the provider logged it. `ended_s` is None for one that was refused."""

    model: str
    tag: str
    arrived_s: float
    ended_s: float | None = None
    tokens: int = 0
    refused: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What the provider allows: calls at a time, and units within any 60 s."""

    slots: int
    rpm: float | None = None
    tpm: float | None = None

    @property
    def rates(self) -> Mapping[str, float]:
        return {name: most for name, most in (("rpm", self.rpm), ("tpm", self.tpm)) if most is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A row of jobs. `tag` is read from its input, `result_tag` from its stored answer."""

    id: str
    tag: str
    state: str
    attempt: int = 1
    result_attempt: int | None = None
    result_tag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """A row of attempts."""

    job_id: str
    attempt: int
    model: str
    began_s: float
    ended_s: float | None
    outcome: str | None
    status_code: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """All that is known of a run. `faults` are (begun, healed at the latest); `held` what Redis still counts at the end."""

    accepted: Sequence[Accepted]
    calls: Sequence[Seen]
    limits: Mapping[str, Limit]
    jobs: Sequence[Job]
    attempts: Sequence[Attempt]
    faults: Sequence[tuple[float, float]] = ()
    held: Mapping[str, int] = field(default_factory=dict)
    open_batches: Sequence[str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """What does not hold, and where."""

    what: str
    where: str

    def __str__(self) -> str:
        return f"{self.what}: {self.where}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubled:
    """Calls beyond a job's first that only a fault explains, as counted by us and as seen by the provider."""

    counted: int
    seen: int


def violations(run: History) -> list[Violation]:
    """Everything that does not hold; empty where all does."""
    attempts = _by_job(run.attempts)
    jobs = {job.id: job for job in run.jobs}
    found = [
        *_accepted(run, jobs, attempts),
        *(_at("not terminal", f"{job.id} is {job.state}") for job in run.jobs if job.state not in TERMINAL),
        *(violation for job in run.jobs for violation in _result(job, attempts[job.id])),
        *(violation for job in run.jobs for violation in _attempts(job, attempts[job.id], run.faults)),
        *_calls(run, jobs),
        *_limits(run),
        *(_at("still held in Redis", f"{key}: {count}") for key, count in run.held.items() if count),
        *(_at("a batch did not end", batch) for batch in run.open_batches),
    ]
    return sorted(found, key=str)


def doubled(run: History) -> Doubled:
    seen = Counter((call.tag, call.model) for call in run.calls if call.refused is None)
    counted = sum(attempt.outcome in SILENCED for attempt in run.attempts)
    return Doubled(counted=counted, seen=sum(count - 1 for count in seen.values()))


def shares(run: History) -> dict[str, float]:
    """How full each limit was at the most, as a share of it: one that was never nearly full was not tested."""
    found: dict[str, float] = {}
    for model, limit in run.limits.items():
        let_in = [call for call in run.calls if call.model == model and call.refused is None]
        found[f"{model} {SLOTS}"] = peak_of(let_in) / limit.slots
        found |= {f"{model} {name}": _fullest(let_in, name) / most for name, most in limit.rates.items()}
    return found


def _accepted(run: History, jobs: Mapping[str, Job], attempts: Mapping[str, Sequence[Attempt]]) -> Iterator[Violation]:
    """Every accepted id is there, has ended once, and as it may."""
    for each in run.accepted:
        job = jobs.get(each.id)
        if job is None:
            yield _at("accepted and lost", each.id)
            continue
        if job.state not in TERMINAL:
            continue
        poisoned = sum(attempt.outcome in SILENCED for attempt in attempts[job.id]) >= POISON
        if job.state not in each.may_end | {"succeeded"} and not (job.state == "failed" and poisoned):
            yield _at("ended as it may not", f"{each.id} is {job.state}")
        if each.seen not in {None, job.state}:
            yield _at("a terminal state was left", f"{each.id} was {each.seen} and is {job.state}")
        if job.tag != each.tag:
            yield _at("the input is another job's", f"{each.id} holds {job.tag}, accepted was {each.tag}")


def _result(job: Job, attempts: Sequence[Attempt]) -> Iterator[Violation]:
    """A job that succeeded has one result: the answered call's, and its own."""
    answered = [attempt.attempt for attempt in attempts if attempt.outcome == ANSWERED]
    if len(answered) > 1:
        yield _at("answered twice", f"{job.id}: attempts {answered}")
    if job.state == "succeeded" and job.result_attempt is None:
        yield _at("no result", job.id)
    if job.state not in {"succeeded", "failed"} and job.result_attempt is not None:
        yield _at("a result that is nobody's", f"{job.id} is {job.state}")
    if job.state == "succeeded" and answered and job.result_attempt not in {None, *answered}:
        yield _at("the result is not the answered call's", f"{job.id}: {job.result_attempt}, answered {answered}")
    if job.state == "succeeded" and not answered:
        yield _at("succeeded without an answer", job.id)
    if job.result_tag not in {None, job.tag}:
        yield _at("the result is another job's", f"{job.id} holds {job.result_tag}, asked {job.tag}")


def _attempts(job: Job, attempts: Sequence[Attempt], faults: Sequence[tuple[float, float]]) -> Iterator[Violation]:
    """Every record of a call is closed, their numbers are the job's, and what was silenced met a fault or a cancellation."""
    numbers = [attempt.attempt for attempt in attempts]
    if numbers != sorted(set(numbers)) or (numbers and numbers[-1] > job.attempt):
        yield _at("records of calls are not in order", f"{job.id}: {numbers}")
    for attempt in attempts:
        where = f"{job.id} attempt {attempt.attempt} on {attempt.model}"
        if attempt.ended_s is None or attempt.outcome is None:
            yield _at("the record of a call is open", where)
        elif attempt.outcome in SILENCED and job.state != "cancelled" and not _met(attempt, faults):
            yield _at("a call was lost without a fault", where)
    for attempt in attempts[:-1]:
        if attempt.outcome not in TRIED_AGAIN | SILENCED | {None}:
            yield _at("called again for no reason", f"{job.id} after attempt {attempt.attempt}, {attempt.outcome}")


def _met(attempt: Attempt, faults: Sequence[tuple[float, float]]) -> bool:
    ended_s = attempt.began_s if attempt.ended_s is None else attempt.ended_s
    return any(attempt.began_s <= healed_s and begun_s <= ended_s for begun_s, healed_s in faults)


def _calls(run: History, jobs: Mapping[str, Job]) -> Iterator[Violation]:
    """The provider saw no call without a record, and no record tells of an answer that it did not give."""
    seen = Counter((call.tag, call.model) for call in run.calls)
    recorded: Counter[tuple[str, str]] = Counter()
    told: Counter[tuple[str, str]] = Counter()
    for attempt in run.attempts:
        if attempt.model in run.limits and attempt.job_id in jobs:
            key = (jobs[attempt.job_id].tag, attempt.model)
            recorded[key] += 1
            told[key] += attempt.status_code is not None
    for key in sorted(seen.keys() | recorded.keys()):
        where = f"{key[0]} on {key[1]}: {seen[key]} seen, {recorded[key]} recorded, {told[key]} answered"
        if seen[key] > recorded[key]:
            yield _at("a call without a record", where)
        if seen[key] < told[key]:
            yield _at("an answer that the provider did not give", where)


def _limits(run: History) -> Iterator[Violation]:
    """As the provider saw it: nothing refused, never more at a time, never more within a minute."""
    for model, limit in run.limits.items():
        calls = [call for call in run.calls if call.model == model]
        for name, count in Counter(call.refused for call in calls if call.refused).items():
            yield _at("the provider had to refuse", f"{model}: {count} calls over {name}")
        let_in = [call for call in calls if call.refused is None]
        if (peak := peak_of(let_in)) > limit.slots:
            yield _at("too many calls at a time", f"{model}: {peak} of {limit.slots}")
        for name, most in limit.rates.items():
            if (fullest := _fullest(let_in, name)) > most:
                yield _at("too much within a minute", f"{model}: {name} {fullest} of {most:g}")


def peak_of(calls: Iterable[Seen]) -> int:
    events = []
    for call in calls:
        events += [(call.arrived_s, 1), (call.ended_s if call.ended_s is not None else float("inf"), -1)]
    running = peak = 0
    for _moment, change in sorted(events):  # of one instant, ends come first
        running += change
        peak = max(peak, running)
    return peak


def _fullest(calls: Iterable[Seen], rate: str, *, width_s: float = 60.0) -> int:
    """The most units of a rate that arrived within any window."""
    arrivals = sorted((call.arrived_s, 1 if rate == "rpm" else call.tokens) for call in calls)
    first = held = fullest = 0
    for moment, count in arrivals:
        held += count
        while arrivals[first][0] + width_s <= moment:
            held -= arrivals[first][1]
            first += 1
        fullest = max(fullest, held)
    return fullest


def _by_job(attempts: Iterable[Attempt]) -> Mapping[str, Sequence[Attempt]]:
    found: dict[str, list[Attempt]] = defaultdict(list)
    for attempt in sorted(attempts, key=lambda each: (each.job_id, each.attempt)):
        found[attempt.job_id].append(attempt)
    return found


def _at(what: str, where: str) -> Violation:
    return Violation(what=what, where=where)
