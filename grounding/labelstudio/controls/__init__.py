"""The control tags that we serve: their questions, and their regions.

A new tag is a new file here and one line in `CONTROLS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from grounding.ask import Ask, Detection, Language
from grounding.geometry import Box, Frame, Point
from grounding.labelstudio.command import read_command
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

ALIKE: dict[Language, str] = {
    "auto": "every object like the one",
    "en": "every object like the one",
    "zh": "与此相同的每一个物体",
}
"""The phrase for what is like the unnamed thing in a drawn box."""

MAX_REGIONS = 1000
"""Regions of one control on one image; only a model that repeats itself writes more."""


@dataclass(frozen=True, slots=True)
class Regions:
    """Results for Label Studio, and how many detections became none, by reason."""

    result: list[Region] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def asks(control: Control, wish: Wish | None = None) -> list[Ask]:
    """Return what to ask the model for a control: nothing where the wish is for others.

    A phrase, typed or else the control's own, is one ask with the labels that it names as
    classes, or all. A drawn place is one ask around it, for the label it was drawn with, or all;
    where a smart box asks for all that is similar, one for its label, or for what is like the
    thing in it. Without either, one ask per label, or per as many as the control's options say.
    """
    wish = Wish(controls=(control,)) if wish is None else wish
    if control not in wish.controls:
        return []
    if isinstance(wish.around, Box) and control.options.similar:
        return _similar(control, wish.around, wish.label)
    shape, manner, around = CONTROLS[control.tag].shape, control.options.manner, wish.around
    phrase = wish.phrase or (None if around else control.options.prompt)
    labels = _meant(control, phrase, wish.label)
    if phrase or (around and labels):
        said = phrase if manner.raw or not phrase else read_command(phrase).thing
        return [Ask(shape, _classes(labels), said, around, manner, wish.excluded)]
    size = control.options.labels_per_question
    groups = [labels[i : i + size] for i in range(0, len(labels), size)]
    return [Ask(shape, _classes(group), manner=manner) for group in groups]


def regions(control: Control, detections: Iterable[tuple[Detection, Ask]], image: Frame) -> Regions:
    """Return the results of a control for what was found, each with the ask it answers.

    `image` is the frame of the upright original. Places are in percent of it and inside it; each
    label is one that the config has. What cannot be a region of this control is counted.
    """
    drawn = Regions()
    kept: list[Candidate] = []
    kind = CONTROLS[control.tag]
    for detection, ask in _nearest(detections):
        candidate = Candidate.of(control, detection, ask, image)
        drop = candidate.flaw(kind.shape) or _surplus(candidate, kept)
        if drop:
            drawn.dropped[drop] += 1
            continue
        kept.append(candidate)
        drawn.result.extend(kind.write(control, candidate.region(), candidate.label))
    return drawn


def _similar(control: Control, around: Box, word: str | None) -> list[Ask]:
    """Return the ask for every thing like the one in a box.

    A label says best what it is: a question for one class is what these models answer best.
    Without one, the model is shown the box.
    """
    shape, manner = CONTROLS[control.tag].shape, control.options.manner
    if word and (label := match(word, control.labels)):
        return [Ask(shape, _classes([label]), manner=manner)]
    return [Ask(shape, _classes(control.labels), ALIKE[manner.language], around, manner)]


def _nearest(found: Iterable[tuple[Detection, Ask]]) -> list[tuple[Detection, Ask]]:
    """Return what was found but for what is not at the place that was asked about, if some is."""
    every = list(found)
    here = [pair for pair in every if _is_here(*pair)]
    return here or every


def _is_here(detection: Detection, ask: Ask) -> bool:
    """Say whether a click is in the box, or the box's middle in the drawn box."""
    place, around = detection.place, ask.around
    if ask.phrase or around is None or not isinstance(place, Box):
        return True
    return place.contains(around) if isinstance(around, Point) else around.contains(place.center)


def _meant(control: Control, phrase: str | None, word: str | None) -> tuple[Label, ...]:
    """Return the labels that a phrase or the word of a drawn region means: all, if none."""
    label = match(word, control.labels) if word else None
    return named(phrase or "", control.labels) or ((label,) if label else control.labels)


def _classes(labels: Sequence[Label]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for label in labels for word in label.words))


def _surplus(candidate: Candidate, kept: Sequence[Candidate]) -> Drop | None:
    if len(kept) >= MAX_REGIONS:
        return Drop.TOO_MANY
    return Drop.DUPLICATE if any(map(candidate.repeats, kept)) else None
