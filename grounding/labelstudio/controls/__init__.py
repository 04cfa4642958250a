"""The control tags that we serve: their questions, and their regions.

A new tag is a new file here and one line in `CONTROLS`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from grounding.ask import Ask, Detection
from grounding.geometry import Box, Frame, Point
from grounding.labelstudio.controls.base import Candidate, ControlTag, Drop, Region
from grounding.labelstudio.controls.key_point import KEY_POINT
from grounding.labelstudio.controls.key_point_labels import KEY_POINT_LABELS
from grounding.labelstudio.controls.rectangle import RECTANGLE
from grounding.labelstudio.controls.rectangle_labels import RECTANGLE_LABELS
from grounding.labelstudio.interface import Control, Label
from grounding.labelstudio.labels import match, named
from grounding.labelstudio.wish import Wish

__all__ = ["CONTROLS", "ControlTag", "Drop", "Regions", "asks", "regions"]

CONTROLS = {kind.tag: kind for kind in (RECTANGLE_LABELS, KEY_POINT_LABELS, RECTANGLE, KEY_POINT)}

SAME_IOU = 0.98
"""Boxes of one label that overlap this much differ only by rounding."""


@dataclass(frozen=True, slots=True)
class Regions:
    """Results for Label Studio, and how many detections became none, by reason."""

    result: list[Region] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def asks(control: Control, wish: Wish | None = None) -> list[Ask]:
    """Return what to ask the model for a control: nothing where the wish is for others.

    Without a wish, or with an empty one, one ask per label; a typed phrase is one ask, with the
    labels it names as classes, or all; a drawn place is one ask around it.
    """
    if wish is None:
        return _asks_for(control, control.options.prompt)
    if control.from_name not in wish.controls:
        return []
    if wish.around is not None and not wish.phrase:
        return _asks_around(control, wish)
    return _asks_for(control, wish.phrase, wish.around)


def regions(control: Control, detections: Iterable[tuple[Detection, Ask]], image: Frame) -> Regions:
    """Return the results of a control for what was found, each with the ask it answers.

    `image` is the frame of the upright original. Places are in percent of it and inside it; each
    label is one that the config has. What cannot be a region of this control is counted.
    """
    drawn = Regions()
    kept: dict[str | None, list[Box | Point]] = defaultdict(list)
    kind = CONTROLS[control.tag]
    for detection, ask in detections:
        candidate = Candidate.of(control, detection, ask, image)
        alike = kept[candidate.label.emitted if candidate.label else None]
        drop = candidate.flaw(kind.shape) or _repeats(candidate.place, alike)
        if drop:
            drawn.dropped[drop] += 1
            continue
        alike.append(candidate.place)
        drawn.result.extend(kind.write(control, candidate.region(), candidate.label))
    return drawn


def _asks_for(control: Control, phrase: str | None, around: Point | Box | None = None) -> list[Ask]:
    shape = CONTROLS[control.tag].shape
    if phrase:
        labels = named(phrase, control.labels) or control.labels
        return [Ask(shape, _classes(labels), phrase, around)]
    size = control.options.labels_per_question
    groups = [control.labels[i : i + size] for i in range(0, len(control.labels), size)]
    return [Ask(shape, _classes(group)) for group in groups]


def _asks_around(control: Control, wish: Wish) -> list[Ask]:
    """Return the ask for what is at a drawn place: of its label, else of any that there is."""
    label = match(wish.label, control.labels) if wish.label else None
    labels = (label,) if label else control.labels
    return (
        [Ask(CONTROLS[control.tag].shape, _classes(labels), around=wish.around)] if labels else []
    )


def _classes(labels: Sequence[Label]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for label in labels for word in label.words))


def _repeats(place: Box | Point, kept: Iterable[Box | Point]) -> Drop | None:
    """Return the drop where a region of the same label is already at this place."""
    same = any(
        place == other
        or (isinstance(place, Box) and isinstance(other, Box) and place.iou(other) >= SAME_IOU)
        for other in kept
    )
    return Drop.DUPLICATE if same else None
