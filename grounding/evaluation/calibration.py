"""Whether scores can be trusted, and which threshold gives a wanted precision."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from grounding.evaluation.matching import Outcome

BINS = 10
MIN_KEPT = 20
"""Fewest predictions that a threshold may be advised on."""
DECIMALS = 3

Scored = tuple[float, bool]
"""A score, and whether the region that has it is right."""


@dataclass(frozen=True, slots=True)
class Bin:
    """The scores from `low` to `high`: their mean, and the share of their regions that is right."""

    low: float
    high: float
    count: int
    mean: float
    right: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """How scores and truth go together.

    `error` is the expected calibration error: how far the bins' mean scores are from the shares
    that are right, weighted by their counts. 0 is perfect.
    """

    count: int
    bins: tuple[Bin, ...]
    error: float


@dataclass(frozen=True, slots=True)
class Advice:
    """The lowest threshold at which a control reaches the wanted precision.

    `low` and `high` bound the precision there (Wilson, 95 %). `threshold` is 0 where all may stay.
    """

    control: str
    threshold: float
    precision: float
    low: float
    high: float
    recall: float
    kept: int


@dataclass(frozen=True, slots=True)
class Step:
    """Precision and recall of what has at least this score."""

    threshold: float
    precision: float
    recall: float
    kept: int


def scored(outcomes: Iterable[Outcome], control: str | None = None) -> list[Scored]:
    """Return the scores of all predicted units that have one, or of one control's."""
    return [
        (guess.region.score, guess.right)
        for outcome in outcomes
        for guess in outcome.guesses
        if guess.region.score is not None and control in (None, guess.region.control)
    ]


def reliability(pairs: Sequence[Scored]) -> Reliability | None:
    """Return the reliability of scores in ten bins of equal width; None without scores."""
    if not pairs:
        return None
    groups: defaultdict[int, list[Scored]] = defaultdict(list)
    for score, right in pairs:
        groups[min(BINS - 1, max(0, int(score * BINS)))].append((score, right))
    bins = tuple(_bin(n, group) for n, group in sorted(groups.items()))
    error = sum(one.count * abs(one.mean - one.right) for one in bins) / len(pairs)
    return Reliability(len(pairs), bins, error)


def _bin(number: int, group: Sequence[Scored]) -> Bin:
    mean, right = fmean(score for score, _ in group), fmean(right for _, right in group)
    return Bin(number / BINS, (number + 1) / BINS, len(group), mean, right)


def steps(pairs: Sequence[Scored], wanted: int) -> list[Step]:
    """Return precision and recall at each threshold that changes something, the lowest first.

    `wanted` is how many units there are to find.
    """
    found: list[Step] = []
    right = kept = 0
    ranked = sorted(pairs, reverse=True)
    for i, (score, hit) in enumerate(ranked):
        right, kept = right + hit, kept + 1
        threshold = _floor(score)
        if i + 1 == len(ranked) or _floor(ranked[i + 1][0]) < threshold:
            recall = right / wanted if wanted else 0.0
            found.append(Step(threshold, right / kept, recall, kept))
    return found[::-1]


def _floor(score: float) -> float:
    """Return a score as a threshold is written, rounded down: the score itself passes it."""
    scale = 10.0**DECIMALS
    return math.floor(score * scale) / scale


def advise(control: str, pairs: Sequence[Scored], wanted: int, precision: float) -> Advice | None:
    """Return the lowest threshold that reaches `precision` on at least 20 units; None of none."""
    good = [s for s in steps(pairs, wanted) if s.kept >= MIN_KEPT and s.precision >= precision]
    if not good:
        return None
    best = good[0]
    low, high = wilson(round(best.precision * best.kept), best.kept)
    threshold = 0.0 if best.kept == len(pairs) else best.threshold
    return Advice(control, threshold, best.precision, low, high, best.recall, best.kept)


def wilson(right: int, count: int) -> tuple[float, float]:
    """Return the bounds of a share by Wilson's rule, at 95 %."""
    z = 1.959964
    share, scale = right / count, 1 + z * z / count
    middle = (share + z * z / (2 * count)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - half), min(1.0, middle + half)
