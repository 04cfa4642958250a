"""Finds places that nearly coincide without comparing every place with every other."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import product
from math import floor, frexp, ldexp

from grounding.geometry import Box, Frame, Point

ROUNDING = 1e-6
"""Share by which the cells are widened, so that rounding hides no neighbour."""

FINEST = -40
"""Lengths below 2**FINEST share one size class; cell numbers then stay exact in a float."""

STEPS = (-1, 0, 1)

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
        return [(size, number + step) for size, number in cells for step in STEPS]

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
        for across, down in product(STEPS, STEPS):
            for other in self._cells.get((column + across, row + down), ()):
                if point.apart(other, self._image) <= self._distance:
                    yield other

    def _number(self, point: Point) -> Cell:
        here = point.to(self._image)
        return floor(here.x / self._cell), floor(here.y / self._cell)


def _size_class(length: float) -> int:
    """Return the smallest n with length < 2**n, but at least FINEST."""
    return max(frexp(length)[1], FINEST)
