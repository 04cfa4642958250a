"""How much of an answer an annotator wants: `<Number>` tags of the page.

`<Number name="score_threshold" …>` is the least score, 0 to 1, or in percent above 1, and
`<Number name="max_regions" …>` the most regions. They narrow what the config's own attributes
let through, request by request, on an answer that stays the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from grounding.labelstudio.config.interface import MAX_REGIONS
from grounding.labelstudio.controls.base import Region
from grounding.labelstudio.interactive.existing import Group, grouped
from grounding.labelstudio.places import Result, word

PER_CENT = 100
"""A score threshold above 1 counts hundredths."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The least score (a probability) and the most regions; None where there is no limit."""

    score_threshold: float | None = None
    max_regions: int | None = None


@dataclass(frozen=True, slots=True)
class Limited:
    """What is within the limits, and how many regions are not, for want of score or of room."""

    result: list[Region]
    too_low: int
    too_many: int


def read_limits(results: Iterable[Result]) -> Limits:
    """Return the limits that `<Number>` tags among `results` set, the first of each name.

    What is no limit, such as a negative number, sets none.
    """
    numbers: dict[str, object] = {}
    for r in results:
        if r.get("type") == "number" and isinstance(r.get("value"), Mapping):
            name = (word(r, "from_name") or "").casefold()
            numbers.setdefault(name, r["value"].get("number"))
    least = _named(numbers, "score_threshold")
    most = _named(numbers, "max_regions")
    return Limits(
        None if least is None else _probability(least),
        int(min(most, MAX_REGIONS)) if most is not None and most >= 1 else None,
    )


def limited(result: Sequence[Region], limits: Limits) -> Limited:
    """Return what of a prediction's result is within `limits`, in the same order.

    Where there are too many, the best stay. A region without a score is never too low.
    """
    regions = grouped(result)
    least = limits.score_threshold or 0.0
    enough = [group for group in regions if _score(group, 1.0) >= least]
    best = sorted(range(len(enough)), key=lambda n: -_score(enough[n], 0.0))[: limits.max_regions]
    kept = [enough[n] for n in sorted(best)]
    within = [region for group in kept for region in group]
    return Limited(within, len(regions) - len(enough), len(enough) - len(kept))  # type: ignore[arg-type]


def _named(numbers: Mapping[str, object], start: str) -> float | None:
    found = (n for name, n in numbers.items() if name.startswith(start))
    return next((n for n in found if isinstance(n, int | float)), None)


def _probability(number: float) -> float | None:
    if 0 <= number <= 1:
        return number
    return number / PER_CENT if 1 < number <= PER_CENT else None


def _score(group: Group, without: float) -> float:
    scores = [r["score"] for r in group if "score" in r]
    return scores[0] if scores else without
