"""How sure a figure is, by drawing the tasks again: confidence intervals, and two versions apart.

The bootstrap draws whole tasks, because the regions of one task are right or wrong together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from grounding.evaluation.matching import Outcome

DRAWS = 2000
SEED = 17
"""Fixed, so that the same files give the same report."""
BLOCK = 100
"""Draws at once, so that many tasks need little memory."""

Measure = Literal["precision", "recall", "f1"]
MEASURES: tuple[Measure, ...] = ("precision", "recall", "f1")
Sums = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure with the bounds that hold 95 % of the draws."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """By how much a version exceeds the other, and in which share of the draws it does."""

    measure: Measure
    interval: Interval
    better: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves no doubt about the sign."""
        return self.interval.low > 0 or self.interval.high < 0


def intervals(outcomes: Sequence[Outcome]) -> dict[Measure, Interval | None]:
    """Return precision, recall and F1 over all units, each with its interval."""
    if not outcomes:
        return dict.fromkeys(MEASURES)
    counts = _counts(outcomes)
    draws = _draw(counts)
    whole = counts.sum(axis=0)
    return {
        measure: _interval(_ratio(whole, measure), _ratio(draws, measure)) for measure in MEASURES
    }


def differences(some: Sequence[Outcome], others: Sequence[Outcome]) -> list[Difference]:
    """Return by how much `some` are better than `others`, the same tasks in the same order.

    Both are drawn together: a task that is hard for one is hard for the other.
    """
    if not some:
        return []
    counts = np.hstack([_counts(some), _counts(others)])
    draws, whole = _draw(counts), counts.sum(axis=0)
    found = []
    for measure in MEASURES:
        spread = _ratio(draws[:, :3], measure) - _ratio(draws[:, 3:], measure)
        value = _ratio(whole[:3], measure) - _ratio(whole[3:], measure)
        interval = _interval(value, spread)
        if interval is not None:
            better = float(np.mean(spread[~np.isnan(spread)] > 0))
            found.append(Difference(measure, interval, better))
    return found


def mean_interval(values: Sequence[float]) -> Interval | None:
    """Return the mean of one value per task, with its interval; None of none."""
    if not values:
        return None
    column = np.asarray(values, dtype=float)[:, None]
    draws = _draw(column)[:, 0] / len(values)
    return _interval(column.mean(axis=0)[0], draws)


def _counts(outcomes: Sequence[Outcome]) -> Sums:
    """Return a row for each task: how many are right, predicted and wanted."""
    rows = [(sum(g.right for g in o.guesses), len(o.guesses), len(o.wanted)) for o in outcomes]
    return np.asarray(rows, dtype=float)


def _draw(counts: Sums) -> Sums:
    """Return the sums over the tasks of each draw, a row for each."""
    chance, size = np.random.default_rng(SEED), len(counts)
    shares = np.full(size, 1 / size)
    blocks = [chance.multinomial(size, shares, size=BLOCK) @ counts for _ in range(DRAWS // BLOCK)]
    return np.vstack(blocks)


def _ratio(sums: Sums, measure: Measure) -> Sums:
    """Return the measure of sums whose last axis is right, predicted and wanted."""
    right, guessed, wanted = sums[..., 0], sums[..., 1], sums[..., 2]
    below = {"precision": guessed, "recall": wanted, "f1": (guessed + wanted) / 2}[measure]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(right / below)


def _interval(value: Sums | float, draws: Sums) -> Interval | None:
    known = draws[~np.isnan(draws)]
    if np.isnan(value) or not len(known):
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return Interval(float(value), float(low), float(high))
