"""Every failpoint x {kill, raise, sleep past the lease}, in a real process of its role. What was accepted ends, once, by itself.

A random kill rarely hits the windows around a COMMIT; a sweep over all of them always does.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from router_service.evaluation.oracle import FILLER
from router_service.failpoints import NAMES, Fault
from tests.faults.checker import violations
from tests.faults.cluster import Cluster
from tests.faults.history import TAG, read_history
from tests.faults.sweep import (
    HIT_S,
    OFFERS,
    ROUTER_SETTINGS,
    SHORTEST,
    Client,
    at_rest,
    entries,
    process_of,
    slots_of,
    way_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(120)

HEALED_WITHIN_S = 30.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(*entries(), offers=OFFERS, router_settings=ROUTER_SETTINGS, settings=SHORTEST) as running:
        yield running
        running.until(lambda: not running.leases_held(), patience_s=HEALED_WITHIN_S, what="nothing is held in Redis")


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("name", NAMES)
def test_fault_heals(cluster: Cluster, name: str, fault: Fault) -> None:
    """Starts the role anew with the failpoint armed, sends work through it, sees the fault happen, sends one job more, rests.

    Then nothing is lost, doubled or held, each call that was lost is accounted for, and no log shows a prompt or a key.
    """
    way, role, tags = way_of(name), process_of(name), f"{TAG}{name}-{fault}-"
    client = Client(cluster, tags=tags)
    way.before(client)
    began_s = time.time()
    said = cluster.replace(role, WAYBILL_FAILPOINT=f"{name}:{fault}")
    if role == "api":
        cluster.until(lambda: cluster.readiness()[0] != 0, patience_s=HIT_S, what="the API listens")
    way.work(client)
    cluster.until(
        lambda: f"failpoint {name}: {fault}" in cluster.roles[role].said(said),
        patience_s=HIT_S,
        what=f"{name} was reached",
    )
    way.after(client)
    cluster.until(lambda: client.job() is not None, patience_s=HIT_S, what="the next job is accepted")
    cluster.until(lambda: at_rest(cluster), patience_s=HEALED_WITHIN_S, what=f"rest after {name}: {fault}")
    faults = [(began_s, time.time())]
    history = read_history(cluster, client.accepted, offers=OFFERS, faults=faults, tags=tags)
    assert violations(replace(history, held=slots_of(history.held))) == []
    told = cluster.roles[role].said(said)
    assert [secret for secret in (*cluster.keys.values(), FILLER[:11]) if secret in told] == [], "content is in a log"
