"""Boxes that move through a film, compared frame by frame as the page shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

from grounding.geometry import Box, KeyFrame, seen_at

MAX_FRAMES = 1_000_000
"""Frames of a film that are compared, from the first: nine hours at thirty a second."""


class _Stretch(NamedTuple):
    """So many frames in which two things are seen, each moving evenly from a box to another."""

    frames: int
    ends: tuple[Box, Box]
    other_ends: tuple[Box, Box]

    @property
    def meets(self) -> bool:
        """Whether the boxes may overlap in any of the frames."""
        return _around(self.ends).iou(_around(self.other_ends)) > 0


@dataclass(frozen=True)
class Track:
    """The key frames of one thing, at least one and in order, in a film of `count` frames."""

    keys: tuple[KeyFrame, ...]
    count: int

    def iou(self, other: Track) -> float:
        """Return the mean IoU over the frames in which either is seen; 0 where one is not."""
        if not self._hull.iou(other._hull):
            return 0.0
        parts = list(self._even_parts(other))
        moving = [one for one in self._stretches(other, parts) if one.meets]
        seen = sum(
            after - first
            for first, after in parts
            if seen_at(self.keys, first) or seen_at(other.keys, first)
        )
        return _sum_ious(moving) / seen

    def is_at(self, other: Track, percent: float) -> bool:
        """Say whether both are seen at one place, but for so much, in every frame."""
        frames = [first for first, _ in self._even_parts(other)]
        places = [(seen_at(self.keys, at), seen_at(other.keys, at)) for at in frames]
        if any((a is None) is not (b is None) for a, b in places):
            return False
        return all(_apart(a, b) <= percent for a, b in places if a and b)

    @cached_property
    def _hull(self) -> Box:
        return _around(key.box for key in self.keys)

    def _even_parts(self, other: Track) -> Iterator[tuple[int, int]]:
        """Yield the half-open ranges of frames in which each is hidden, or moves evenly."""
        end = max(self.count, other.count) + 1
        keys = (*self.keys, *other.keys)
        marks = {key.frame for key in keys} | {key.frame + 1 for key in keys if not key.enabled}
        yield from pairwise(sorted(marks | {end}))

    def _stretches(self, other: Track, parts: Iterable[tuple[int, int]]) -> Iterator[_Stretch]:
        """Yield the parts in which both are seen."""
        for first, after in parts:
            a, b = seen_at(self.keys, first), seen_at(other.keys, first)
            a_last, b_last = seen_at(self.keys, after - 1), seen_at(other.keys, after - 1)
            if a and b and a_last and b_last:
                yield _Stretch(after - first, (a, a_last), (b, b_last))


def _apart(a: Box, b: Box) -> float:
    return max(abs(one - other) for one, other in zip(_sides(a), _sides(b), strict=True))


def _sides(box: Box) -> tuple[float, float, float, float]:
    return box.x1, box.y1, box.x2, box.y2


def _around(boxes: Iterable[Box]) -> Box:
    """Return the box around some of one frame, at least one."""
    some = list(boxes)
    x1, y1, x2, y2 = zip(*map(_sides, some), strict=True)
    return Box(min(x1), min(y1), max(x2), max(y2), some[0].frame)


def _sum_ious(stretches: Sequence[_Stretch]) -> float:
    """Return the sum of the IoU in each frame of some stretches."""
    import numpy as np  # the web server reads tracks, and has no need of it

    if not stretches:
        return 0.0
    counts = np.array([one.frames for one in stretches])
    first, last = (
        np.array([(*_sides(one.ends[at]), *_sides(one.other_ends[at])) for one in stretches]).T
        for at in (0, 1)
    )
    step = (last - first) / np.maximum(1, counts - 1)
    at = np.arange(counts.sum()) - (counts.cumsum() - counts).repeat(counts)
    # One side at a time: a film of a million frames takes 8 MB for each.
    left, top, right, bottom, left2, top2, right2, bottom2 = (
        a.repeat(counts) + at * b.repeat(counts) for a, b in zip(first, step, strict=True)
    )
    across = np.minimum(right, right2) - np.maximum(left, left2)
    down = np.minimum(bottom, bottom2) - np.maximum(top, top2)
    common = across.clip(0) * down.clip(0)
    union = (right - left) * (bottom - top) + (right2 - left2) * (bottom2 - top2) - common
    return float(np.divide(common, union, out=np.zeros_like(common), where=union > 0).sum())
