"""Chaos from a seed over real processes: `python -m tests.faults.chaos --seed 7 --seconds 30` (or `--seeds 1-20`).

Two tenants hand in batches and single jobs while processes are killed and frozen, servers lose their memory or stop, and
links are cut, swallow everything or are slow. Then all is mended; every job must end by itself, and the checker must find
nothing. The seed decides the schedule, the faults and the work; what happened is printed.
"""

from __future__ import annotations

import argparse
import logging
import shutil
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import redis
import structlog

from router_service.evaluation.allowance import Offer
from tests.faults.checker import Doubled, Violation, doubled, violations
from tests.faults.cluster import SHORT, Cluster
from tests.faults.history import read_history, states
from tests.faults.nemeses import Saboteur
from tests.faults.plan import SHAPE, Plan, draw
from tests.faults.sweep import at_rest
from tests.faults.workload import Workload, accepted, look_at_all
from tests.support.catalogs import entry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.faults.workload import Ledger

HEALED_WITHIN_S = 90.0
LEASE_S = float(SHORT["WAYBILL_LEASE_S"])
OFFERS = {
    "steady": Offer(slots=8, rpm=1800, latency_s=0.2, jitter=0.5),
    "narrow": Offer(slots=2, rpm=600, latency_s=0.15, jitter=0.5),
}
ROUTER_SETTINGS: dict[str, Any] = {"num_retries": 1, "fallbacks": [{"flaky": ["steady"]}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of a run."""

    plan: Plan
    states: dict[str, int]
    calls: int
    lost: int
    doubled: Doubled
    refused: dict[str, int]
    healed_s: float
    violations: tuple[Violation, ...]

    def __str__(self) -> str:
        told = f"{'FAILED' if self.violations else 'ok'}, {len(self.plan.strikes)} faults, jobs {self.states}"
        calls = f"{self.calls} calls, {self.lost} lost, doubled {self.doubled.counted} by us, {self.doubled.seen} seen"
        return f"seed {self.plan.seed}: {told}, {calls}; clients were refused {self.refused}; rest after {self.healed_s:.1f} s"


def entries() -> list[dict[str, Any]]:
    """Two models of the oracle's, and one that fails every second call and has `steady` to fall back on."""
    known = [
        entry(
            name,
            model=f"openai/{name}",
            params={"api_base": f"{Cluster.ORACLE}/v1", "max_parallel_requests": offer.slots, "rpm": offer.rpm},
        )
        for name, offer in OFFERS.items()
    ]
    flaky = {"simulated": {"failure_rate": 0.5, "latency_ms": 30, "seed": 7}}
    return [*known, entry("flaky", model="simulated/flaky", params={"max_parallel_requests": 4}, router=flaky)]


def run(seed: int, *, seconds: float, say: Callable[[str], object], logs: Path | None = None) -> Verdict:
    """One run on a cluster of its own. Where something did not hold, its logs are kept in `logs`."""
    plan = draw(seed, seconds=seconds, lease_s=LEASE_S)
    with Cluster(*entries(), offers=OFFERS, shape=SHAPE, router_settings=ROUTER_SETTINGS) as cluster:
        saboteur = Saboteur(cluster)
        with Workload(cluster, plan) as work:
            _torment(cluster, plan, saboteur, work, say)
        began = time.monotonic()
        try:
            cluster.until(
                lambda: _is_at_rest(cluster),
                patience_s=HEALED_WITHIN_S,
                what="every job has ended, nothing is held",
                every_s=0.2,
            )
        except AssertionError as error:
            say(f"seed {seed}: {error}")
        healed_s = time.monotonic() - began
        look_at_all(cluster, work.ledger)
        verdict = _judge(cluster, plan, saboteur, work.ledger, healed_s)
        if verdict.violations and logs is not None:
            shutil.copytree(cluster.logs, logs / f"seed-{seed}", dirs_exist_ok=True)
        return verdict


def _torment(cluster: Cluster, plan: Plan, saboteur: Saboteur, work: Workload, say: Callable[[str], object]) -> None:
    """Strike as planned, mend as planned, keep up what dies; at the end everything is mended."""
    began, strikes = time.monotonic(), list(plan.strikes)
    try:
        while strikes or work.busy:
            now = time.monotonic()
            saboteur.mend(now_s=now)
            if strikes and strikes[0].at_s <= now - began:
                strike = strikes.pop(0)
                say(f"seed {plan.seed}: {strike}")
                saboteur.strike(strike)
            if now - began > plan.seconds:
                saboteur.mend_all()
            cluster.tend()
            time.sleep(0.02)
    finally:
        saboteur.mend_all()


def _is_at_rest(cluster: Cluster) -> bool:
    try:
        return at_rest(cluster) and not cluster.leases_held()
    except (psycopg.Error, redis.RedisError):
        return False


def _judge(cluster: Cluster, plan: Plan, saboteur: Saboteur, ledger: Ledger, healed_s: float) -> Verdict:
    faults = [(begun_s, over_s + LEASE_S) for begun_s, over_s in saboteur.windows]
    history = read_history(cluster, accepted(cluster, ledger), offers=OFFERS, faults=faults)
    return Verdict(
        plan=plan,
        states=states(history.jobs),
        calls=len(history.calls),
        lost=sum(attempt.outcome in {"lost", "late"} for attempt in history.attempts),
        doubled=doubled(history),
        refused=ledger.refused,
        healed_s=healed_s,
        violations=tuple(violations(history)),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="one seed; what happens is printed as it happens")
    parser.add_argument("--seeds", default="1-20", help="several, such as 1-20: one line each")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long faults are injected")
    parser.add_argument("--logs", type=Path, help="where to keep the processes' logs of a seed that failed")
    given = parser.parse_args(arguments)
    first, _, last = given.seeds.partition("-")
    seeds = [given.seed] if given.seed is not None else range(int(first), int(last or first) + 1)
    if given.seed is None:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    failed = 0
    for seed in seeds:
        verdict = run(seed, seconds=given.seconds, say=_tell if given.seed is not None else _keep, logs=given.logs)
        _tell(str(verdict))
        for violation in verdict.violations:
            _tell(f"  {violation}")
        failed += bool(verdict.violations)
    return 1 if failed else 0


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _keep(_text: str) -> None:
    """The seed tells it again."""


if __name__ == "__main__":
    sys.exit(main())
