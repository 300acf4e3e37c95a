"""A short chaos run with one seed; `make chaos` runs twenty longer ones."""

from __future__ import annotations

import pytest

from tests.faults.chaos import NEARLY_FULL, run
from tests.faults.plan import Nemesis, draw

pytestmark = pytest.mark.timeout(180)

SEED = 34  # in so short a time it has most kinds of faults, and Redis is lost when much of a minute is used up
SECONDS = 18.0


def test_seed_alone_decides_what_happens_and_all_kinds_of_faults_come_up() -> None:
    plan = draw(SEED, seconds=60, lease_s=3)
    assert plan == draw(SEED, seconds=60, lease_s=3)
    assert plan != draw(SEED + 1, seconds=60, lease_s=3)
    assert {strike.nemesis for strike in plan.strikes} == set(Nemesis)


def test_chaos_loses_nothing_doubles_nothing_and_keeps_every_limit() -> None:
    """Kills, stops, lost memories and bad links for some seconds, over two of most roles; see tests.faults.chaos."""
    verdict = run(SEED, seconds=SECONDS, say=print)
    print(verdict)
    assert verdict.violations == ()
    assert min(verdict.windows.values()) >= NEARLY_FULL, "a rate whose window was not nearly full was not tested"
