"""What the tags that draw places share: from findings with a place to regions with a label."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from grounding.geometry import PERCENT, Box, Frame, Point
from grounding.labelstudio.config.interface import MAX_REGIONS, Control, Label
from grounding.labelstudio.controls.base import (
    Companion,
    Drop,
    Region,
    Results,
    complete,
    emitted_names,
    new_id,
)
from grounding.labelstudio.labels import match
from grounding.labelstudio.text import clean
from grounding.queries import Finding, Locate, Query

SAME_IOU = 0.98
"""Boxes of one label with this IoU or more differ by rounding only."""

SAME_LEFT = 2.1
"""Percent: boxes whose left sides are further apart have a lower IoU, whatever their size."""

NEAR = 0.03
"""A point within this share of the image's longer side of an excluded point is excluded."""

MAX_NOTE_CHARS = 1000

MIN_PIXELS = 1 - 1e-6
"""Least side of a box in pixels of the original; the difference from 1 is for rounding."""

Located = tuple[Finding, Locate]
"""A finding with a place, and the query that it answers."""


def write_places(
    control: Control,
    found: Sequence[tuple[Finding, Query]],
    image: Frame,
    companions: Sequence[Companion],
) -> Results:
    """Return the regions of a control that draws, each with its label and its companions.

    Where an annotator clicked or drew, only findings there count, unless there is none.
    """
    results = Results()
    kept: list[Candidate] = []
    for finding, query in _at_the_place(_located(found)):
        candidate = Candidate.of(control, finding, query, image)
        drop = candidate.flaw() or _surplus(candidate, kept)
        if drop:
            results.dropped[drop] += 1
            continue
        kept.append(candidate)
    best = _best(kept, control.options.max_regions)
    if len(best) < len(kept):
        results.dropped[Drop.TOO_MANY] += len(kept) - len(best)
    for candidate in best:
        results.result.extend(candidate.results(companions))
    return results


def _located(found: Iterable[tuple[Finding, Query]]) -> list[Located]:
    return [(f, q) for f, q in found if f.place is not None and isinstance(q, Locate)]


def _at_the_place(found: Sequence[Located]) -> Sequence[Located]:
    """Return the findings at the place that the query is about; all of them where none is."""
    return [pair for pair in found if _is_at_the_place(*pair)] or found


def _is_at_the_place(finding: Finding, query: Locate) -> bool:
    """Say whether the box contains the click, or the drawn box contains the box's centre."""
    place, around = finding.place, query.around
    if query.phrase or around is None or not isinstance(place, Box):
        return True
    return place.contains(around) if isinstance(around, Point) else around.contains(place.center)


def _best(kept: list[Candidate], most: int) -> list[Candidate]:
    """Return at most `most`, in order: those with the highest scores, or the first without any."""
    scores = [candidate.finding.score for candidate in kept]
    if len(kept) <= most or None in scores:
        return kept[:most]
    ranked = sorted(range(len(kept)), key=lambda i: scores[i] or 0, reverse=True)
    return [kept[i] for i in sorted(ranked[:most])]


def _surplus(candidate: Candidate, kept: Sequence[Candidate]) -> Drop | None:
    if len(kept) >= MAX_REGIONS:
        return Drop.TOO_MANY
    return Drop.DUPLICATE if any(map(candidate.repeats, kept)) else None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A finding that may become a region; `place` is in percent, inside the image."""

    control: Control
    finding: Finding
    place: Box | Point
    label: Label | None
    image: Frame
    excluded: tuple[Point, ...] = ()

    @classmethod
    def of(cls, control: Control, finding: Finding, query: Locate, image: Frame) -> Candidate:
        """Return what `finding`, an answer to `query`, would be on this control."""
        assert finding.place is not None  # noqa: S101  `_located` has left out the others
        place = finding.place.to(PERCENT).clip()
        label = _label(control, finding, query)
        return cls(control, finding, place, label, image, query.excluded)

    def flaw(self) -> Drop | None:
        """Return why this cannot be a region of the control, or None."""
        if self.finding.shape is not self.control.shape:
            return Drop.WRONG_SHAPE
        return next((drop for drop, holds in _FLAWS if holds(self)), None)

    def repeats(self, other: Candidate) -> bool:
        """Say whether `other` has the same label at the same place, but for rounding."""
        return _same_place(self.place, other.place) and self.label == other.label

    def results(self, companions: Sequence[Companion]) -> Iterator[Region]:
        """Yield the region, then its companions: each with the region's id and whole geometry.

        The page makes the region from the first result of an id, so the order matters.
        """
        region = self._region(with_text=not companions)
        control, kind = self.control, self.control.tag.lower()
        if control.labels_from is None and kind.endswith("labels"):
            yield complete(region, control.from_name, kind, emitted_names(kind, self.label))
        else:
            yield complete(region, control.from_name, kind, {})
            if self.label and control.labels_from:
                names = emitted_names("labels", self.label)
                yield complete(region, control.labels_from, "labels", names)
        for accompany in companions:
            yield from accompany(region, self.finding)

    def _region(self, *, with_text: bool) -> Region:
        """Return what all results of the region share: all but `from_name`, `type` and labels."""
        score, meta = self.finding.score, _meta(self.finding, with_text=with_text)
        return {
            "id": new_id(),
            "to_name": self.control.to_name,
            "original_width": round(self.image.width),
            "original_height": round(self.image.height),
            "image_rotation": 0,
            "value": _value(self.place, self.control),
            **({} if score is None else {"score": score}),
            **({"meta": meta} if meta else {}),
        }


def _label(control: Control, finding: Finding, query: Locate) -> Label | None:
    """Return the label of a finding: never one that the control lacks.

    Where the query was for one label, that label goes to every finding without a word of its own,
    and to every finding of a phrase or a drawn place: the model's word for those is rarely the
    label's name, and the annotator has said which label is meant.
    """
    wanted = set(query.classes)
    queried = [label for label in control.labels if wanted.intersection(label.words)]
    word = (finding.label or "").strip()
    if len(queried) == 1 and (query.phrase or query.around or not word):
        return queried[0]
    return match(word, control.labels)


def _meta(finding: Finding, *, with_text: bool) -> dict[str, list[str]]:
    """Return the notes that the page shows beside a region: its text, and what to check."""
    text = clean(finding.text or "")[:MAX_NOTE_CHARS] if with_text else ""
    notes = [note for note in (text, *finding.warnings) if note]
    return {"text": notes} if notes else {}


def _value(place: Box | Point, control: Control) -> dict[str, float]:
    """Return a place inside the image as Label Studio stores it, in percent.

    The floats x and width never add up to more than 100: 100 - x is rounded by less than half the
    gap between 100 and the next float.
    """
    if isinstance(place, Point):
        return {"x": place.x, "y": place.y, "width": control.options.point_width}
    return {
        "x": place.x1,
        "y": place.y1,
        "width": place.width,
        "height": place.height,
        "rotation": 0,
    }


def _same_place(a: Box | Point, b: Box | Point) -> bool:
    if isinstance(a, Point) or isinstance(b, Point):
        return a == b
    return abs(a.x1 - b.x1) <= SAME_LEFT and a.iou(b) >= SAME_IOU


def _not_finite(candidate: Candidate) -> bool:
    place, score = candidate.finding.place, candidate.finding.score
    sides = (place.width, place.height) if isinstance(place, Box) else ()
    spot = (place.x, place.y) if isinstance(place, Point) else ()
    return not all(map(math.isfinite, (*sides, *spot, score or 0)))


def _too_small(candidate: Candidate) -> bool:
    if isinstance(candidate.place, Point):
        return False
    seen = candidate.place.to(candidate.image)
    return min(seen.width, seen.height) < MIN_PIXELS


def _excluded(candidate: Candidate) -> bool:
    """Say whether the annotator excluded a point in this box, or close to this point."""
    place = candidate.place
    if isinstance(place, Box):
        return any(map(place.contains, candidate.excluded))
    return any(place.apart(spot, candidate.image) <= NEAR for spot in candidate.excluded)


def _unknown_label(candidate: Candidate) -> bool:
    return candidate.label is None and bool(candidate.control.labels)


def _low_score(candidate: Candidate) -> bool:
    score, least = candidate.finding.score, candidate.control.options.score_threshold
    return score is not None and least is not None and score < least


_FLAWS = (
    (Drop.NOT_FINITE, _not_finite),
    (Drop.TOO_SMALL, _too_small),
    (Drop.EXCLUDED, _excluded),
    (Drop.UNKNOWN_LABEL, _unknown_label),
    (Drop.LOW_SCORE, _low_score),
)
