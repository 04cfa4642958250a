"""From finds to detections: boxes and points in a frame, duplicates and loops out."""

from __future__ import annotations

import math
from typing import NamedTuple

from grounding.ask import Detection
from grounding.geometry import Box, Frame, Point
from grounding.qwen.reading.finds import Find, Finds, Note

LOOP = 10
"""The same record so many times in a row is a loop; Rex-Omni's authors count so."""
WHOLE = 0.95
"""Share of the picture beyond which a lone box holds "everything"."""
ROUNDING = 0.001
"""Share of a side by which a number may lie outside without being worth a word."""


class Settled(NamedTuple):
    """The detections in order, and how many repetitions of a loop were cut."""

    detections: tuple[Detection, ...]
    repeats: int


def settle(finds: Finds, frame: Frame) -> Settled:
    """Return the finds as detections in `frame`: ordered corners, clipped, each once."""
    detections: dict[tuple[object, ...], Detection] = {}
    previous: tuple[object, ...] = ()
    run = repeats = 0
    for find in finds.items:
        place = _box(find, frame, finds) if len(find.numbers) == 4 else _point(find, frame, finds)
        if place is None:
            finds.drop()
            continue
        key = (place, find.label)
        run = run + 1 if key == previous else 1
        previous = key
        if run == LOOP:
            finds.warnings.add(Note.LOOP)
        repeats += (run == LOOP) * (LOOP - 1) + (run > LOOP)
        if key in detections:
            finds.warnings.add(Note.DUP_REMOVED)
            continue
        detections[key] = Detection(place, find.label, find.text, find.score, find.span)
    _note_whole_image(list(detections.values()), frame, finds)
    return Settled(tuple(detections.values()), repeats)


def _box(find: Find, frame: Frame, finds: Finds) -> Box | None:
    x1, y1, x2, y2 = find.numbers
    if not all(map(math.isfinite, find.numbers)):
        return None
    if x1 > x2 or y1 > y2:
        finds.warnings.add(Note.SWAPPED)
    whole = Box.spanning((x1, y1), (x2, y2), frame)
    box = whole.clip()
    if box.width <= 0 or box.height <= 0:
        return None
    if _strays(find.numbers, frame):
        finds.warnings.add(Note.CLIPPED)
    return box


def _point(find: Find, frame: Frame, finds: Finds) -> Point | None:
    x, y = find.numbers
    if not (math.isfinite(x) and math.isfinite(y)):
        return None
    if _strays(find.numbers, frame):
        finds.warnings.add(Note.CLIPPED)
    return Point(x, y, frame).clip()


def _strays(numbers: tuple[float, ...], frame: Frame) -> bool:
    """Say whether any number lies outside the picture by more than rounding."""
    sides = (frame.width, frame.height) * 2
    return any(
        n < -ROUNDING * side or n > side + ROUNDING * side
        for n, side in zip(numbers, sides, strict=False)
    )


def _note_whole_image(detections: list[Detection], frame: Frame, finds: Finds) -> None:
    if len(detections) == 1 and isinstance(box := detections[0].place, Box):
        if box.area > WHOLE * frame.width * frame.height:
            finds.warnings.add(Note.WHOLE_IMAGE)
