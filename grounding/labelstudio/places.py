"""Where drawn regions are: read from Label Studio's JSON, and looked up by what is near."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice, product
from math import floor, frexp, ldexp
from statistics import median
from typing import Any

from grounding.errors import RequestError
from grounding.geometry import PERCENT, Box, Frame, Point

OVERSHOOT = 0.01
"""Percent by which the page's own rounding may put a place outside the image."""

_SIDES = frozenset({"x", "y", "width", "height", "sequence"})
"""Keys of a value that says where something is; a film's has a sequence of key frames."""

MAX_FRAME = 2**53
"""The last frame that a page could count: beyond it, its numbers are no longer whole."""

MOVING = "videorectangle"
"""The type of a box that moves through a film."""

Result = Mapping[str, Any]
"""One entry of a `result` list as Label Studio sends it: untrusted JSON."""


def read_text(result: Result, key: str) -> str | None:
    """Return the text under `key`, or None if there is none."""
    found = result.get(key)
    return found if isinstance(found, str) else None


def is_drawn(result: Result) -> bool:
    """Say whether a result is a region whose place `read_place` can read.

    A label that is selected while a text of ours arrives becomes a result of that text: it has a
    drawn region's type and no place at all.
    """
    value = result.get("value")
    placeless = isinstance(value, Mapping) and not _SIDES & value.keys()
    return read_text(result, "type") in _READERS and not placeless


def read_place(result: Result) -> Box | Point:
    """Return where a drawn region is, in percent and inside the image.

    Raises `RequestError` `context_invalid`: status 400 if it has no value, 422 if the value is
    not a place or the box is rotated.
    """
    value = result.get("value")
    if not isinstance(value, Mapping):
        raise context_error("a drawn region has no value", status=400)
    return _READERS[result["type"]](value)


def context_error(cause: str, *, hint: str = "", status: int = 422) -> RequestError:
    """Return the error for a context that Label Studio's page does not send."""
    return RequestError(cause, code="context_invalid", hint=hint, status=status)


def _read_point(value: Result) -> Point:
    return Point(_read_percent(value, "x"), _read_percent(value, "y"), PERCENT).clip()


def _read_box(value: Result) -> Box:
    if value.get("rotation"):
        raise context_error("the drawn box is turned", hint="Draw it upright")
    x, y = _read_percent(value, "x"), _read_percent(value, "y")
    corner = (x + _read_percent(value, "width"), y + _read_percent(value, "height"))
    return Box.spanning((x, y), corner, PERCENT).clip()


def last_key_frame(value: Result) -> Result:
    """Return the last key frame of a box that moves, which has a box and a `frame` from 1.

    Raises `RequestError` as `read_place` does.
    """
    keys = value.get("sequence")
    found = [key for key in keys if isinstance(key, Mapping)] if isinstance(keys, list) else []
    frames = [key.get("frame") for key in found]
    if not found or not all(map(_is_frame, frames)):
        raise context_error("a drawn box of a film has no key frame")
    return max(found, key=lambda key: key["frame"])


def _is_frame(value: object) -> bool:
    return type(value) is int and 1 <= value <= MAX_FRAME


def _read_moving(value: Result) -> Box:
    return _read_box(last_key_frame(value))


def _read_percent(value: Result, key: str) -> float:
    number = value.get(key)
    if not isinstance(number, int | float) or not -OVERSHOOT <= number <= 100 + OVERSHOOT:
        raise context_error(f"a drawn region's {key} is no percentage")
    return float(number)


_READERS: dict[str, Callable[[Result], Box | Point]] = {
    "rectanglelabels": _read_box,
    "rectangle": _read_box,
    "keypointlabels": _read_point,
    "keypoint": _read_point,
    MOVING: _read_moving,
}
"""The reader for each type of drawn region."""


ROUNDING = 1e-6
"""Share by which the cells are widened, so that rounding hides no neighbour."""

FINEST = -40
"""Lengths below 2**FINEST share one size class; cell numbers then stay exact in a float."""

Cell = tuple[int, int]


class BoxGrid:
    """Boxes of one frame, found by a box that overlaps them.

    `min_iou`, between 0 and 1, is the least intersection over union. With t = `min_iou`, the
    overlap is at least t times the longer width, so the widths differ by a factor of at most 1/t
    and the left sides by at most (1 - t) times the longer width. The same holds for heights and
    tops. Boxes are kept by size class (powers of two) and in cells of at least that distance.
    """

    def __init__(self, min_iou: float) -> None:
        self._min_iou = min_iou
        self._least = min_iou * (1 - ROUNDING)
        self._cells: defaultdict[tuple[Cell, Cell], list[Box]] = defaultdict(list)

    def add(self, box: Box) -> None:
        """Keep `box`."""
        across = self._cell(box.x1, _size_class(box.width))
        down = self._cell(box.y1, _size_class(box.height))
        self._cells[across, down].append(box)

    def near(self, box: Box) -> Iterator[Box]:
        """Yield each box whose intersection over union with `box` is at least `min_iou`."""
        across = self._cells_near(box.x1, box.width)
        down = self._cells_near(box.y1, box.height)
        for key in product(across, down):
            for other in self._cells.get(key, ()):
                if box.iou(other) >= self._min_iou:
                    yield other

    def _cells_near(self, start: float, length: float) -> list[Cell]:
        smallest, largest = _size_class(length * self._least), _size_class(length / self._least)
        cells = (self._cell(start, size) for size in range(smallest, largest + 1))
        return [(size, beside) for size, number in cells for beside in _with_neighbours(number)]

    def _cell(self, start: float, size: int) -> Cell:
        """Return the size class and the number of the cell that `start` lies in."""
        # A side of this class is below 2**size, and a side that overlaps it below 2**size / t.
        width = ldexp((1 - self._least) / self._least, size)
        return size, floor(start / width)


class PointGrid:
    """Points on one image, found by a point close to them.

    `distance` is the longest distance, as a share of the longer side of `image`.
    """

    def __init__(self, image: Frame, distance: float) -> None:
        self._image = image
        self._distance = distance
        self._cell = distance * max(image.width, image.height) * (1 + ROUNDING)
        self._cells: defaultdict[Cell, list[Point]] = defaultdict(list)

    def add(self, point: Point) -> None:
        """Keep `point`."""
        self._cells[self._number(point)].append(point)

    def near(self, point: Point) -> Iterator[Point]:
        """Yield each point that is at most `distance` away from `point`."""
        column, row = self._number(point)
        for cell in product(_with_neighbours(column), _with_neighbours(row)):
            for other in self._cells.get(cell, ()):
                if point.apart(other, self._image) <= self._distance:
                    yield other

    def _number(self, point: Point) -> Cell:
        here = point.to(self._image)
        return floor(here.x / self._cell), floor(here.y / self._cell)


LEAST_REACH = 1e-6
"""Points within this share of the longer side are one in any crowd."""

MOST_NEIGHBOURS = 32
"""Neighbours of a point that are looked at: more tell nothing new, and all would take too long."""


def same_reaches(points: Iterable[Point], image: Frame, distance: float) -> dict[Point, float]:
    """Return for each point how far away another may lie that marks the same thing.

    That is `distance`, a share of the longer side of `image`. A model that repeats itself puts
    points of one thing close together. But points that are close to the next one in a row that
    reaches further than `distance` are a crowd, such as cells to count: each marks a thing of its
    own, and only those within half the usual space between them are one.
    """
    grid = PointGrid(image, distance)
    distinct = dict.fromkeys(points)
    for point in distinct:
        grid.add(point)
    near = {
        point: [one for one in islice(grid.near(point), MOST_NEIGHBOURS) if one != point]
        for point in distinct
    }
    reaches = dict.fromkeys(distinct, distance)
    for row in _rows(near):
        if _extent(row, image) > distance:
            spaces = [_second_space(point, near[point], image, distance) for point in row]
            reaches.update(dict.fromkeys(row, max(median(spaces) / 2, LEAST_REACH)))
    return reaches


def _rows(near: Mapping[Point, Sequence[Point]]) -> Iterator[list[Point]]:
    """Yield the points in groups in which each is near another one of its group."""
    left = dict.fromkeys(near)
    while left:
        row = [left.popitem()[0]]
        for point in row:  # grows as it is read
            for one in near[point]:
                if one in left:
                    del left[one]
                    row.append(one)
        yield row


def _extent(points: Sequence[Point], image: Frame) -> float:
    """Return the longer side of what encloses the points, as a share of the image's longer side."""
    seen = [point.to(image) for point in points]
    xs, ys = [point.x for point in seen], [point.y for point in seen]
    return max(max(xs) - min(xs), max(ys) - min(ys)) / max(image.width, image.height)


def _second_space(point: Point, near: Sequence[Point], image: Frame, distance: float) -> float:
    """Return the distance to the second nearest point: the nearest may be the same thing's."""
    spaces = sorted(point.apart(one, image) for one in near)
    return spaces[1] if len(spaces) > 1 else distance


def _with_neighbours(number: int) -> tuple[int, int, int]:
    return number - 1, number, number + 1


def _size_class(length: float) -> int:
    """Return the smallest n with length < 2**n, but at least FINEST."""
    return frexp(max(length, ldexp(0.5, FINEST)))[1]
