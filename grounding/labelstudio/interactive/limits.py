"""Applies the limits that an annotator sets on the page with `<Number>` tags.

`<Number name="score_threshold" …>` is the least score: 0 to 1, or a percentage above 1.
`<Number name="max_regions" …>` is the most regions. Both narrow what the config's own attributes
let through. They apply to each request, after the job, so the job's prediction stays the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from grounding.labelstudio.config.interface import MAX_REGIONS
from grounding.labelstudio.controls.base import Region
from grounding.labelstudio.interactive.existing import RegionGroup, group_regions
from grounding.labelstudio.places import Result, read_text

PER_CENT = 100
"""A score threshold above 1 counts hundredths."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The least score (a probability) and the most regions; None is no limit."""

    score_threshold: float | None = None
    max_regions: int | None = None


@dataclass(frozen=True, slots=True)
class LimitedResult:
    """What is within the limits, and how many regions are left out by score and by number."""

    result: list[Region]
    too_low: int
    too_many: int


def read_limits(results: Iterable[Result]) -> Limits:
    """Return the limits that `<Number>` tags among `results` set, the first of each name.

    A number that cannot be a limit, such as a negative one, sets none.
    """
    numbers: dict[str, object] = {}
    for r in results:
        if r.get("type") == "number" and isinstance(r.get("value"), Mapping):
            name = (read_text(r, "from_name") or "").casefold()
            numbers.setdefault(name, r["value"].get("number"))
    least = _find_number(numbers, "score_threshold")
    most = _find_number(numbers, "max_regions")
    return Limits(
        None if least is None else _to_probability(least),
        int(min(most, MAX_REGIONS)) if most is not None and most >= 1 else None,
    )


def apply_limits(result: Sequence[Region], limits: Limits) -> LimitedResult:
    """Return the part of a prediction's result that is within `limits`, in the same order.

    Of too many regions, those with the highest scores stay. A region without a score is never
    too low.
    """
    regions = group_regions(result)
    least = limits.score_threshold or 0.0
    enough = [group for group in regions if _score(group, 1.0) >= least]
    best = sorted(range(len(enough)), key=lambda n: -_score(enough[n], 0.0))[: limits.max_regions]
    kept = [enough[n] for n in sorted(best)]
    within = [region for group in kept for region in group]
    too_low, too_many = len(regions) - len(enough), len(enough) - len(kept)
    return LimitedResult(within, too_low, too_many)  # type: ignore[arg-type]


def _find_number(numbers: Mapping[str, object], prefix: str) -> float | None:
    found = (n for name, n in numbers.items() if name.startswith(prefix))
    return next((n for n in found if isinstance(n, int | float)), None)


def _to_probability(number: float) -> float | None:
    if 0 <= number <= 1:
        return number
    return number / PER_CENT if 1 < number <= PER_CENT else None


def _score(group: RegionGroup, default: float) -> float:
    scores = [r["score"] for r in group if "score" in r]
    return scores[0] if scores else default
