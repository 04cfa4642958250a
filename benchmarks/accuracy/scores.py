"""What the scores of boxes are worth: whether they rank right boxes above wrong ones, and more.

A box is judged by its IoU with the thing that was asked for; the IoU is 0 where that is absent.
Scores are about places within an eighth of a side, so about IoU ≥ 0.56. They do not claim more:
the table of `worth` shows how many boxes of a score reach IoU ≥ 0.5 and how many IoU ≥ 0.8.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.table import Table

LIMITS = (0.5, 0.8)
"""The IoUs from which on a box counts as right, one after the other."""

FEWEST = 5
"""Boxes of either kind without which their ranking says nothing."""

STEPS = (0.0, 0.5, 0.8, 0.9, 0.95, 0.98, 1.0)
"""Where the bands of scores begin and end."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A box: its score, and its IoU with what was asked for."""

    score: float
    iou: float


def auroc(judged: Iterable[Judged], limit: float) -> float:
    """Return the probability that a box of IoU ≥ `limit` has a higher score than another.

    NaN without both kinds.
    """
    judged = tuple(judged)
    right = [one.score for one in judged if one.iou >= limit]
    wrong = [one.score for one in judged if one.iou < limit]
    wins = sum((r > w) + (r == w) / 2 for r in right for w in wrong)
    return wins / (len(right) * len(wrong)) if right and wrong else math.nan


def share(judged: Sequence[Judged], limit: float) -> float:
    """Return the share of the boxes that reach IoU `limit`; NaN without boxes."""
    return sum(one.iou >= limit for one in judged) / len(judged) if judged else math.nan


def bands(judged: Sequence[Judged]) -> list[tuple[float, float, list[Judged]]]:
    """Return the boxes by bands of their score, each with its beginning and end; no empty band."""
    cut = [
        (low, high, [one for one in judged if low <= one.score < high or one.score == high == 1])
        for low, high in itertools.pairwise(STEPS)
    ]
    return [band for band in cut if band[2]]


def worth(title: str, judged: Sequence[Judged]) -> Table:
    """Return a table of the mean score and the share of right boxes in each band of scores.

    Below it stands the AUROC for each of `LIMITS`.
    """
    areas = (_rank(judged, limit) for limit in LIMITS)
    table = Table(title=title, caption=f"AUROC {', '.join(areas)}")
    for column in ("score", "mean", *(f"IoU ≥ {limit}" for limit in LIMITS), "of"):
        table.add_column(column, justify="right")
    for low, high, band in [*bands(judged), (0.0, 1.0, list(judged))]:
        mean = sum(one.score for one in band) / len(band) if band else math.nan
        shares = (f"{share(band, limit):.3f}" for limit in LIMITS)
        table.add_row(f"{low:.2f} to {high:.2f}", f"{mean:.3f}", *shares, str(len(band)))
    return table


def _rank(judged: Sequence[Judged], limit: float) -> str:
    wrong = sum(one.iou < limit for one in judged)
    area = auroc(judged, limit)
    value = "unknown" if math.isnan(area) else f"{area:.3f}"
    return f"{value} for IoU ≥ {limit} ({wrong} below)"
