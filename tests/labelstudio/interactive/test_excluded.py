"""An answer leaves out what an annotator said is "not here"."""

from __future__ import annotations

import pytest

from grounding.geometry import Box, Point, image_frame
from grounding.labelstudio.controls import write_results
from grounding.queries import Finding, Locate, Shape
from tests.labelstudio.configs import BOXES, POINTS, control

IMAGE = image_frame(800, 600)
SPOT = Point(400, 300, IMAGE)


def is_kept(part: str, place: Box | Point) -> bool:
    """Say whether a finding at `place` becomes a region, and check that it is counted if not."""
    on = control(part)
    shape = Shape.BOX if isinstance(place, Box) else Shape.POINT
    query = Locate(shape, on.labels[0].words, excluded=(SPOT,))
    drawn = write_results(on, [(Finding(place), query)], IMAGE)
    assert drawn.dropped == ({} if drawn.result else {"excluded": 1})
    return bool(drawn.result)


@pytest.mark.parametrize(
    ("x", "y", "kept"),
    [
        (400, 300, False),
        (423.9, 300, False),
        (376.1, 300, False),
        (400, 323.9, False),
        (416, 316, False),
        (424.1, 300, True),
        (375.9, 300, True),
        (400, 324.1, True),
        (418, 318, True),
        (430, 300, True),
    ],
)
def test_a_point_closer_than_3_percent_of_the_longer_side_is_left_out(
    x: float, y: float, kept: bool
) -> None:
    assert is_kept(POINTS, Point(x, y, IMAGE)) is kept


@pytest.mark.parametrize(
    ("x1", "y1", "x2", "y2", "kept"),
    [
        (300, 200, 500, 400, False),
        (400, 300, 500, 400, False),
        (300, 200, 400, 300, False),
        (401, 200, 500, 400, True),
        (300, 301, 500, 400, True),
    ],
)
def test_a_box_that_contains_the_spot_is_left_out(
    x1: float, y1: float, x2: float, y2: float, kept: bool
) -> None:
    assert is_kept(BOXES, Box(x1, y1, x2, y2, IMAGE)) is kept
