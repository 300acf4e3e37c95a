"""Labelled examples: texts, and for each model whether it answered right and at what length, as far as that is known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Self

import numpy as np

from router_service.errors import InvalidRequestError
from router_service.prediction.features import stem

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Examples:
    """`outcomes` [texts, models] in [0, 1] and `tokens_out` [texts, models]; NaN where it is not known."""

    source: str
    texts: tuple[str, ...]
    domains: tuple[str | None, ...]
    models: tuple[str, ...]
    outcomes: NDArray[np.float64]
    tokens_out: NDArray[np.float64]

    def __post_init__(self) -> None:
        shape = (len(self.texts), len(self.models))
        if self.outcomes.shape != shape or self.tokens_out.shape != shape or len(self.domains) != len(self.texts):
            raise InvalidRequestError(
                f"{self.source}: outcomes, tokens and domains must be for {shape} texts and models"
            )
        known = self.outcomes[~np.isnan(self.outcomes)]
        if known.size and not (known.min() >= 0 and known.max() <= 1):
            raise InvalidRequestError(f"{self.source}: an outcome is not between 0 and 1")
        lengths = self.tokens_out[~np.isnan(self.tokens_out)]
        if lengths.size and not (lengths.min() >= 0 and lengths.max() < np.inf):
            raise InvalidRequestError(f"{self.source}: a length in tokens is negative or infinite")

    def rows(self, chosen: NDArray[np.intp]) -> Self:
        """The examples at these places."""
        return type(self)(
            source=self.source,
            texts=tuple(self.texts[row] for row in chosen),
            domains=tuple(self.domains[row] for row in chosen),
            models=self.models,
            outcomes=self.outcomes[chosen],
            tokens_out=self.tokens_out[chosen],
        )


def renamed(part: Examples, names: Mapping[str, str]) -> Examples:
    """The same examples with some domains under other names."""
    return replace(part, domains=tuple(names.get(domain, domain) if domain else domain for domain in part.domains))


def with_bare_copies(part: Examples) -> Examples:
    """Each question that has options a second time without them: requests have none, and their form must not decide."""
    bare = [stem(text) for text in part.texts]
    rows = np.array([row for row, text in enumerate(part.texts) if bare[row] != text], np.intp)
    copies = replace(part.rows(rows), texts=tuple(bare[row] for row in rows))
    return _concatenate([part, copies]) if len(rows) else part


def join(parts: Sequence[Examples]) -> list[Examples]:
    """Parts that share a model become one, with the models of both; parts without a common model stay apart.

    What a model did tells of its neighbours only within one part: there the same questions were put to all of them.
    """
    joined: list[Examples] = []
    for part in parts:
        kin = [each for each in joined if set(each.models) & set(part.models)]
        joined = [each for each in joined if not any(each is other for other in kin)]
        joined.append(_concatenate([*kin, part]) if kin else part)
    return joined


def _concatenate(parts: Sequence[Examples]) -> Examples:
    models = tuple(dict.fromkeys(model for part in parts for model in part.models))
    return Examples(
        source=" + ".join(part.source for part in parts),
        texts=tuple(text for part in parts for text in part.texts),
        domains=tuple(domain for part in parts for domain in part.domains),
        models=models,
        outcomes=np.vstack([_spread(part.outcomes, part.models, models) for part in parts]),
        tokens_out=np.vstack([_spread(part.tokens_out, part.models, models) for part in parts]),
    )


def _spread(values: NDArray[np.float64], models: Sequence[str], all_models: Sequence[str]) -> NDArray[np.float64]:
    out = np.full((len(values), len(all_models)), np.nan)
    out[:, [all_models.index(model) for model in models]] = values
    return out
