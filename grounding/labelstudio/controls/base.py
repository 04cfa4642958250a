"""What all control tags share: from a label's name to an ask, from a detection to a region.

A tag's own file says what is peculiar to it: the shape it draws, and where its labels go.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from grounding.geometry import PERCENT, Box, Frame, Point
from grounding.labelstudio.config.interface import Control, Label
from grounding.labelstudio.labels import match
from grounding.labelstudio.text import clean
from grounding.queries import Finding, Locate, Shape

Region = dict[str, Any]
"""One entry of a prediction's `result`, as Label Studio's JSON has it."""

ID_BYTES = 12
"""Ids of 16 letters: a region whose id is taken overwrites the one that has it."""

SAME_IOU = 0.98
"""Boxes of one label that overlap this much differ only by rounding."""

SAME_LEFT = 2.1
"""Percent: boxes whose left sides are further apart overlap less than that, whatever else."""

NEAR = 0.03
"""A point this close to "not here", by the longer side of the image, is there."""

MAX_NOTE_CHARS = 1000

MIN_PIXELS = 1 - 1e-6
"""Sides of a box below one pixel of the original show nothing; the rest is for rounding."""


class Drop(StrEnum):
    """Why a detection became no region."""

    WRONG_SHAPE = "wrong_shape"
    NOT_FINITE = "not_finite"
    TOO_SMALL = "too_small"
    EXCLUDED = "excluded"
    UNKNOWN_LABEL = "unknown_label"
    LOW_SCORE = "low_score"
    DUPLICATE = "duplicate"
    TOO_MANY = "too_many"


@dataclass(frozen=True, slots=True)
class ControlTag:
    """One kind of control: its tag, the shape it draws and how its regions are written.

    `write` takes the control, a region without `from_name` and `type`, and the label, if any.
    `labels_beside` says that the labels stand in a `<Labels>` on the same image.
    """

    tag: str
    shape: Shape
    write: Callable[[Control, Region, Label | None], list[Region]]
    labels_beside: bool = False


@dataclass(frozen=True, slots=True)
class Candidate:
    """A detection on its way to becoming a region: `place` is in percent, inside the image."""

    control: Control
    detection: Finding
    place: Box | Point
    label: Label | None
    image: Frame
    excluded: tuple[Point, ...] = ()

    @classmethod
    def of(cls, control: Control, detection: Finding, ask: Locate, image: Frame) -> Candidate:
        """Return what `detection`, an answer to `ask`, would be on this control."""
        place = detection.place.to(PERCENT).clip()
        label = _label(control, detection, ask)
        return cls(control, detection, place, label, image, ask.excluded)

    def flaw(self, shape: Shape) -> Drop | None:
        """Return why this cannot be a region of a control that draws `shape`, or None."""
        if self.detection.shape is not shape:
            return Drop.WRONG_SHAPE
        return next((drop for drop, holds in _FLAWS if holds(self)), None)

    def repeats(self, other: Candidate) -> bool:
        """Say whether `other` is the same label at the same place, but for rounding."""
        return _same_place(self.place, other.place) and self.label == other.label

    def region(self) -> Region:
        """Return the region without what its tag adds: `from_name`, `type` and labels."""
        score, meta = self.detection.score, _meta(self.detection)
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


def new_id() -> str:
    """Return an id that no region has."""
    return secrets.token_urlsafe(ID_BYTES)


def own_labels(control: Control, region: Region, label: Label | None) -> list[Region]:
    """Return the one result of a tag such as `<RectangleLabels>`."""
    kind = control.tag.lower()
    return [_result(region, control.from_name, kind, _names(kind, label))]


def labels_beside(control: Control, region: Region, label: Label | None) -> list[Region]:
    """Return the shape, and under the same id its label, for tags that go with `<Labels>`."""
    shape = _result(region, control.from_name, control.tag.lower(), {})
    if label is None or control.labels_from is None:
        return [shape]
    return [shape, _result(region, control.labels_from, "labels", _names("labels", label))]


def asked_labels(control: Control, classes: Iterable[str]) -> tuple[Label, ...]:
    """Return the labels that an ask for `classes` may yield."""
    wanted = set(classes)
    return tuple(label for label in control.labels if wanted.intersection(label.words))


def _label(control: Control, detection: Finding, ask: Locate) -> Label | None:
    """Return the label that a detection takes: never one that the control lacks.

    Where only one label was asked for, it takes all that came without a word of its own. It
    takes all that a phrase or a drawn place found too: what the model calls those is rarely the
    label's name, and the annotator has said which label is meant.
    """
    asked = asked_labels(control, ask.classes)
    word = (detection.label or "").strip()
    if len(asked) == 1 and (ask.phrase or ask.around or not word):
        return asked[0]
    return match(word, control.labels)


def _result(region: Region, from_name: str, kind: str, names: dict[str, list[str]]) -> Region:
    return {**region, "from_name": from_name, "type": kind, "value": {**region["value"], **names}}


def _names(key: str, label: Label | None) -> dict[str, list[str]]:
    return {} if label is None else {key: [label.emitted]}


def _meta(detection: Finding) -> dict[str, list[str]]:
    """Return what the page shows beside a region: what came with it, and what to look at twice."""
    notes = (clean(detection.text or "")[:MAX_NOTE_CHARS], *detection.warnings)
    text = [note for note in notes if note]
    return {"text": text} if text else {}


def _value(place: Box | Point, control: Control) -> dict[str, float]:
    """Return a place inside the image as Label Studio stores it, in percent.

    The floats x and width never add up to more than 100: the difference from 100 is rounded by
    less than half of what two neighbours of 100 are apart.
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
    place, score = candidate.detection.place, candidate.detection.score
    sides = (place.x, place.y) if isinstance(place, Point) else (place.width, place.height)
    return not all(map(math.isfinite, (*sides, score or 0)))


def _too_small(candidate: Candidate) -> bool:
    if isinstance(candidate.place, Point):
        return False
    seen = candidate.place.to(candidate.image)
    return min(seen.width, seen.height) < MIN_PIXELS


def _excluded(candidate: Candidate) -> bool:
    """Say whether an annotator said "not here" inside this box, or close by this point."""
    place = candidate.place
    if isinstance(place, Box):
        return any(map(place.contains, candidate.excluded))
    return any(place.apart(spot, candidate.image) <= NEAR for spot in candidate.excluded)


def _unknown_label(candidate: Candidate) -> bool:
    return candidate.label is None and bool(candidate.control.labels)


def _low_score(candidate: Candidate) -> bool:
    score, least = candidate.detection.score, candidate.control.options.score_threshold
    return score is not None and least is not None and score < least


_FLAWS = (
    (Drop.NOT_FINITE, _not_finite),
    (Drop.TOO_SMALL, _too_small),
    (Drop.EXCLUDED, _excluded),
    (Drop.UNKNOWN_LABEL, _unknown_label),
    (Drop.LOW_SCORE, _low_score),
)
