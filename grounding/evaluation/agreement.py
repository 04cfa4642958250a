"""The model as one more annotator: does it agree with people as people agree with each other?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean, median

from grounding.evaluation.matching import pair_up, units
from grounding.evaluation.records import Labelling, TaskRecord
from grounding.evaluation.resampling import Interval, mean_interval

MIN_TIMED = 5
"""Fewest annotations of either sort that times are compared on."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Mean agreement in tasks that several people annotated: among them, and with the model."""

    tasks: int
    people: Interval | None
    model: Interval | None


@dataclass(frozen=True, slots=True)
class Times:
    """Median seconds of annotations that began as a prediction, and of the others."""

    prelabelled: float
    prelabelled_count: int
    scratch: float
    scratch_count: int


def agree(some: Labelling, others: Labelling) -> float:
    """Return the share of units that two labellings have in common (Dice's), 0 to 1; symmetric.

    Two empty ones agree wholly.
    """
    mine, theirs = units(some), units(others)
    both = len(mine) + len(theirs)
    return 2 * len(pair_up(mine, theirs)) / both if both else 1.0


def agreement(pairs: Iterable[tuple[TaskRecord, Labelling]]) -> Agreement:
    """Return the agreement over tasks with at least two annotations, each with its prediction."""
    people: list[float] = []
    model: list[float] = []
    for task, prediction in pairs:
        if len(task.annotations) > 1:
            people.append(fmean(agree(a, b) for a, b in combinations(task.annotations, 2)))
            model.append(fmean(agree(prediction, a) for a in task.annotations))
    return Agreement(len(people), mean_interval(people), mean_interval(model))


def times(tasks: Sequence[TaskRecord]) -> Times | None:
    """Return how long annotators took with pre-labels and without; None where one has too few.

    The times are Label Studio's `lead_time`: while the page is open, pauses included.
    """
    timed = [a for task in tasks for a in task.annotations if a.seconds]
    ours = [a.seconds for a in timed if a.prelabelled and a.seconds]
    others = [a.seconds for a in timed if not a.prelabelled and a.seconds]
    if min(len(ours), len(others)) < MIN_TIMED:
        return None
    return Times(median(ours), len(ours), median(others), len(others))
