"""What is to be assigned: jobs as columns, and one job as the local rule sees it.

Columns because a batch has 50,000 lines and 20 models: a million pairs, which a loop does not get through in a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from router_service.routing.prices import ROUNDS, key_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Floats: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.float64]]
Flags: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.bool_]]
Ints: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.int64]]
Keys: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.uint64]]

TWO_64 = 2**64
ENOUGH = 20_000  # jobs on which prices are found; a share of these is known to 0.4 %
MOST_PAIRS = 2_000_000  # of a job and a model that are looked at: with more than 100 models fewer jobs are
LEAST = 1000  # jobs, whatever the number of models


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """What one model promises for one job: expected values, `quality` the probability of a right answer."""

    quality: float
    cost_usd: float
    tokens_out: float
    latency_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job with the models that may do it, by id. `key` stands for the job's id in every tie: see `key_of`."""

    key: int
    tokens_in: float
    offers: Mapping[str, Offer]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Jobs:
    """A batch: `keys` and `tokens_in` have a value for each of n jobs, the others n rows with a column for each model.

    Where `eligible` is False the other columns are not looked at. A job must be eligible somewhere to be assigned.
    Raises ValueError where the shapes do not fit, or a value that counts is not finite or negative.
    """

    models: tuple[str, ...]
    keys: Keys
    tokens_in: Floats
    quality: Floats
    cost_usd: Floats
    tokens_out: Floats
    latency_s: Floats
    eligible: Flags

    def __post_init__(self) -> None:
        count, width = len(self.keys), len(self.models)
        if self.tokens_in.shape != (count,):
            raise ValueError(f"tokens_in has the shape {self.tokens_in.shape}; {count} keys ask for ({count},)")
        for name in ("quality", "cost_usd", "tokens_out", "latency_s", "eligible"):
            column = getattr(self, name)
            if column.shape != (count, width):
                raise ValueError(f"{name} has the shape {column.shape}; it must be (jobs, models) = ({count}, {width})")
            counted = column[self.eligible] if name != "eligible" else np.zeros(0)
            if not np.isfinite(counted).all() or (counted < 0).any():
                raise ValueError(f"{name} holds a value that is negative or not finite where a model is eligible")

    def __len__(self) -> int:
        return len(self.keys)

    def take(self, rows: Ints) -> Jobs:
        """The jobs of these rows, in this order."""
        return Jobs(
            models=self.models,
            keys=self.keys[rows],
            tokens_in=self.tokens_in[rows],
            quality=self.quality[rows],
            cost_usd=self.cost_usd[rows],
            tokens_out=self.tokens_out[rows],
            latency_s=self.latency_s[rows],
            eligible=self.eligible[rows],
        )

    def job(self, row: int) -> Job:
        """One row as the local rule takes it."""
        offers = {
            model: Offer(
                quality=float(self.quality[row, at]),
                cost_usd=float(self.cost_usd[row, at]),
                tokens_out=float(self.tokens_out[row, at]),
                latency_s=float(self.latency_s[row, at]),
            )
            for at, model in enumerate(self.models)
            if self.eligible[row, at]
        }
        return Job(key=int(self.keys[row]), tokens_in=float(self.tokens_in[row]), offers=offers)

    @classmethod
    def of(cls, jobs: Sequence[Job]) -> Jobs:
        """Columns from single jobs; the models are all that occur, in the order of their ids."""
        models = tuple(sorted({model for job in jobs for model in job.offers}))
        columns = np.zeros((4, len(jobs), len(models)))
        eligible = np.zeros((len(jobs), len(models)), dtype=np.bool_)
        place = {model: at for at, model in enumerate(models)}
        for row, job in enumerate(jobs):
            for model, offer in job.offers.items():
                at = place[model]
                columns[:, row, at] = offer.quality, offer.cost_usd, offer.tokens_out, offer.latency_s
                eligible[row, at] = True
        return cls(
            models=models,
            keys=np.array([job.key for job in jobs], dtype=np.uint64),
            tokens_in=np.array([job.tokens_in for job in jobs], dtype=np.float64),
            quality=columns[0],
            cost_usd=columns[1],
            tokens_out=columns[2],
            latency_s=columns[3],
            eligible=eligible,
        )


def enough(models: int, most: int = ENOUGH) -> int:
    """How many jobs to look at, with so many models on offer."""
    return min(most, max(LEAST, MOST_PAIRS // max(1, models)))


def sample_of(jobs: Jobs) -> Jobs:
    """Enough of them, always the same: the least keys, which are hashes and so have nothing to do with the jobs' content."""
    most = enough(len(jobs.models))
    if len(jobs) <= most:
        return jobs
    return jobs.take(np.sort(np.argsort(jobs.keys, kind="stable")[:most]))


def lots_of(keys: Keys, models: Sequence[str]) -> Floats:
    """A number in (0, 1) for each job and model, always the same: what decides between models that are as good for a job."""
    names = np.array([key_of(model) for model in models], dtype=np.uint64)
    mixed = keys[:, None] ^ names[None, :]
    for shift, factor in ROUNDS:
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    mixed ^= mixed >> np.uint64(31)
    return (mixed.astype(np.float64) + 0.5) / TWO_64 * (1 - 2e-16) + 1e-17
