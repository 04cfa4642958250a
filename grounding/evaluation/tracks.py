"""Boxes that move through a film, compared frame by frame as the page shows them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from grounding.geometry import Box, KeyFrame, seen_at

MAX_FRAMES = 1_000_000
"""Frames of a film that are compared, from the first: nine hours at thirty a second."""


@dataclass(frozen=True, slots=True)
class Track:
    """The key frames of one thing, at least one and in order, in a film of `count` frames."""

    keys: tuple[KeyFrame, ...]
    count: int

    def iou(self, other: Track) -> float:
        """Return the mean IoU over the frames in which either is seen; 0 where one is not."""
        count = max(self.count, other.count)
        mine, theirs = self._runs(count), other._runs(count)
        both = [frames for one in mine for two in theirs if (frames := _common(one, two))]
        seen = sum(map(len, (*mine, *theirs))) - sum(map(len, both))
        return sum(a.iou(b) for a, b in self._pairs(other, both)) / seen

    def is_at(self, other: Track, percent: float) -> bool:
        """Say whether both are seen at one place, but for so much, at each key frame of either."""
        frames = sorted({key.frame for key in (*self.keys, *other.keys)})
        places = [(seen_at(self.keys, at), seen_at(other.keys, at)) for at in frames]
        if any((a is None) is not (b is None) for a, b in places):
            return False
        return all(_apart(a, b) <= percent for a, b in places if a and b)

    def _pairs(self, other: Track, both: Sequence[range]) -> Iterator[tuple[Box, Box]]:
        for frame in (frame for frames in both for frame in frames):
            pair = seen_at(self.keys, frame), seen_at(other.keys, frame)
            if pair[0] and pair[1]:
                yield pair[0], pair[1]

    def _runs(self, count: int) -> list[range]:
        """Return the frames in which the thing is seen; without an end, to the film's."""
        runs: list[range] = []
        first = self.keys[0].frame
        for key, after in zip(self.keys, (*self.keys[1:], None), strict=True):
            if not key.enabled or after is None:
                runs.append(range(first, (count if key.enabled else key.frame) + 1))
                first = after.frame if after else count
        return runs


def _common(one: range, other: range) -> range:
    return range(max(one.start, other.start), min(one.stop, other.stop))


def _apart(a: Box, b: Box) -> float:
    sides = zip((a.x1, a.y1, a.x2, a.y2), (b.x1, b.y1, b.x2, b.y2), strict=True)
    return max(abs(one - other) for one, other in sides)
