"""A grid finds the same neighbours as a comparison of each place with every other."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grounding.geometry import PERCENT, Box, Frame, Point, image_frame
from grounding.labelstudio.places import BoxGrid, PointGrid
from tests.labelstudio.conftest import CountCalls

SIDES = st.sampled_from([0.0, 1e-300, 1e-13, 0.7, 1.0, 10.0, 63.9, 64.0]) | st.floats(0, 100)
STARTS = st.sampled_from([0.0, 1e-300, 10.0, 50.0, 99.0]) | st.floats(0, 100)
SHIFTS = st.floats(-0.15, 0.15)
LEAST = st.sampled_from([0.5, 0.8, 0.9, 0.98])


def box_at(x: float, y: float, width: float, height: float) -> Box:
    return Box(x, y, x + width, y + height, PERCENT)


@st.composite
def boxes(draw: st.DrawFn) -> list[Box]:
    """Return boxes that lie at a few places, shifted and stretched by up to 15 %."""
    found = []
    for x, y, w, h in draw(st.lists(st.tuples(STARTS, STARTS, SIDES, SIDES), max_size=4)):
        for dx, dy, dw, dh in draw(st.lists(st.tuples(*[SHIFTS] * 4), max_size=6)):
            found.append(box_at(x + dx * w, y + dy * h, w * (1 + dw), h * (1 + dh)))
    return found


def in_order(places: list[Box]) -> list[tuple[float, ...]]:
    return sorted((place.x1, place.y1, place.x2, place.y2) for place in places)


@example(old=[box_at(0, 0, 0.7, 5e-324)], new=[], least=0.5)
@given(old=boxes(), new=boxes(), least=LEAST)
def test_a_box_grid_finds_each_box_that_overlaps_enough(
    old: list[Box], new: list[Box], least: float
) -> None:
    grid = BoxGrid(least)
    for box in old:
        grid.add(box)
    for box in (*new, *old):
        expected = [other for other in old if box.iou(other) >= least]
        assert in_order(list(grid.near(box))) == in_order(expected)


@pytest.mark.parametrize("least", [0.5, 0.8, 0.9, 0.98])
@pytest.mark.parametrize("width", [0.3, 1.0, 7.99, 8.0, 8.01, 50.0])
def test_a_box_grid_finds_a_box_that_overlaps_just_enough(least: float, width: float) -> None:
    """The overlap is 1e-9 above the limit: by a shift, by a longer and by a shorter side."""
    share = least + 1e-9
    shift = width * (1 - share) / (1 + share)
    grid = BoxGrid(least)
    grid.add(box_at(20, 20, width, 5))
    for x, w in (
        (20 + shift, width),
        (20 - shift, width),
        (20, width * share),
        (20, width / share),
    ):
        assert list(grid.near(box_at(x, 20, w, 5))), (x, w)


IMAGES = st.builds(image_frame, st.integers(1, 20_000), st.integers(1, 20_000))


@given(
    image=IMAGES,
    places=st.lists(st.tuples(STARTS, STARTS, st.floats(-2, 2), st.floats(-2, 2)), max_size=12),
    distance=st.sampled_from([0.01, 0.02, 0.3]),
)
def test_a_point_grid_finds_each_point_that_is_close_enough(
    image: Frame, places: list[tuple[float, float, float, float]], distance: float
) -> None:
    old = [Point(x, y, PERCENT) for x, y, _, _ in places]
    new = [Point(x + dx, y + dy, PERCENT) for x, y, dx, dy in places]
    grid = PointGrid(image, distance)
    for point in old:
        grid.add(point)
    for point in (*new, *old):
        expected = [(p.x, p.y) for p in old if point.apart(p, image) <= distance]
        assert sorted((p.x, p.y) for p in grid.near(point)) == sorted(expected)


@pytest.mark.parametrize("distance", [0.01, 0.02])
@pytest.mark.parametrize("step", [(1, 0), (0, 1), (-1, 0), (0, -1), (0.6, 0.8), (-0.8, 0.6)])
def test_a_point_grid_finds_a_point_just_close_enough_wherever_they_lie(
    distance: float, step: tuple[float, float]
) -> None:
    """A billionth closer than the distance, on both sides of where a cell may end."""
    image = image_frame(1000, 1000)
    reach = distance * 1000 * (1 - 1e-9)
    for n in range(-40, 41):
        start = 10 * distance * 1000 * (1 + n * 5e-8)
        grid = PointGrid(image, distance)
        grid.add(Point(start, start, image))
        assert list(grid.near(Point(start + step[0] * reach, start + step[1] * reach, image))), n


def test_places_far_apart_are_not_compared(count_calls: CountCalls) -> None:
    compared = count_calls(Box, "iou")
    grid = BoxGrid(0.9)
    rows = [box_at(0, n / 50, 90, 0.01) for n in range(5000)]
    for row in rows:
        grid.add(row)
    assert all(list(grid.near(row)) == [row] for row in rows)
    assert compared.count < 3 * len(rows)
