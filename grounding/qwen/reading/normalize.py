"""From finds to detections: boxes and points in a frame, duplicates and loops out."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from grounding.geometry import Box, Frame, Point
from grounding.queries import Finding
from grounding.qwen.reading.matches import Matches, Note

LOOP = 10
"""The same record so many times in a row is a loop; Rex-Omni's authors count so."""
WHOLE = 0.95
"""Share of the picture beyond which a lone box holds "everything"."""
ROUNDING = 0.001
"""Share of a side by which a number may lie outside without being worth a word."""

REPEATS = {LOOP: LOOP - 1}
"""Repetitions that come to light with a record of a run: nine with the tenth, then each one."""

Numbers = tuple[float, ...]
Key = tuple[Numbers, str | None]


class Settled(NamedTuple):
    """The detections in order, and how many repetitions of a loop were cut."""

    detections: tuple[Finding, ...]
    repeats: int


def settle(finds: Matches, frame: Frame) -> Settled:
    """Return the finds as detections in `frame`: ordered corners, clipped, each once."""
    detections: dict[Key, Finding] = {}
    previous: Key | None = None
    run = repeats = 0
    for find in finds.items:
        place = PLACES[len(find.numbers)](find.numbers, frame, finds)
        if place is None:
            finds.drop()
            continue
        key = (_numbers(place), find.label)
        run = run + 1 if key == previous else 1
        previous = key
        repeats += REPEATS.get(run, 1 if run > LOOP else 0)
        if key in detections:
            finds.warnings.add(Note.DUP_REMOVED)
        else:
            detections[key] = Finding(place, find.label, find.text, find.score, find.span)
    if repeats:
        finds.warnings.add(Note.LOOP)
    _note_whole_image([*detections.values()], finds)
    return Settled(tuple(detections.values()), repeats)


def _box(numbers: Numbers, frame: Frame, finds: Matches) -> Box | None:
    if not all(map(math.isfinite, numbers)):
        return None
    x1, y1, x2, y2 = numbers
    if x1 > x2 or y1 > y2:
        finds.warnings.add(Note.SWAPPED)
    box = Box.spanning((x1 + 0.0, y1 + 0.0), (x2 + 0.0, y2 + 0.0), frame)
    if _strays(numbers, frame, 0):
        box = box.clip()
        _note_clipping(numbers, frame, finds)
    return box if box.x1 < box.x2 and box.y1 < box.y2 else None


def _point(numbers: Numbers, frame: Frame, finds: Matches) -> Point | None:
    if not all(map(math.isfinite, numbers)):
        return None
    x, y = numbers
    _note_clipping(numbers, frame, finds)
    return Point(x + 0.0, y + 0.0, frame).clip()


PLACES: dict[int, Callable[[Numbers, Frame, Matches], Box | Point | None]] = {4: _box, 2: _point}


def _numbers(place: Box | Point) -> Numbers:
    if isinstance(place, Box):
        return place.x1, place.y1, place.x2, place.y2
    return place.x, place.y


def _note_clipping(numbers: Numbers, frame: Frame, finds: Matches) -> None:
    if _strays(numbers, frame, ROUNDING):
        finds.warnings.add(Note.CLIPPED)


def _strays(numbers: Numbers, frame: Frame, share: float) -> bool:
    """Say whether any number lies outside the picture by more than `share` of its side."""
    xs, ys = numbers[::2], numbers[1::2]
    across, down = frame.margin(share)
    beyond_x = min(xs) < -across or max(xs) > frame.width + across
    return beyond_x or min(ys) < -down or max(ys) > frame.height + down


def _note_whole_image(detections: list[Finding], finds: Matches) -> None:
    boxes = [d.place for d in detections if isinstance(d.place, Box)]
    if len(detections) == len(boxes) == 1:
        (box,) = boxes
        if box.share > WHOLE:
            finds.warnings.add(Note.WHOLE_IMAGE)
