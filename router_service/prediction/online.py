"""What is learned after training: how far a model does better or worse than predicted, by domain and by tenant.

Each cell (tenant, domain, model) holds how many answers were judged, how many were right, and how many the predictor had
expected to be right. With a Beta prior whose mean is the prediction p and whose weight is `strength` judged answers, the
posterior mean is

    (strength * p + successes) / (strength + trials)  =  p + (successes - trials * p) / (trials + strength)

so a cell comes down to a *shift* of p. A narrower cell is shrunk towards the next wider one: tenant and domain, to domain over
all tenants, to the model over all domains. A shift moves only when evidence moves it by more than `step` (no flutter in
choices), and evidence fades with `half_life_s` (models drift). All of it is pure; the store keeps the cells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from router_service.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

P_DIGITS = 4


class Cell(NamedTuple):
    """Whose evidence: None stands for all tenants, or all domains."""

    tenant_id: str | None
    domain: str | None
    model_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """`strength`: judged answers that the wider cell is worth. `step`: least change of a shift that is acted on."""

    strength: float = 25.0
    step: float = 0.02
    half_life_s: float = 30 * 86_400.0
    by_tenant: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Faded counts as of `at_s` (unix time). `expected`: sum of the predictor's p over the same answers. `shift`: in use."""

    trials: float = 0.0
    successes: float = 0.0
    expected: float = 0.0
    at_s: float = 0.0
    shift: float = 0.0

    def faded(self, at_s: float, *, half_life_s: float) -> Evidence:
        """The counts at a later time; an earlier one leaves them, since clocks of judges differ."""
        if at_s <= self.at_s or not self.trials:
            return replace(self, at_s=max(at_s, self.at_s))
        part = 0.5 ** ((at_s - self.at_s) / half_life_s)
        return replace(
            self, trials=self.trials * part, successes=self.successes * part, expected=self.expected * part, at_s=at_s
        )


def cells(model_id: str, *, domain: str | None, tenant_id: str | None, rules: Rules) -> tuple[Cell, ...]:
    """From wide to narrow: the cells that a judged answer counts for, and that a prediction is shifted by."""
    wide = [Cell(None, None, model_id)]
    if domain is not None:
        wide.append(Cell(None, domain, model_id))
    if rules.by_tenant and tenant_id is not None:
        wide.append(Cell(tenant_id, domain, model_id))
    return tuple(wide)


def judged(
    table: Mapping[Cell, Evidence], path: Sequence[Cell], *, p: float, outcome: float, at_s: float, rules: Rules
) -> dict[Cell, Evidence]:
    """The cells of `path` after one more judged answer: `p` is what the predictor alone had said, `outcome` in [0, 1].

    InvalidRequestError: p or outcome is not between 0 and 1.
    """
    if not (0 <= p <= 1 and 0 <= outcome <= 1):
        raise InvalidRequestError(f"p {p} and outcome {outcome} must be between 0 and 1")
    changed, wider = {}, 0.0
    for cell in path:
        old = table.get(cell, Evidence()).faded(at_s, half_life_s=rules.half_life_s)
        new = replace(old, trials=old.trials + 1, successes=old.successes + outcome, expected=old.expected + p)
        exact = _exact(new, wider, rules)
        wider = exact if abs(exact - old.shift) > rules.step else old.shift
        changed[cell] = replace(new, shift=wider)
    return changed


def _exact(evidence: Evidence, wider: float, rules: Rules) -> float:
    """The shift of a cell by all its evidence, shrunk towards that of the wider cell."""
    surprise = evidence.successes - evidence.expected - evidence.trials * wider
    return wider + surprise / (evidence.trials + rules.strength)


def shift(table: Mapping[Cell, Evidence], path: Sequence[Cell]) -> float:
    """What is to be added to the predictor's p: the shift of the narrowest cell with evidence, 0 without any."""
    known = [table[cell].shift for cell in path if cell in table]
    return known[-1] if known else 0.0


def shifted(p: NDArray[np.float32], by: NDArray[np.float32] | float) -> NDArray[np.float32]:
    """The prediction with what was learned since, in [0, 1], rounded as predictions are."""
    moved: NDArray[np.float32] = np.clip(p + by, 0, 1).round(P_DIGITS).astype(np.float32)
    return moved
