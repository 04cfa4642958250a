"""Links what is found in single frames into tracks: one for each thing, by overlap and label.

The frames are half a second apart and more, so a thing may lie beside where it was. It is looked
for where it was and where it was going, first by overlap and then close by; the pairs that overlap
most are linked first. A thing that is away for a while and comes back where it is expected stays
one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from grounding.geometry import Box
from grounding.queries import Finding
from grounding.waiting import Check, no_check

OVERLAP = 0.1
"""IoU from which on two boxes may be of one thing."""

NEAR = 1.0
"""How far a thing may get in one step, in multiples of its own sides."""

MISSES = 4
"""Frames in a row in which a thing may be missed, or hidden, and still be the same."""


Likeness = Callable[[Box, Box], float]
"""How alike two boxes are, above 0 where they may be of one thing."""


class Sighting(NamedTuple):
    """A finding with a box, at the frame of this number."""

    at: int
    box: Box
    finding: Finding


@dataclass(slots=True)
class Line:
    """The sightings of one thing, in order."""

    label: str | None
    sightings: list[Sighting] = field(default_factory=list)

    def expected(self, at: int) -> Iterator[Box]:
        """Yield where the thing may be at a frame: where it was, and where it was going."""
        last = self.sightings[-1]
        yield last.box
        if len(self.sightings) > 1:
            before = self.sightings[-2]
            share = (at - before.at) / (last.at - before.at)
            yield before.box.toward(last.box, share)


def link(frames: Sequence[Sequence[Finding]], check: Check = no_check) -> list[Line]:
    """Return the lines in what was found in each frame, in the order in which they begin.

    A finding is in one line only, and all of a line have one label. Raises what `check` does, which
    is called for each frame: a crowd takes long.
    """
    lines: list[Line] = []
    for at, findings in enumerate(frames):
        check()
        new = [Sighting(at, f.place, f) for f in findings if isinstance(f.place, Box)]
        waiting = [line for line in lines if at - line.sightings[-1].at <= MISSES + 1]
        taken: set[int] = set()
        for likeness in (_overlap, _nearness):
            taken |= _join(waiting, new, taken, at, likeness)
        for number, sighting in enumerate(new):
            if number not in taken:
                lines.append(Line(sighting.finding.label, [sighting]))
    return lines


def _join(
    lines: Sequence[Line], new: Sequence[Sighting], taken: set[int], at: int, likeness: Likeness
) -> set[int]:
    """Give lines that lack one their sighting at a frame, the likest pairs first."""
    left = [(number, one) for number, one in enumerate(new) if number not in taken]
    pairs = [
        (like, number, -which)
        for which, line in enumerate(lines)
        if line.sightings[-1].at < at
        for places in [tuple(line.expected(at))]
        for number, one in left
        if one.finding.label == line.label
        for near in [[box for box in places if _may_meet(box, one.box)]]
        if near and (like := max(likeness(box, one.box) for box in near)) > 0
    ]
    found: set[int] = set()
    for _, number, which in sorted(pairs, reverse=True):
        line = lines[-which]
        if number not in found and line.sightings[-1].at < at:
            line.sightings.append(new[number])
            found.add(number)
    return found


def _may_meet(a: Box, b: Box) -> bool:
    """Say whether two boxes may be alike at all: most of a crowd lie too far apart.

    That is told by comparisons alone, where both are in one frame.
    """
    if a.frame is not b.frame:
        return True
    across, down = NEAR * (a.x2 - a.x1 + b.x2 - b.x1), NEAR * (a.y2 - a.y1 + b.y2 - b.y1)
    beside = b.x1 - a.x2 > across or a.x1 - b.x2 > across
    return not (beside or b.y1 - a.y2 > down or a.y1 - b.y2 > down)


def _overlap(a: Box, b: Box) -> float:
    iou = a.iou(b)
    return iou if iou >= OVERLAP else 0.0


def _nearness(a: Box, b: Box) -> float:
    """Return how much two boxes overlap once each is grown by how far a thing may get."""
    return a.grown(NEAR).iou(b.grown(NEAR)) if _are_alike(a, b) else 0.0


def _are_alike(a: Box, b: Box) -> bool:
    """Say whether two boxes are of about one size: a thing changes little in a step."""
    small, large = sorted((a.area, b.to(a.frame).area))
    return small >= large / 4
