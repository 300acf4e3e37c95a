"""Routing policies: data that an operator publishes with the catalog, named by a hash of what they say."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_POLICY = "default"
UNSAID = ("name", "hash")
FROM_SIZES = frozenset({"feature", "modality", "tenant"})  # what rules look at without a request being read


class Strategy(StrEnum):
    """How to choose among the models that may do a job. The first five are LiteLLM's, by its names."""

    SIMPLE_SHUFFLE = "simple-shuffle"  # by chance (a hash), in proportion to weight, else rpm, else tpm
    LEAST_BUSY = "least-busy"  # fewest jobs under way and in the queue
    LATENCY = "latency-based-routing"  # lowest mean latency
    COST = "cost-based-routing"  # lowest expected cost, however long the wait
    USAGE = "usage-based-routing"  # fewest tokens in the last minute
    CHEAPEST_CAPABLE = "cheapest-capable"  # lowest expected cost, unless waiting costs more than it saves
    QUALITY_TARGET = "quality-target"  # least cost at a mean quality: a right answer is worth so much, calibrated
    FASTEST = "fastest"  # least wait and latency


LITELLM_ALIASES = {"usage-based-routing-v2": Strategy.USAGE}


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Where all of `when` holds, models: `only` these, `prefer` these, or `avoid` these. By name or id.

    `when` maps language, domain, task, flag, feature, modality or tenant to shell patterns, of which one must match; what is not
    known matches none.
    """

    name: str
    when: Mapping[str, tuple[str, ...]]
    only: tuple[str, ...] = ()
    prefer: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exploration:
    """A share of the jobs tries another model, so that estimates stay fresh.

    Never one whose quality is expected to be lower by more than `most_quality_loss`, or which costs more than
    `most_cost_factor` times what was chosen.
    """

    share: float = 0.0
    most_quality_loss: float = 0.05
    most_cost_factor: float = 1.5


@dataclass(frozen=True, slots=True, kw_only=True)
class RoutingPolicy:
    """How to choose. Money in US dollars.

    `strategy` is one of Strategy or a plugin's name. `quality_target`: the mean quality wanted, as a share of the strongest
    model's; `quality_usd`: what a right answer is worth, in its place. `min_quality`: the floor of every job. `wait_usd_per_s`
    and `latency_usd_per_s`: what a second of waiting, and of the call, is worth. `unknown_cost_usd` puts a model without a price
    behind every priced one. `latency_buffer`: models within this share of the fastest are as good as it. `signals`: whether to
    look at what jobs say, None: where something depends on it; `plan`: whether to deal out a batch as a whole, None: where the
    strategy aims at a quality, or the batch has a goal. `terms`: scores of plugins by name, each with its weight;
    `constraints`: plugins' names. `missing`: the name that a job gave where no policy has it; then no model may do the job.
    """

    name: str = field(default=DEFAULT_POLICY, compare=False)
    strategy: str = Strategy.CHEAPEST_CAPABLE
    quality_target: float | None = None
    quality_usd: float | None = None
    min_quality: float | None = None
    wait_usd_per_s: float = 1e-7
    latency_usd_per_s: float = 0.0
    unknown_cost_usd: float = 1e3
    latency_buffer: float = 0.0
    signals: bool | None = None
    plan: bool | None = None
    learned: bool = True
    rules: tuple[Rule, ...] = ()
    exploration: Exploration = Exploration()
    terms: tuple[tuple[str, float], ...] = ()
    constraints: tuple[str, ...] = ()
    missing: str | None = None
    hash: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        text = json.dumps(self.as_json(), sort_keys=True)
        object.__setattr__(self, "hash", hashlib.sha256(text.encode()).hexdigest()[:16])

    @property
    def has_target(self) -> bool:
        """Whether what a right answer is worth has to be calibrated."""
        return self.strategy == Strategy.QUALITY_TARGET and self.quality_usd is None

    def plans(self, *, has_goal: bool) -> bool:
        """Whether a batch is dealt out as a whole. `has_goal`: it names a budget or a time to finish in."""
        return (has_goal or self.strategy == Strategy.QUALITY_TARGET) if self.plan is None else self.plan

    @property
    def bounds(self) -> RoutingPolicy:
        """What of the policy holds whichever other one a job names: its rules' `only`, the floor, the constraints."""
        rules = tuple(replace(rule, prefer=(), avoid=()) for rule in self.rules if rule.only)
        learned = self.learned or self.min_quality is None  # what the floor is held against
        return RoutingPolicy(rules=rules, min_quality=self.min_quality, learned=learned, constraints=self.constraints)

    def within(self, bounds: RoutingPolicy) -> RoutingPolicy:
        """This policy, tightened by the `bounds` of another; itself where these are none."""
        floors = [floor for floor in (self.min_quality, bounds.min_quality) if floor is not None]
        return replace(
            self,
            rules=(*bounds.rules, *(rule for rule in self.rules if rule not in bounds.rules)),
            min_quality=max(floors, default=None),
            constraints=tuple(dict.fromkeys((*bounds.constraints, *self.constraints))),
            learned=self.learned
            if bounds.min_quality is None
            else bounds.learned,  # a floor is held against the same levels
            signals=self.signals if bounds == BUILT_IN else self.signals or None,  # bounds look at words
        )

    def as_json(self) -> dict[str, Any]:
        """What the policy says, without its name."""
        return {
            key: value
            for each in fields(self)
            if (key := each.name) not in UNSAID and (value := _plain(getattr(self, key))) is not None
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two models between which a `router-<threshold>` name chooses, as RouteLLM does."""

    strong: str
    weak: str


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Shadow:
    """A policy that decides beside the one in force on a share of the jobs, and moves none."""

    policy: RoutingPolicy
    share: float


BUILT_IN = RoutingPolicy()
PRESETS: dict[str, RoutingPolicy] = {strategy: RoutingPolicy(name=strategy, strategy=strategy) for strategy in Strategy}
