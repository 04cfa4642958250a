"""What the tags that draw places share: from findings with a place to regions with a label."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from grounding.geometry import PERCENT, Box, Frame, Point
from grounding.labelstudio.config.actions import match_action
from grounding.labelstudio.config.interface import Control, Label
from grounding.labelstudio.controls.base import (
    Companion,
    Companions,
    Drawn,
    Drop,
    Region,
    Results,
    complete,
    emitted_names,
    new_id,
)
from grounding.labelstudio.data import clean
from grounding.labelstudio.labels import find_queried, match
from grounding.labelstudio.places import BoxGrid, PointGrid, same_reaches
from grounding.labelstudio.reading import match_element
from grounding.queries import Act, Finding, ParseDocument, Placing, Query, Transcribe

SAME_IOU = 0.8
"""Boxes with this IoU or more are of one thing: a model writes it twice, a few pixels off."""

SAME_DISTANCE = 0.02
"""Points within this share of the image's longer side are on one thing, but for a crowd's."""

NEAR = 0.03
"""A point within this share of the image's longer side of an excluded point is excluded."""

MAX_NOTE_CHARS = 1000

MIN_PIXELS = 1 - 1e-6
"""Least side of a box in pixels of the original; the difference from 1 is for rounding."""

P = TypeVar("P", Box, Point)

Located = tuple[Finding, Placing]
"""A finding with a place, and the query that it answers."""


def write_places(
    control: Control,
    found: Sequence[tuple[Finding, Query]],
    image: Frame,
    companions: Companions,
) -> Results:
    """Return the regions of a control that draws, each with its label and its companions.

    Where an annotator clicked or drew, only findings there count, unless there is none.
    """
    results = Results()
    sound: list[Candidate] = []
    for finding, query in _at_the_place(_located(found)):
        candidate = Candidate.of(control, finding, query, image)
        if drop := candidate.flaw():
            results.drop(drop, finding.label)
        else:
            sound.append(candidate)
    different = _different(sound, image)
    best = _best(different, control.options.max_regions)
    results.dropped.update([Drop.DUPLICATE] * (len(sound) - len(different)))
    results.dropped.update([Drop.TOO_MANY] * (len(different) - len(best)))
    for candidate in best:
        mine = companions(candidate.label)
        region = candidate.region(with_text=not mine)
        results.result.extend(candidate.results(region, mine))
        results.drawn.append(Drawn(control, candidate.place, candidate.label, region))
    return results


def _located(found: Iterable[tuple[Finding, Query]]) -> list[Located]:
    """Return the findings with a place; a whole text has that of its view."""
    placing = [(finding, query) for finding, query in found if isinstance(query, Placing)]
    placed = [(replace(f, place=f.place or _place_of_view(q)), q) for f, q in placing]
    return [(finding, query) for finding, query in placed if finding.place is not None]


def _place_of_view(query: Placing) -> Box | None:
    return query.around if isinstance(query, Transcribe) else None


def _at_the_place(found: Sequence[Located]) -> Sequence[Located]:
    """Return the findings at the place that the query is about; all of them where none is."""
    return [pair for pair in found if _is_at_the_place(*pair)] or found


def _is_at_the_place(finding: Finding, query: Placing) -> bool:
    """Say whether the box contains the click, or the drawn box contains the box's centre."""
    place, around = finding.place, query.around
    if query.phrase or around is None or not isinstance(place, Box):
        return True
    return place.contains(around) if isinstance(around, Point) else around.contains(place.center)


def _different(candidates: Sequence[Candidate], image: Frame) -> list[Candidate]:
    """Return one candidate for each thing, in order: that with the best score, or the first.

    Those at one place are of one thing if they have the same label or answer the same query, which
    could have named each label. Two queries, each for a label of its own, may find a thing for
    each label.
    """
    taken = _Taken(candidates, image)
    kept = [i for i in _ranked(candidates) if taken.add(candidates[i])]
    return [candidates[i] for i in sorted(kept)]


def _best(candidates: Sequence[Candidate], most: int) -> list[Candidate]:
    """Return at most `most`, in order: those with the highest scores, or the first without any."""
    return [candidates[i] for i in sorted(_ranked(candidates)[:most])]


def _ranked(candidates: Sequence[Candidate]) -> list[int]:
    """Return the candidates' numbers, the highest score first; in order where one has none."""
    scores = [candidate.finding.score for candidate in candidates]
    if None in scores:
        return list(range(len(scores)))
    return sorted(range(len(scores)), key=lambda i: scores[i] or 0, reverse=True)


class Grid(Protocol[P]):
    """Places of one shape, found by a place close to them."""

    def add(self, place: P, /) -> None:
        """Keep `place`."""

    def near(self, place: P, /) -> Iterator[P]:
        """Yield each place that marks the same thing as `place`."""
        ...


class _Points:
    """A `Grid` of points, which knows beforehand all points that may come."""

    def __init__(self, points: Iterable[Point], image: Frame) -> None:
        self._reaches = same_reaches(points, image, SAME_DISTANCE)
        # Points that mark one thing have one reach.
        self._grids = {reach: PointGrid(image, reach) for reach in self._reaches.values()}

    def add(self, place: Point, /) -> None:
        self._grids[self._reaches[place]].add(place)

    def near(self, place: Point, /) -> Iterator[Point]:
        return self._grids[self._reaches[place]].near(place)


class _Taken:
    """The places that are taken, by label and by query, so that only neighbours are compared."""

    def __init__(self, candidates: Iterable[Candidate], image: Frame) -> None:
        self._boxes: defaultdict[object, BoxGrid] = defaultdict(lambda: BoxGrid(SAME_IOU))
        points: defaultdict[object, list[Point]] = defaultdict(list)
        for candidate in candidates:
            if isinstance(candidate.place, Point):
                for group in _groups(candidate):
                    points[group].append(candidate.place)
        self._points = {group: _Points(some, image) for group, some in points.items()}

    def add(self, candidate: Candidate) -> bool:
        """Take the candidate's place, unless another of the same thing has it: then False."""
        place, groups = candidate.place, _groups(candidate)
        if isinstance(place, Box):
            return _take(place, [self._boxes[group] for group in groups])
        return _take(place, [self._points[group] for group in groups])


def _groups(candidate: Candidate) -> tuple[object, object]:
    """Return the two groups in which a thing is found once: its label's and its query's."""
    return candidate.label, candidate.query


def _take(place: P, grids: Sequence[Grid[P]]) -> bool:
    if any(True for grid in grids for _ in grid.near(place)):
        return False
    for grid in grids:
        grid.add(place)
    return True


@dataclass(frozen=True, slots=True)
class Candidate:
    """A finding that may become a region; `place` is in percent, inside the image."""

    control: Control
    finding: Finding
    query: Placing
    place: Box | Point
    label: Label | None
    image: Frame

    @classmethod
    def of(cls, control: Control, finding: Finding, query: Placing, image: Frame) -> Candidate:
        """Return what `finding`, an answer to `query`, would be on this control."""
        assert finding.place is not None  # noqa: S101  `_located` has left out the others
        place = finding.place.to(PERCENT).clip()
        label = _label(control, finding, query)
        return cls(control, finding, query, place, label, image)

    def flaw(self) -> Drop | None:
        """Return why this cannot be a region of the control, or None."""
        if self.finding.shape is not self.control.shape:
            return Drop.WRONG_SHAPE
        return next((drop for drop, holds in _FLAWS if holds(self)), None)

    def results(self, region: Region, companions: Sequence[Companion]) -> Iterator[Region]:
        """Yield the region, then its companions: each with the region's id and whole geometry.

        The page makes the region from the first result of an id, so the order matters.
        """
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

    def region(self, *, with_text: bool) -> Region:
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


def _label(control: Control, finding: Finding, query: Placing) -> Label | None:
    """Return the label of a finding: never one that the control lacks.

    Where the query was for one label, that label goes to every finding without a word of its own,
    and to every finding of a phrase or a drawn place: the model's word for those is rarely the
    label's name, and the annotator has said which label is meant.
    """
    if isinstance(query, ParseDocument):
        return match_element(finding.label or "", control.labels)
    if isinstance(query, Act):
        alone = control.labels[0] if len(control.labels) == 1 else None
        return match_action(finding.label or "", control.labels) or alone
    queried = find_queried(query.classes, control.labels)
    word = (finding.label or "").strip()
    if queried and (query.phrase or query.around or not word):
        return queried
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
    place, excluded = candidate.place, candidate.query.excluded
    if isinstance(place, Box):
        return any(map(place.contains, excluded))
    return any(place.apart(spot, candidate.image) <= NEAR for spot in excluded)


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
