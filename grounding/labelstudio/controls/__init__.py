"""The control tags that we serve, and their regions.

A new tag is a new file here and one line in `CONTROLS`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from grounding.geometry import Box, Frame, Point
from grounding.labelstudio.config.interface import MAX_REGIONS, Control
from grounding.labelstudio.controls.base import Candidate, ControlTag, Drop, Region
from grounding.labelstudio.controls.key_point import KEY_POINT
from grounding.labelstudio.controls.key_point_labels import KEY_POINT_LABELS
from grounding.labelstudio.controls.rectangle import RECTANGLE
from grounding.labelstudio.controls.rectangle_labels import RECTANGLE_LABELS
from grounding.queries import Finding, Locate

__all__ = ["CONTROLS", "ControlTag", "Drop", "Regions", "regions"]

CONTROLS = {kind.tag: kind for kind in (RECTANGLE_LABELS, KEY_POINT_LABELS, RECTANGLE, KEY_POINT)}


@dataclass(frozen=True, slots=True)
class Regions:
    """Results for Label Studio, and how many detections became none, by reason."""

    result: list[Region] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def regions(
    control: Control, detections: Iterable[tuple[Finding, Locate]], image: Frame
) -> Regions:
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
    best = _best(kept, control.options.max_regions)
    if len(best) < len(kept):
        drawn.dropped[Drop.TOO_MANY] += len(kept) - len(best)
    for candidate in best:
        drawn.result.extend(kind.write(control, candidate.region(), candidate.label))
    return drawn


def _nearest(found: Iterable[tuple[Finding, Locate]]) -> list[tuple[Finding, Locate]]:
    """Return what was found but for what is not at the place that was asked about, if some is."""
    every = list(found)
    here = [pair for pair in every if _is_here(*pair)]
    return here or every


def _is_here(detection: Finding, ask: Locate) -> bool:
    """Say whether a click is in the box, or the box's middle in the drawn box."""
    place, around = detection.place, ask.around
    if ask.phrase or around is None or not isinstance(place, Box):
        return True
    return place.contains(around) if isinstance(around, Point) else around.contains(place.center)


def _best(kept: list[Candidate], most: int) -> list[Candidate]:
    """Return at most so many, in order: those of the highest scores, or the first without any."""
    scores = [candidate.detection.score for candidate in kept]
    if len(kept) <= most or None in scores:
        return kept[:most]
    ranked = sorted(range(len(kept)), key=lambda i: scores[i] or 0, reverse=True)
    return [kept[i] for i in sorted(ranked[:most])]


def _surplus(candidate: Candidate, kept: Sequence[Candidate]) -> Drop | None:
    if len(kept) >= MAX_REGIONS:
        return Drop.TOO_MANY
    return Drop.DUPLICATE if any(map(candidate.repeats, kept)) else None
