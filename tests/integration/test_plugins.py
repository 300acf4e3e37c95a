"""The example package, installed: found by its entry points, named by a policy, seen in decisions."""

from __future__ import annotations

import json
import sys
import tomllib
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from router_service.errors import SettingsError
from router_service.jobs.preferences import Preferences
from router_service.routing.constraints import Rejection
from router_service.routing.methods import Methods, load_methods
from router_service.routing.strategies import SCORERS
from router_service.signals.plugins import load_extractors
from tests.support.catalogs import entry
from tests.support.steps import new_job
from workers.dead_letter import DeadLetterWorker
from workers.insights import Insights
from workers.router import Router

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import OpenWorkers
    from tests.support.steps import Sql, Steps
    from tests.support.workers import Workers

EXAMPLE = Path(__file__).parent.parent / "example_plugin"


def install(folder: Path, *, name: str) -> None:
    """What an installer leaves of the example: its metadata and its entry points."""
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text())["project"]
    info = folder / f"{name.replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {project['version']}\n")
    sections = [
        f"[{group}]\n" + "".join(f"{point} = {value}\n" for point, value in points.items())
        for group, points in project["entry-points"].items()
    ]
    (info / "entry_points.txt").write_text("\n".join(sections))


@pytest.fixture
def _installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    install(tmp_path, name="waybill-example-plugin")
    monkeypatch.syspath_prepend(str(EXAMPLE))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("waybill_example_plugin", None)


def with_plugins(workers: Workers) -> Workers:
    insights, methods = Insights(load_extractors()), load_methods()
    workers.router = Router(workers.runtime, insights, methods=methods)
    workers.dead_letter = DeadLetterWorker(workers.runtime, insights, methods=methods)
    return workers


def body(text: str) -> str:
    return json.dumps({"model": "auto", "messages": [{"role": "user", "content": text}]})


async def routed(workers: Workers, steps: Steps, sql: Sql, text: str) -> Any:
    (job,) = await steps.accept(new_job(model="auto", body=body(text)))
    await workers.route()
    return await sql.value("SELECT model_id FROM jobs WHERE id = %s", job.id)


@pytest.mark.usefixtures("_installed")
async def test_a_signal_and_a_constraint_of_a_plugin_decide(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    policies = {"default": {"constraints": ["example:calm-only"]}}
    workers = with_plugins(
        await open_workers(entry("shy-one", cost=1e-9), entry("other"), router={"policies": policies})
    )
    assert await routed(workers, steps, sql, "please tell me the time") == "shy-one"
    assert await routed(workers, steps, sql, "TELL ME THE TIME AT ONCE") == "other"
    signals = await sql.rows("SELECT signals FROM job_signals ORDER BY job_id")
    assert [row["signals"]["extra"]["tone.shouts"] for row in signals] == [False, True]
    assert signals[0]["signals"]["versions"]["tone"] == "1"


@pytest.mark.usefixtures("_installed")
async def test_a_decision_names_the_versions_of_the_plugins_that_took_it(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    policies = {"default": {"constraints": ["example:calm-only"], "terms": {"example:carbon": 1.5}}}
    workers = with_plugins(await open_workers(entry("other"), router={"policies": policies}))
    await routed(workers, steps, sql, "please tell me the time")
    (row,) = await sql.rows("SELECT inputs FROM decisions")
    package = f"waybill-example-plugin {version('waybill-example-plugin')}"
    named = {name: each for name, each in row["inputs"]["versions"].items() if ":" in name}
    assert named == {"example:calm-only": package, "example:carbon": package}


@pytest.mark.usefixtures("_installed")
async def test_a_score_and_a_strategy_of_a_plugin_decide(open_workers: OpenWorkers, steps: Steps, sql: Sql) -> None:
    policies = {"default": {"terms": {"example:carbon": 1.5}}, "best": {"strategy": "example:best-first"}}
    workers = with_plugins(
        await open_workers(
            entry("coal-one", cost=1e-9, router={"quality": {"default": 0.9}}),
            entry("green", cost=1e-8, router={"quality": {"default": 0.5}}),
            router={"policies": policies, "tenants": {"picky": {"policy": "best"}}},
        )
    )
    assert await routed(workers, steps, sql, "hello") == "green"
    (job,) = await steps.accept(new_job(model="auto", tenant_id="picky"))
    await workers.route()
    assert await sql.value("SELECT model_id FROM jobs WHERE id = %s", job.id) == "coal-one"


async def test_without_the_plugin_a_policy_that_names_it_lets_jobs_wait_and_says_why(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    workers = await open_workers(
        entry("alpha"), router={"policies": {"default": {"constraints": ["example:calm-only"]}}}
    )
    assert await routed(workers, steps, sql, "hello") is None
    assert await sql.value("SELECT held_until IS NOT NULL FROM jobs")


@pytest.mark.usefixtures("_installed")
def test_two_packages_that_offer_one_name_are_refused(tmp_path: Path) -> None:
    install(tmp_path, name="waybill-rival")
    with pytest.raises(SettingsError, match=r"both offer 'example:calm-only' in waybill\.constraints: remove one"):
        load_methods()


def _raises(*_asked: object) -> Any:
    raise KeyError("a word of the prompt")


@pytest.mark.parametrize(
    ("policy", "methods"),
    [
        ({"constraints": ["x:y"]}, Methods(constraints={"x:y": _raises})),
        ({"constraints": ["x:y"]}, Methods(constraints={"x:y": lambda _a, _m: Rejection(reason="r", bound={1, 2})})),
        ({"constraints": ["x:y"]}, Methods(constraints={"x:y": lambda _a, _m: Rejection(reason="r", bound="a\0")})),
        ({"terms": {"x:y": 1.0}}, Methods(terms={"x:y": _raises})),
        ({"terms": {"x:y": 1.0}}, Methods(terms={"x:y": lambda _prospect: float("nan")})),
        ({"strategy": "x:y"}, Methods(strategies={**SCORERS, "x:y": _raises})),
        ({"strategy": "x:y"}, Methods(strategies={**SCORERS, "x:y": lambda _prospects: []})),
        ({"strategy": "x:y"}, Methods(strategies={**SCORERS, "x:y": lambda prospects: [()] * len(prospects)})),
        ({"strategy": "x:y"}, Methods(strategies={**SCORERS, "x:y": lambda prospects: [None] * len(prospects)})),  # type: ignore[list-item]
    ],
)
@pytest.mark.parametrize("is_shadow", [False, True])
async def test_a_plugin_that_fails_lets_its_own_jobs_wait_and_no_others(
    open_workers: OpenWorkers, steps: Steps, sql: Sql, policy: dict[str, Any], methods: Methods, *, is_shadow: bool
) -> None:
    shadow = {"shadow": {"policy": "bad", "share": 1.0}} if is_shadow else {}
    workers = await open_workers(entry("a"), router={"policies": {"bad": policy}, **shadow})
    workers.router = Router(workers.runtime, Insights(), methods=methods)
    bad = new_job(model="auto")
    bad = replace(bad, spec=replace(bad.spec, preferences=Preferences(policy="bad")))
    good = [new_job(model="auto") for _ in range(5)]
    await steps.accept(bad, *good)
    await workers.route()
    assert await sql.state(bad.id) == "queued"
    assert [await sql.state(each.id) for each in good] == ["routed"] * 5


async def test_a_dead_letter_waits_for_a_plugin_that_is_missing(
    open_workers: OpenWorkers, steps: Steps, sql: Sql
) -> None:
    failing = entry("a", cost=1e-9, router={"simulated": {"failure_rate": 1, "failure": "404"}})
    workers = await open_workers(
        failing, entry("b"), num_retries=0, router={"policies": {"strict": {"constraints": ["x:y"]}}}
    )
    strict = new_job(model="auto")
    strict = replace(strict, spec=replace(strict.spec, preferences=Preferences(policy="strict")))
    workers.router = Router(workers.runtime, Insights(), methods=Methods(constraints={"x:y": lambda _a, _m: None}))
    await steps.accept(strict)
    await workers.route()
    await workers.call("a")
    await workers.settle_dead("a")
    assert await sql.state(strict.id) == "dead"
