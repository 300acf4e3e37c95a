"""A model that is not allowed is never chosen: over wishes, rules, floors, plans, exploration, thresholds and plugins.

What is allowed is written down here once more, in the plainest words.
"""

from __future__ import annotations

from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from router_service.routing.constraints import Rejection
from router_service.routing.decision import route
from router_service.routing.methods import Methods
from tests.support.questions import CATALOG, ODD, TERM, insights, jobs, live, prices, strict_policies

if TYPE_CHECKING:
    from router_service.catalog.models import Model
    from router_service.catalog.policies import RoutingPolicy, Rule
    from router_service.jobs.spec import RoutableJob
    from router_service.routing.insight import Insight
    from router_service.routing.question import Prospect, Question


def odd(asked: Question, model: Model) -> Rejection | None:
    """A plugin: no odd number of tokens to the model `a`."""
    return Rejection(reason="odd") if model.id == "a" and asked.spec.tokens_in % 2 else None


def term(prospect: Prospect) -> float:
    """A plugin's score that would have the dearest."""
    return -(prospect.cost_usd or 0.0)


METHODS = Methods(constraints={ODD: odd}, terms={TERM: term})


def applies(rule: Rule, job: RoutableJob, insight: Insight) -> bool:
    said, hinted = insight.signals, job.spec.preferences
    seen = {
        "flag": said.flags if said else (),
        "language": (hinted.language or (said.language if said else None),),
        "domain": (hinted.domain or (said.domain if said else None),),
        "tenant": (job.tenant_id,),
    }
    return all(
        any(value is not None and fnmatchcase(value, pattern) for value in seen[kind] for pattern in patterns)
        for kind, patterns in rule.when.items()
    )


def is_allowed(job: RoutableJob, model: Model, policy: RoutingPolicy, insight: Insight) -> bool:
    spec, wishes, said = job.spec, job.spec.preferences, insight.signals
    language = wishes.language or (said.language if said else None)
    domain = wishes.domain or (said.domain if said else None)
    estimate = insight.estimates.get(model.id)
    level = estimate.level if estimate and estimate.level is not None else model.quality.get("default")
    floors = [floor for floor in (spec.quality, policy.min_quality) if floor is not None]
    answer = spec.tokens_out or model.max_output_tokens
    cost = None if answer is None else model.cost_usd(tokens_in=spec.tokens_in, tokens_out=answer)
    return (
        model.id not in spec.excluded
        and model.id not in wishes.ignore
        and (not wishes.only or model.id in wishes.only)
        and (wishes.allow_fallbacks or not wishes.order or model.id in wishes.order)
        and all(not rule.only or model.id in rule.only for rule in policy.rules if applies(rule, job, insight))
        and (spec.residency is None or (model.residency is not None and spec.residency == "eu"))
        and (wishes.safety is None or model.safety == "high")
        and not (wishes.no_training and model.trains_on_data is not False)
        and ("vision" not in spec.features or model.id == "a")
        and (spec.tokens_out is None or spec.tokens_out <= (model.max_output_tokens or 1000))
        and (not model.languages or language is None or language in model.languages)
        and (not model.domains or domain in model.domains)
        and (not floors or (level is not None and level >= max(floors)))
        and (wishes.max_cost_usd is None or model.id == "c" or cost is None or cost <= wishes.max_cost_usd)
        and (wishes.max_cost_usd is None or model.input_cost is not None)
        and not (ODD in policy.constraints and model.id == "a" and spec.tokens_in % 2)
    )


@settings(max_examples=500, deadline=None)
@given(jobs, insights, live, strict_policies, st.none() | prices)
def test_a_model_that_is_not_allowed_is_never_chosen(
    job: RoutableJob, insight: Insight, counters: Any, policy: RoutingPolicy, planned: Any
) -> None:
    insight = replace(insight, prices=planned)
    decision = route(job, catalog=CATALOG, counters=counters, policy=policy, insight=insight, methods=METHODS)
    chosen = [] if decision.model_id is None else [decision.model_id]
    eligible = {each.model for each in decision.candidates if each.eligible}
    assert set(chosen) <= eligible
    for name in eligible:
        assert is_allowed(job, CATALOG.by_id[name], policy, insight), name
    if not chosen:
        assert eligible == set()
