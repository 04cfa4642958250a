"""Boxes that move through a film, compared frame by frame as the page shows them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from grounding.geometry import Box, KeyFrame, seen_at

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Sides = NDArray[np.float64]

MAX_FRAMES = 1_000_000
"""Frames of a film that are compared, from the first: nine hours at thirty a second."""


@dataclass(frozen=True)
class Track:
    """The key frames of one thing, at least one and in order, in a film of `count` frames."""

    keys: tuple[KeyFrame, ...]
    count: int

    def iou(self, other: Track) -> float:
        """Return the mean IoU over the frames in which either is seen; 0 where one is not."""
        if not self._hull.iou(other._hull):
            return 0.0
        import numpy as np  # the web server reads tracks, and has no need of it

        marks = np.array(self._marks(other))
        counts = np.diff(marks, append=max(self.count, other.count) + 1)
        mine, theirs = self._course.at(marks), other._course.at(marks)
        seen = int(counts[mine.seen | theirs.seen].sum())
        both = mine.seen & theirs.seen & mine.meets(theirs, counts)
        return _sum_ious(mine.only(both), theirs.only(both), counts[both]) / seen

    def is_at(self, other: Track, percent: float) -> bool:
        """Say whether both are seen at one place, but for so much, in every frame."""
        marks = self._marks(other)
        places = [(seen_at(self.keys, at), seen_at(other.keys, at)) for at in marks]
        if any((a is None) is not (b is None) for a, b in places):
            return False
        return all(_apart(a, b) <= percent for a, b in places if a and b)

    @cached_property
    def _hull(self) -> Box:
        return _around(key.box for key in self.keys)

    def _marks(self, other: Track) -> list[int]:
        """Return the frames, to each next of which either is hidden or moves evenly."""
        keys = (*self.keys, *other.keys)
        marks = {key.frame for key in keys} | {key.frame + 1 for key in keys if not key.enabled}
        return sorted(marks - {max(self.count, other.count) + 1})

    @cached_property
    def _course(self) -> _Course:
        import numpy as np

        frames = np.array([key.frame for key in self.keys])
        sides = np.array([key.box.coordinates for key in self.keys]).T
        steps = np.diff(sides, append=sides[:, -1:]) / np.diff(frames, append=frames[-1] + 1)
        return _Course(frames, np.array([key.enabled for key in self.keys]), sides, steps)


class _Course(NamedTuple):
    """The key frames of one thing as arrays.

    Their frames (K), whether they are enabled (K), the sides of their boxes (4, K), and by how much
    these change with each frame until the next one (4, K).
    """

    frames: NDArray[np.int64]
    enabled: NDArray[np.bool_]
    sides: Sides
    steps: Sides

    def at(self, marks: NDArray[np.int64]) -> _Moves:
        """Return how the thing moves from each of some frames (M) to the next of them."""
        last = self.frames.searchsorted(marks, "right") - 1
        begun = self.frames[last]
        seen = (last >= 0) & (self.enabled[last] | (begun == marks))
        steps = self.steps[:, last]
        return _Moves(seen, self.sides[:, last] + steps * (marks - begun), steps)


class _Moves(NamedTuple):
    """How a thing moves in each part of a film.

    Whether it is seen (M), its sides in the part's first frame (4, M), and by how much these change
    with each frame (4, M).
    """

    seen: NDArray[np.bool_]
    first: Sides
    steps: Sides

    def only(self, some: NDArray[np.bool_]) -> _Moves:
        """Return the moves in some of the parts (M)."""
        return _Moves(self.seen[some], self.first[:, some], self.steps[:, some])

    def meets(self, other: _Moves, counts: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Say of each part of so many frames whether the boxes may overlap in it."""
        mine, theirs = self._hulls(counts), other._hulls(counts)
        across, down = (mine[2:] > theirs[:2]) & (theirs[2:] > mine[:2])
        meet: NDArray[np.bool_] = across & down
        return meet

    def _hulls(self, counts: NDArray[np.int64]) -> Sides:
        hulls, last = self.first.copy(), self.first + self.steps * (counts - 1)
        hulls[:2] = last[:2].clip(max=hulls[:2])
        hulls[2:] = last[2:].clip(min=hulls[2:])
        return hulls

    def each(self, counts: NDArray[np.int64], at: NDArray[np.int64]) -> Iterator[Sides]:
        """Yield each side in each frame, the first of a part being 0 in `at`.

        One by one: of a film of a million frames, one takes 8 MB.
        """
        for first, step in zip(self.first, self.steps, strict=True):
            yield first.repeat(counts) + at * step.repeat(counts)


def _apart(a: Box, b: Box) -> float:
    return max(abs(one - other) for one, other in zip(a.coordinates, b.coordinates, strict=True))


def _around(boxes: Iterable[Box]) -> Box:
    """Return the box around some of one frame, at least one."""
    some = list(boxes)
    x1, y1, x2, y2 = zip(*(box.coordinates for box in some), strict=True)
    return Box(min(x1), min(y1), max(x2), max(y2), some[0].frame)


def _sum_ious(some: _Moves, others: _Moves, counts: NDArray[np.int64]) -> float:
    """Return the sum of the IoU in each frame of parts of so many frames, both seen in all."""
    import numpy as np

    at = np.arange(counts.sum()) - (counts.cumsum() - counts).repeat(counts)
    left, top, right, bottom = some.each(counts, at)
    left2, top2, right2, bottom2 = others.each(counts, at)
    across = np.minimum(right, right2) - np.maximum(left, left2)
    down = np.minimum(bottom, bottom2) - np.maximum(top, top2)
    common = across.clip(0) * down.clip(0)
    union = (right - left) * (bottom - top) + (right2 - left2) * (bottom2 - top2) - common
    return float(np.divide(common, union, out=np.zeros_like(common), where=union > 0).sum())
