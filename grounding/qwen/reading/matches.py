"""Places as the readers found them, and their conversion to findings in a frame.

A match is numbers, a label and a span, as written. `normalize` orders the corners, clips boxes and
points, drops what cannot be a place (a box wholly outside, a point a whole picture away), and
removes duplicates and loops.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple

from grounding.geometry import Box, Frame, Point
from grounding.queries import Finding

MAX_MATCHES = 2_500
"""Limit of places in one answer; text behind it is not read."""


class Note(StrEnum):
    """What happened while an answer was read, for logs, metrics and warnings."""

    TRUNCATED = "truncated"
    REPAIRED = "repaired"
    DUP_REMOVED = "dup_removed"
    CLIPPED = "clipped"
    LOOP = "loop"
    DROPPED_INVALID = "dropped_invalid"
    SWAPPED = "swapped"
    XYWH = "xywh"
    WHOLE_IMAGE = "whole_image"
    FRACTIONS = "fractions"
    THREE_D = "three_d"
    THINKING = "thinking"
    MISCOUNTED = "miscounted"
    UNOPENED = "unopened"
    """What the answer about a branch of a tree says cannot be read."""


Place = tuple[tuple[float, ...], tuple[int, int]]
"""Numbers of a box (4) or point (2), and their span in the text."""


class Match(NamedTuple):
    """A box (4 numbers) or point (2) as the model wrote it, unscaled and unclipped."""

    numbers: tuple[float, ...]
    label: str | None
    text: str | None
    score: float | None
    span: tuple[int, int]


@dataclass(slots=True)
class Matches:
    """The matches of one answer in the text's order, and notes about the reading.

    `empty`: the answer says that nothing is there. `cut`: the text ends inside an answer.
    """

    items: list[Match] = field(default_factory=list)
    warnings: set[Note] = field(default_factory=set)
    empty: bool = False
    cut: bool = False

    def add(
        self,
        numbers: tuple[float, ...],
        span: tuple[int, int],
        *,
        label: str | None = None,
        text: str | None = None,
        score: float | None = None,
    ) -> None:
        """Add a box (4 numbers), a box with a score (5) or a point (2); reject other counts."""
        if len(numbers) == 5 and 0 <= numbers[4] <= 1:
            *corners, score = numbers
            numbers = tuple(corners)
        if len(numbers) in (2, 4):
            self.items.append(Match(numbers, (label or "").strip() or None, text, score, span))
        else:
            self.reject()

    @property
    def full(self) -> bool:
        """Whether the limit of matches is reached."""
        return len(self.items) >= MAX_MATCHES

    def reject(self) -> None:
        """Note that numbers meant as a place cannot be one."""
        self.warnings.add(Note.DROPPED_INVALID)

    def merge(self, other: Matches) -> None:
        """Add the matches and notes of `other`."""
        self.items += other.items
        self.warnings |= other.warnings
        self.empty |= other.empty
        self.cut |= other.cut

    def moved(self, offset: int) -> Matches:
        """Return the matches with spans in a text that begins `offset` characters earlier."""
        items = [m._replace(span=(m.span[0] + offset, m.span[1] + offset)) for m in self.items]
        return replace(self, items=items)

    def merge_at(self, other: Matches, span: tuple[int, int]) -> None:
        """Add the matches of `other`, moved to `span`, and its warnings."""
        self.items += [match._replace(span=span) for match in other.items]
        self.warnings |= other.warnings


def is_absent(numbers: tuple[float, ...]) -> bool:
    """Return whether numbers say that a thing is not there: zeros and minus ones."""
    return all(number in (0, -1) for number in numbers)


def merge_spans(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """Return the smallest span that contains both."""
    return min(a[0], b[0]), max(a[1], b[1])


LOOP = 10
"""Equal records in a row that make a loop (the count that Rex-Omni's authors use)."""
WHOLE = 0.95
"""Share of the picture's area beyond which a lone box surrounds everything."""
FAR = 1.0
"""Sides of the picture beyond which a point outside is in another unit, and none of its points."""
SMALLEST_FRAME = 10
"""Units of a frame's sides below which numbers in 0..1 may be meant."""
ROUNDING = 0.001
"""Share of a side by which a number may lie outside without a warning."""

Numbers = tuple[float, ...]
Key = tuple[Numbers, str | None]


class Normalized(NamedTuple):
    """The findings in order, and the number of repetitions that were removed from loops."""

    findings: tuple[Finding, ...]
    repeats: int


def normalize(matches: Matches, frame: Frame) -> Normalized:
    """Return the matches as findings in `frame`: corners ordered, clipped, each once.

    Zeros and minus ones are no place: if `matches` has only those, it becomes `empty`. An answer
    in fractions of the picture has another unit than `frame`, and yields nothing; where some are
    in its pixels, the others are no places.
    """
    if _are_fractions(matches, frame):
        matches.warnings.add(Note.FRACTIONS)
        return Normalized((), 0)
    present = [match for match in matches.items if not is_absent(match.numbers)]
    if matches.items and not present and Note.DROPPED_INVALID not in matches.warnings:
        matches.empty = True
    findings: dict[Key, Finding] = {}
    keys: list[Key] = []
    for numbers, label, text, score, span in present:
        place = PLACES[len(numbers)](numbers, frame, matches)
        if place is None or _is_fraction(numbers, frame):
            matches.reject()
            continue
        key = (_get_numbers(place), label)
        keys.append(key)
        if key in findings:
            matches.warnings.add(Note.DUP_REMOVED)
        else:
            findings[key] = Finding(place, label, text, score, span)
    repeats = _count_repeats(keys)
    if repeats:
        matches.warnings.add(Note.LOOP)
    _note_whole_image([*findings.values()], matches)
    return Normalized(tuple(findings.values()), repeats)


def _are_fractions(matches: Matches, frame: Frame) -> bool:
    """Return whether all numbers are in 0..1, in a frame of pixels, and not all points of it."""
    places = [match.numbers for match in matches.items if not is_absent(match.numbers)]
    in_range = all(0 <= n <= 1 for numbers in places for n in numbers)
    return in_range and any(_is_fraction(numbers, frame) for numbers in places)


def _is_fraction(numbers: Numbers, frame: Frame) -> bool:
    """Return whether a place is in shares of the picture: nobody means a box of one pixel."""
    is_large = min(frame.width, frame.height) > SMALLEST_FRAME
    in_range = all(0 <= n <= 1 for n in numbers)
    return is_large and in_range and (len(numbers) == 4 or any(n % 1 for n in numbers))


def _count_repeats(keys: list[Key]) -> int:
    """Return how many records in runs of at least `LOOP` equal ones repeat the first."""
    runs = (sum(1 for _ in run) for _, run in groupby(keys))
    return sum(length - 1 for length in runs if length >= LOOP)


def _make_box(numbers: Numbers, frame: Frame, matches: Matches) -> Box | None:
    if not all(map(math.isfinite, numbers)):
        return None
    x1, y1, x2, y2 = numbers
    if x1 > x2 or y1 > y2:
        matches.warnings.add(Note.SWAPPED)
    box = Box.spanning((x1 + 0.0, y1 + 0.0), (x2 + 0.0, y2 + 0.0), frame)
    if _strays(numbers, frame, 0):
        box = box.clip()
        _note_clipping(numbers, frame, matches)
    return box if box.x1 < box.x2 and box.y1 < box.y2 else None


def _make_point(numbers: Numbers, frame: Frame, matches: Matches) -> Point | None:
    if not all(map(math.isfinite, numbers)):
        return None
    if _strays(numbers, frame, FAR):
        return None
    x, y = numbers
    _note_clipping(numbers, frame, matches)
    return Point(x + 0.0, y + 0.0, frame).clip()


PLACES: dict[int, Callable[[Numbers, Frame, Matches], Box | Point | None]] = {
    4: _make_box,
    2: _make_point,
}


def _get_numbers(place: Box | Point) -> Numbers:
    if isinstance(place, Box):
        return place.x1, place.y1, place.x2, place.y2
    return place.x, place.y


def _note_clipping(numbers: Numbers, frame: Frame, matches: Matches) -> None:
    if _strays(numbers, frame, ROUNDING):
        matches.warnings.add(Note.CLIPPED)


def _strays(numbers: Numbers, frame: Frame, share: float) -> bool:
    """Return whether a number lies outside the frame by more than `share` of its side."""
    xs, ys = numbers[::2], numbers[1::2]
    across, down = frame.margin(share)
    beyond_x = min(xs) < -across or max(xs) > frame.width + across
    return beyond_x or min(ys) < -down or max(ys) > frame.height + down


def _note_whole_image(findings: list[Finding], matches: Matches) -> None:
    boxes = [d.place for d in findings if isinstance(d.place, Box)]
    if len(findings) == len(boxes) == 1:
        (box,) = boxes
        if box.share > WHOLE:
            matches.warnings.add(Note.WHOLE_IMAGE)
