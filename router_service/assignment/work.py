"""Alike jobs as one: `works_of(jobs)` cuts a batch into at most some hundreds of classes for the linear program.

First by the set of eligible models and by a choice among them, then, as a k-d tree does, at the mean of the feature that differs
most, always in the class that would gain most. The same batch always gives the same classes.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from router_service.assignment.jobs import Flags, Floats, Ints, Jobs

Bytes: TypeAlias = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

MOST = 300
MOST_COLUMNS = 30_000  # classes x models; with more than 100 models there are fewer classes
LEAST = 60
MANY = 20_000  # jobs that are looked at to choose a cut; more differ in the third digit
ALIKE = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Work:
    """Alike jobs: how many, and their means. Columns are models, as in Jobs.

    `count` has one value for each class, `tokens_in` too; `label` has the class of each job.
    """

    count: Floats
    tokens_in: Floats
    quality: Floats
    cost_usd: Floats
    tokens_out: Floats
    latency_s: Floats
    eligible: Flags
    label: Ints


def works_of(jobs: Jobs, *, choice: Ints | None = None, most: int | None = None) -> Work:
    """At most `most` classes, or one for each set of eligible models and choice where there are more of those.

    Without `most` there are as many as suit the number of models.

    Jobs of a class have the same `choice`: a column for each job that an assignment might take, that of the best quality where
    none is given. So that assignment is one that classes can express.
    Sets of eligible models beyond a third of `most` are not told apart: their jobs have nothing but their choice.
    """
    if most is None:
        most = min(MOST, max(LEAST, MOST_COLUMNS // len(jobs.models)))
    if choice is None:
        choice = np.asarray(np.where(jobs.eligible, jobs.quality, -1.0).argmax(axis=1), dtype=np.int64)
    eligible = _few_sets(jobs.eligible, choice, most // 3)
    label = _labels(_features(jobs), _numbered(np.column_stack([np.packbits(eligible, axis=1), choice])), most)
    count = np.bincount(label).astype(np.float64)
    first = np.unique(label, return_index=True)[1]
    order = np.argsort(label, kind="stable")
    starts = np.concatenate([[0], np.cumsum(count[:-1])]).astype(np.int64)

    def mean(column: Floats) -> Floats:
        total = np.add.reduceat(column[order], starts, axis=0)
        return np.asarray(total / (count if column.ndim == 1 else count[:, None]), dtype=np.float64)

    def seen(column: Floats) -> Floats:
        return np.where(eligible, column, 0.0)

    tokens_in, tokens_out = mean(jobs.tokens_in), mean(seen(jobs.tokens_out))
    return Work(
        count=count,
        tokens_in=tokens_in,
        quality=mean(seen(jobs.quality)),
        cost_usd=mean(seen(jobs.cost_usd)),
        tokens_out=tokens_out,
        latency_s=mean(seen(jobs.latency_s)),
        eligible=eligible[first],
        label=label,
    )


def _few_sets(eligible: Flags, choice: Ints, most: int) -> Flags:
    """The most frequent sets as they are, of the others only the choice: no model that is not eligible."""
    number = _numbered(np.packbits(eligible, axis=1))
    count = np.bincount(number)
    if len(count) <= most:
        return eligible
    is_rare = np.ones(len(count), dtype=np.bool_)
    is_rare[np.argsort(-count, kind="stable")[:most]] = False
    only = np.zeros_like(eligible)
    only[np.arange(len(choice)), choice] = True
    return np.where(is_rare[number][:, None], only, eligible)


def _numbered(rows: Ints | Bytes) -> Ints:
    """A number for each different row."""
    return np.asarray(np.unique(rows, axis=0, return_inverse=True)[1], dtype=np.int64).reshape(-1)


def _features(jobs: Jobs) -> Floats:
    """What tells jobs apart: qualities, costs and lengths, each on the scale on which it matters."""
    seen = jobs.eligible
    cost, tokens, wait = (np.where(seen, each, 0.0) for each in (jobs.cost_usd, jobs.tokens_out, jobs.latency_s))
    parts = [np.where(seen, jobs.quality, 0.0)]
    parts += [0.3 * each / max(float(each.mean(where=seen)), 1e-12) for each in (cost, tokens, wait)]
    parts.append(0.3 * jobs.tokens_in[:, None] / max(float(jobs.tokens_in.mean()), 1e-12))
    return np.concatenate(parts, axis=1)


def _labels(features: Floats, sets: Ints, most: int) -> Ints:
    leaves: list[tuple[float, int, int, float, Ints]] = []
    for number in range(int(sets.max()) + 1):
        rows: Ints = np.flatnonzero(sets == number).astype(np.int64)
        heapq.heappush(leaves, (*_gain(features, rows, number), rows))
    made = len(leaves)
    while len(leaves) < most and leaves[0][0] < -ALIKE:
        _gained, _number, at, mean, rows = heapq.heappop(leaves)
        low = features[rows, at] <= mean
        for part in (rows[low], rows[~low]):
            heapq.heappush(leaves, (*_gain(features, part, made), part))
            made += 1
    label = np.empty(len(features), dtype=np.int64)
    for number, leaf in enumerate(sorted(leaves, key=lambda leaf: leaf[1])):
        label[leaf[4]] = number
    return label


def _gain(features: Floats, rows: Ints, number: int) -> tuple[float, int, int, float]:
    """Minus the spread that a cut would take from these rows (0: none), a number that breaks ties, the feature, its mean."""
    seen = features[rows] if len(rows) <= MANY else features[rows[:: len(rows) // MANY + 1]]
    spread = seen.var(axis=0)
    at = int(spread.argmax())
    mean = float(seen[:, at].mean())
    values = features[rows, at]
    can_be_cut = float(spread[at]) > ALIKE**1.5 and bool((values <= mean).any()) and bool((values > mean).any())
    return (-float(spread[at]) * len(rows) if can_be_cut else 0.0), number, at, mean
