"""Laws of boxes, points and frames that hold for whole pictures, tiles and crops alike."""

from __future__ import annotations

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from grounding.errors import ImageTooThin
from grounding.geometry import (
    MAX_ASPECT,
    PERCENT,
    THOUSAND,
    WHOLE,
    Box,
    Frame,
    PixelBounds,
    Point,
    image_frame,
    model_frame,
)
from tests.geometry.geometries import boxes, frames, images, near, resizes, shares


@given(images(), resizes(), st.sampled_from(("model", "thousand")), shares, shares)
def test_what_the_model_wrote_comes_back_exactly_through_image_and_percent(
    image: Frame, resize: tuple[int, int, int], space: str, x: float, y: float
) -> None:
    seen = model_frame(image, PixelBounds(*resize))
    written = seen if space == "model" else THOUSAND
    point = Point(x * written.width, y * written.height, written)
    percent = point.to(image).to(PERCENT)
    assert percent.x == pytest.approx(100 * x, abs=1e-6)
    assert percent.y == pytest.approx(100 * y, abs=1e-6)
    back = percent.to(image).to(written)
    assert back.frame == written
    assert back.x == pytest.approx(point.x, abs=1e-6)
    assert back.y == pytest.approx(point.y, abs=1e-6)


@given(boxes(images()), resizes(), st.sampled_from(("model", "thousand")))
def test_a_box_of_the_image_comes_back_exactly_through_the_model_and_percent(
    box: Box, resize: tuple[int, int, int], space: str
) -> None:
    seen = model_frame(box.frame, PixelBounds(*resize))
    written = box.to(seen if space == "model" else THOUSAND)
    assert near(written.to(PERCENT).to(box.frame), box)
    assert near(written.to(box.frame).to(PERCENT), box.to(PERCENT))


def test_the_axes_have_their_own_factors() -> None:
    seen = model_frame(image_frame(1000, 30), PixelBounds(28, 4 * 784, 16384 * 784))
    assert (seen.width, seen.height) == (1008, 28)
    place = Point(504, 14, seen).to(image_frame(1000, 30))
    assert (place.x, place.y) == (500, 15)


@given(images(), resizes())
@example(image_frame(3840, 2160), (28, 256 * 784, 1280 * 784))
@example(image_frame(1, 200), (28, 4 * 784, 16384 * 784))
def test_the_model_frame_is_whole_patches_within_the_bounds(
    image: Frame, resize: tuple[int, int, int]
) -> None:
    factor, low, high = resize
    seen = model_frame(image, PixelBounds(*resize))
    assert seen.name == "model"
    assert seen.width % factor == 0 == seen.height % factor
    assert low <= seen.width * seen.height <= high


@given(images(), resizes())
def test_resizing_the_resized_changes_nothing(image: Frame, resize: tuple[int, int, int]) -> None:
    seen = model_frame(image, PixelBounds(*resize))
    # A very thin picture may exceed 200:1 once its sides are rounded to whole patches.
    assume(max(seen.width, seen.height) <= MAX_ASPECT * min(seen.width, seen.height))
    assert model_frame(image_frame(int(seen.width), int(seen.height)), PixelBounds(*resize)) == seen


@pytest.mark.parametrize(
    ("size", "seen"),
    [
        ((640, 480), (644, 476)),
        ((1920, 1080), (1316, 728)),
        ((3840, 2160), (1316, 728)),
        ((200, 150), (532, 392)),
    ],
)
def test_known_sizes_at_256_to_1280_tokens(size: tuple[int, int], seen: tuple[int, int]) -> None:
    frame = model_frame(image_frame(*size), PixelBounds(28, 256 * 784, 1280 * 784))
    assert (frame.width, frame.height) == seen


@pytest.mark.parametrize("size", [(112, 112), (115, 112), (109, 112), (112, 115)])
def test_a_size_that_rounds_to_exactly_a_bound_is_not_scaled(size: tuple[int, int]) -> None:
    image, bound = image_frame(*size), 112 * 112
    assert model_frame(image, PixelBounds(28, bound, 64 * 784)) == Frame("model", 112, 112)
    assert model_frame(image, PixelBounds(28, 784, bound)) == Frame("model", 112, 112)


def test_an_original_is_measured_in_its_own_pixels() -> None:
    assert image_frame(640, 480) == Frame("image", 640, 480, WHOLE)


@pytest.mark.parametrize("size", [(2001, 10), (10, 2001), (201, 1)])
def test_thinner_than_200_to_1_is_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ImageTooThin, match="×"):
        model_frame(image_frame(*size), PixelBounds(28, 256 * 784, 1280 * 784))


wild = st.floats(-1e6, 1e6)


@given(frames, wild, wild, wild, wild)
def test_clipping_stays_inside_keeps_the_order_and_is_idempotent(
    frame: Frame, ax: float, ay: float, bx: float, by: float
) -> None:
    box = Box.spanning((ax, ay), (bx, by), frame).clip()
    assert 0 <= box.x1 <= box.x2 <= frame.width
    assert 0 <= box.y1 <= box.y2 <= frame.height
    assert box.clip() == box
    point = Point(ax, ay, frame).clip()
    assert 0 <= point.x <= frame.width
    assert 0 <= point.y <= frame.height
    assert point.clip() == point


@given(boxes())
def test_clipping_leaves_what_is_inside(box: Box) -> None:
    # Rounding may put the product of a share and a side beyond the side.
    assert near(box.clip(), box)


@pytest.mark.parametrize("corners", [((-9, 1), (-2, 5)), ((101, 1), (120, 5)), ((1, -9), (5, -1))])
def test_a_box_wholly_outside_has_no_area_left(
    corners: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    assert Box.spanning(*corners, PERCENT).clip().area == 0


@given(frames, shares, shares, shares, shares)
def test_corners_may_come_in_any_order(
    frame: Frame, ax: float, ay: float, bx: float, by: float
) -> None:
    box = Box.spanning((ax, ay), (bx, by), frame)
    assert box == Box.spanning((bx, by), (ax, ay), frame) == Box.spanning((ax, by), (bx, ay), frame)
    assert box.width == abs(ax - bx)
    assert box.height == abs(ay - by)


@given(boxes(), boxes())
def test_iou_is_a_symmetric_share_that_no_frame_changes(box: Box, other: Box) -> None:
    iou = box.iou(other)
    assert 0 <= iou <= 1 + 1e-12
    # The area of a sliver far thinner than a pixel is lost to rounding.
    assume(all(min(b.width, b.height) > 1e-3 for b in (box.to(PERCENT), other.to(PERCENT))))
    assert iou == pytest.approx(other.iou(box), abs=1e-6)
    assert iou == pytest.approx(box.to(THOUSAND).iou(other.to(PERCENT)), abs=1e-6)


@given(boxes())
def test_a_box_overlaps_itself_wholly_unless_it_has_no_area(box: Box) -> None:
    assert box.iou(box) == (pytest.approx(1) if box.area > 0 else 0)


@pytest.mark.parametrize(
    ("other", "iou"),
    [
        ((0, 0, 10, 10), 1),
        ((5, 0, 15, 10), 1 / 3),
        ((5, 5, 15, 15), 25 / 175),
        ((2, 2, 4, 4), 4 / 100),
        ((10, 0, 20, 10), 0),  # they touch
        ((50, 50, 60, 60), 0),
        ((3, 3, 3, 9), 0),  # no area
    ],
)
def test_iou_of_known_boxes(other: tuple[float, float, float, float], iou: float) -> None:
    assert Box(0, 0, 10, 10, PERCENT).iou(Box(*other, PERCENT)) == pytest.approx(iou)


@given(boxes(), shares, shares, frames)
def test_a_box_contains_its_inside_edges_and_center_and_nothing_else(
    box: Box, x: float, y: float, frame: Frame
) -> None:
    assert box.contains(box.center)
    assert box.contains(Point(box.x1, box.y1, box.frame))
    assert box.contains(Point(box.x2, box.y2, box.frame))
    assert not box.contains(Point(box.x2 + 1, box.y2, box.frame))
    assert not box.contains(Point(box.x1, box.y1 - 1, box.frame))
    # Far enough inside that the rounding of a conversion cannot move it across the edge.
    assume(box.to(PERCENT).width > 1e-3)
    assume(box.to(PERCENT).height > 1e-3)
    inside = Point(
        box.x1 + (0.1 + 0.8 * x) * box.width, box.y1 + (0.1 + 0.8 * y) * box.height, box.frame
    )
    assert box.contains(inside.to(frame))
