"""Chaos from a seed over real processes: `python -m tests.faults.chaos --seed 7 --seconds 30` (or `--seeds 1-20`).

Two tenants hand in batches and single jobs while processes are killed and frozen, servers lose their memory or stop, and
links are cut, swallow everything or are slow. Then all is mended; every job must end by itself, and the checker must find
nothing. The seed decides the schedule, the faults and the work; what happened is printed.

There is more work than a minute's rates allow, so that the limits bind while counters are lost and workers are frozen. Where over
several seeds no window of a rate was nearly full, the run fails: it proved nothing of that rate.
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
from tests.faults.checker import SLOTS, Doubled, Violation, doubled, shares, violations
from tests.faults.cluster import SHORT, Cluster
from tests.faults.history import read_history, states
from tests.faults.nemeses import Saboteur
from tests.faults.plan import SHAPE, Plan, draw
from tests.faults.sweep import at_rest
from tests.faults.workload import Workload, accepted, look_at_all
from tests.support.catalogs import entry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from tests.faults.workload import Ledger

HEALED_WITHIN_S = 90.0
LEASE_S = float(SHORT["WAYBILL_LEASE_S"])
NEARLY_FULL = 0.8
# A minute's rate may be spent at once, and the work comes within half a minute. So the windows are full for most of a run, and
# what a rebuild forgets is seen; a paced rate would hide it, since then nothing starts faster than the rate anyway. `plain` has
# no rate that would hide two calls in one slot.
OFFERS = {
    "steady": Offer(slots=8, rpm=240, short_s=None, latency_s=0.2, jitter=0.5),
    "narrow": Offer(slots=2, tpm=7500, short_s=None, latency_s=0.15, jitter=0.5),
    "plain": Offer(slots=3, latency_s=0.2, jitter=0.5),
}
BURST_S = 60
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
    shares: Mapping[str, float]
    violations: tuple[Violation, ...]

    @property
    def windows(self) -> dict[str, float]:
        """The shares of the rates alone."""
        return {name: share for name, share in self.shares.items() if not name.endswith(SLOTS)}

    def __str__(self) -> str:
        told = f"{'FAILED' if self.violations else 'ok'}, {len(self.plan.strikes)} faults, jobs {self.states}"
        calls = f"{self.calls} calls, {self.lost} lost, doubled {self.doubled.counted} by us, {self.doubled.seen} seen"
        full = ", ".join(f"{name} {share:.0%}" for name, share in self.shares.items())
        rest = f"rest after {self.healed_s:.1f} s; fullest {full}"
        return f"seed {self.plan.seed}: {told}, {calls}; clients were refused {self.refused}; {rest}"


def entries() -> list[dict[str, Any]]:
    """The models of the oracle, and one that fails every second call and has `steady` to fall back on."""
    known = [
        entry(
            name,
            model=f"openai/{name}",
            params={"api_base": f"{Cluster.ORACLE}/v1", "max_parallel_requests": offer.slots} | offer.rates,
            router={"burst_s": BURST_S},
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
        shares=shares(history),
        violations=tuple(violations(history)),
    )


def idle_rates(verdicts: Iterable[Verdict]) -> dict[str, float]:
    """Rates whose window was never nearly full in any of the runs, with how full it was at the most."""
    fullest: dict[str, float] = {}
    for verdict in verdicts:
        fullest |= {name: max(share, fullest.get(name, 0.0)) for name, share in verdict.windows.items()}
    return {name: share for name, share in fullest.items() if share < NEARLY_FULL}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="one seed; what happens is printed as it happens")
    parser.add_argument("--seeds", default="1-20", help="several, such as 1-20: one line each")
    parser.add_argument("--seconds", type=float, default=30.0, help="how long faults are injected")
    parser.add_argument("--logs", type=Path, help="where to keep the processes' logs of a seed that failed")
    given = parser.parse_args(arguments)
    if given.seed is not None:
        return 1 if _try(given.seed, given, say=_tell).violations else 0
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    first, _, last = given.seeds.partition("-")
    verdicts = [_try(seed, given, say=_keep) for seed in range(int(first), int(last or first) + 1)]
    idle = idle_rates(verdicts)
    for name, share in idle.items():
        _tell(f"FAILED: no window of {name} was over {share:.0%} full; under {NEARLY_FULL:.0%} nothing is proved of it")
    return 1 if idle or any(verdict.violations for verdict in verdicts) else 0


def _try(seed: int, given: argparse.Namespace, *, say: Callable[[str], object]) -> Verdict:
    """Run a seed and tell what came of it."""
    verdict = run(seed, seconds=given.seconds, say=say, logs=given.logs)
    for line in (verdict, *(f"  {violation}" for violation in verdict.violations)):
        _tell(str(line))
    return verdict


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _keep(_text: str) -> None:
    """The seed tells it again."""


if __name__ == "__main__":
    sys.exit(main())
