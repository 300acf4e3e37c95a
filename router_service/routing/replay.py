"""What a decision was taken from, in a form that can be stored, and the same decision taken again.

Stored are the job as it was then, what was known of it, and names of the rest: the catalog and its policy, and the snapshot of
the live counters, each by a hash of its content. Never content of the job.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from router_service.catalog import public_quality
from router_service.jobs.preferences import Preferences
from router_service.jobs.spec import Fallback, JobSpec, RoutableJob
from router_service.routing.insight import Estimate, Insight, Worth
from router_service.routing.methods import MARK
from router_service.signals.signals import Signals

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from router_service.catalog.policies import RoutingPolicy
    from router_service.routing.decision import Decision
    from router_service.routing.methods import Methods
    from router_service.routing.prices import Prices

FIGURES = "public_quality.json"
STORED_SPEC = tuple(each.name for each in fields(JobSpec) if each.name != "preferences")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A decision as it was stored."""

    job_id: UUID
    epoch: int
    model_id: str | None
    reason: str
    policy: str
    catalog: str
    snapshot: str | None
    candidates: list[dict[str, Any]]
    inputs: Mapping[str, Any]


def versions_of(policy: RoutingPolicy, methods: Methods) -> dict[str, str]:
    """Of what decides with a policy and stands in no catalog: its plugins, and the public figures of well-known models."""
    names = (policy.strategy, *(name for name, _weight in policy.terms), *policy.constraints)
    plugins = {name: methods.versions.get(name, "not installed") for name in names if MARK in name}
    return plugins | {FIGURES: public_quality.version()}


def inputs_of(job: RoutableJob, insight: Insight, *, versions: Mapping[str, str] | None = None) -> dict[str, Any]:
    """JSON of all that `route` looked at beside the catalog, the policy and the counters. `versions`: as of `versions_of`."""
    spec = {name: value for name in STORED_SPEC if (value := getattr(job.spec, name)) not in (None, ())}
    said = {
        "spec": spec,
        "preferences": job.spec.preferences.as_json(),
        "tenant": job.tenant_id,
        "epoch": job.epoch,
        "left_s": job.left_s,
        "tried": job.tried,
        "signals": insight.signals.as_json() if insight.signals else None,
        "estimates": {name: [each.quality, each.level, each.tokens_out] for name, each in insight.estimates.items()},
        "worth": list(insight.worth) if insight.worth else None,
        "plan": insight.prices.plan if insight.prices else None,
        "versions": dict(versions or {}),
    }
    return {key: value for key, value in said.items() if value not in (None, {})}


def job_of(
    job_id: UUID, inputs: Mapping[str, Any], *, plans: Mapping[str, Prices] | None = None
) -> tuple[RoutableJob, Insight]:
    """The inverse of `inputs_of`. `plans`: prices by the hash of their plan; raises KeyError where the job's are missing."""
    plan = inputs.get("plan")
    spec = spec_of(inputs)
    job = RoutableJob(
        id=job_id,
        epoch=inputs["epoch"],
        spec=spec,
        tenant_id=inputs.get("tenant", ""),
        left_s=inputs.get("left_s"),
        tried=inputs.get("tried"),
        plan=plan,
    )
    insight = Insight(
        signals=Signals.from_json(inputs["signals"]) if "signals" in inputs else None,
        estimates={
            name: Estimate(quality=quality, level=level, tokens_out=tokens_out)
            for name, (quality, level, tokens_out) in inputs.get("estimates", {}).items()
        },
        worth=Worth(*inputs["worth"]) if "worth" in inputs else None,
        prices=None if plan is None else (plans or {})[plan],
    )
    return job, insight


def spec_of(inputs: Mapping[str, Any]) -> JobSpec:
    """What the job asked for, wishes included."""
    stored: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in inputs["spec"].items()
    }
    stored["fallback"] = Fallback(stored["fallback"])
    return JobSpec(**stored, preferences=Preferences.from_json(inputs.get("preferences")))


def other_versions(recorded: Recorded, versions: Mapping[str, str]) -> list[str]:
    """What the stored decision was taken with in another version than now; empty too where it does not say."""
    before = recorded.inputs.get("versions", {})
    return [
        f"{name}: was {was!r}, is {repr(versions[name]) if name in versions else 'not used any more'}"
        for name, was in sorted(before.items())
        if was != versions.get(name)
    ]


def differences(recorded: Recorded, decision: Decision) -> list[str]:
    """How a decision that was taken again differs from the stored one; empty where it is the very same."""
    pairs: list[tuple[str, Any, Any]] = [
        ("model", recorded.model_id, decision.model_id),
        ("reason", recorded.reason, decision.reason),
        ("policy", recorded.policy, decision.policy),
        ("catalog", recorded.catalog, decision.catalog),
    ]
    stored = {(each["model"], each["rank"]): each for each in recorded.candidates}
    again = {(each.model, each.rank): each.as_json() for each in decision.candidates}
    pairs += [
        (f"candidate {model} (rank {rank})", stored.get((model, rank)), again.get((model, rank)))
        for model, rank in sorted(stored.keys() | again.keys())
    ]
    return [f"{name}: stored {before!r}, now {after!r}" for name, before, after in pairs if before != after]
