"""Laws of frames that cover a part of the picture: what tiles, crops and film frames rely on."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from grounding.geometry import (
    PERCENT,
    WHOLE,
    Box,
    Extent,
    Frame,
    PixelBounds,
    Point,
    image_frame,
    model_frame,
)
from grounding.qwen.profiles import PROFILES
from tests.geometry.geometries import boxes, crops, frames, images, near, points, resizes, shares

PICTURE = image_frame(1000, 600)
TILE = Frame("image", 400, 300, Extent(0.5, 0.25, 0.4, 0.5))
"""The pixels of `PICTURE` from (500, 150) to (900, 450)."""

profiles = st.sampled_from(sorted(PROFILES.values(), key=lambda profile: profile.name))


def close(a: Point, b: Point, share: float = 1e-9) -> bool:
    """Say whether two points of one frame agree to `share` of its sides."""
    across, down = a.frame.width * share, a.frame.height * share
    return a.frame == b.frame and abs(a.x - b.x) <= across and abs(a.y - b.y) <= down


def test_a_tile_starts_at_its_own_corner_of_the_picture() -> None:
    assert Point(0, 0, TILE).to(PICTURE) == Point(500, 150, PICTURE)
    assert Point(400, 300, TILE).to(PICTURE) == Point(900, 450, PICTURE)
    assert Point(500, 150, PICTURE).to(TILE) == Point(0, 0, TILE)
    assert Box(510, 180, 540, 240, PICTURE).to(TILE) == Box(10, 30, 40, 90, TILE)


def test_a_tile_measures_the_same_place_in_its_own_model_pixels() -> None:
    seen = Frame("model", 560, 280, TILE.extent)
    assert Point(100, 150, TILE).to(seen) == Point(140, 140, seen)
    assert seen.scale_to(TILE) == (400 / 560, 300 / 280)
    assert seen.offset_to(PICTURE) == (500, 150)
    assert PICTURE.offset_to(TILE) == (-500, -150)


@given(crops())
def test_the_corners_of_a_view_are_those_of_its_extent(view: Frame) -> None:
    left, top, width, height = view.extent
    corner, far = Point(0, 0, view).to(PERCENT), Point(view.width, view.height, view).to(PERCENT)
    assert (corner.x, corner.y) == (pytest.approx(100 * left), pytest.approx(100 * top))
    assert far.x == pytest.approx(100 * (left + width))
    assert far.y == pytest.approx(100 * (top + height))


@given(boxes(), frames)
def test_a_box_comes_back_through_any_other_frame(box: Box, other: Frame) -> None:
    assert near(box.to(other).to(box.frame), box)


@given(points(), frames, frames)
def test_a_detour_through_another_frame_changes_nothing(
    point: Point, detour: Frame, goal: Frame
) -> None:
    assert close(point.to(detour).to(goal), point.to(goal))


@given(boxes(), frames)
def test_a_box_is_converted_corner_by_corner(box: Box, frame: Frame) -> None:
    moved = box.to(frame)
    a, b = Point(box.x1, box.y1, box.frame).to(frame), Point(box.x2, box.y2, box.frame).to(frame)
    assert (moved.x1, moved.y1, moved.x2, moved.y2) == (a.x, a.y, b.x, b.y)


@given(boxes(), frames)
def test_sides_scale_by_the_factors_between_the_frames(box: Box, frame: Frame) -> None:
    across, down = box.frame.scale_to(frame)
    moved = box.to(frame)
    # The difference of two coordinates far from the origin keeps fewer digits.
    room = 1e-9 * (abs(moved.x2) + abs(moved.y2) + frame.width + frame.height)
    assert moved.width == pytest.approx(box.width * across, abs=room)
    assert moved.height == pytest.approx(box.height * down, abs=room)


@given(boxes(), shares, shares, frames, frames)
def test_containment_is_the_same_in_every_frame(
    box: Box, x: float, y: float, one: Frame, other: Frame
) -> None:
    percent = box.to(PERCENT)
    assume(min(percent.width, percent.height) > 1e-3)
    # From far left above the box to far right below it, but not within rounding of an edge.
    assume(all(abs(3 * share - edge) > 1e-3 for share in (x, y) for edge in (1, 2)))
    spot = Point(box.x1 + (3 * x - 1) * box.width, box.y1 + (3 * y - 1) * box.height, box.frame)
    inside = 1 < 3 * x < 2 and 1 < 3 * y < 2
    assert box.to(one).contains(spot.to(other)) is inside


@given(boxes(), boxes(), frames, frames)
def test_iou_is_the_same_in_every_frame(box: Box, other: Box, one: Frame, two: Frame) -> None:
    assume(all(min(b.width, b.height) > 1e-3 for b in (box.to(PERCENT), other.to(PERCENT))))
    assert box.to(one).iou(other.to(two)) == pytest.approx(box.iou(other), abs=1e-6)


@given(boxes(images()), crops())
def test_clipping_to_a_view_leaves_what_it_shows(box: Box, view: Frame) -> None:
    left, top, width, height = (100 * share for share in view.extent)
    shown, whole = box.to(view).clip().to(PERCENT), box.to(PERCENT)
    expected = [
        min(max(value, low), low + side)
        for value, low, side in (
            (whole.x1, left, width),
            (whole.y1, top, height),
            (whole.x2, left, width),
            (whole.y2, top, height),
        )
    ]
    assert [shown.x1, shown.y1, shown.x2, shown.y2] == pytest.approx(expected, abs=1e-9)


@given(points(images()), crops())
def test_clipping_a_point_to_a_view_leaves_it_or_puts_it_on_the_edge(
    point: Point, view: Frame
) -> None:
    left, top, width, height = (100 * share for share in view.extent)
    kept, percent = point.to(view).clip().to(PERCENT), point.to(PERCENT)
    assert kept.x == pytest.approx(min(max(percent.x, left), left + width), abs=1e-9)
    assert kept.y == pytest.approx(min(max(percent.y, top), top + height), abs=1e-9)


@given(crops(), resizes())
def test_the_model_frame_of_a_view_covers_the_same_part_of_the_picture(
    view: Frame, resize: tuple[int, int, int]
) -> None:
    seen = model_frame(view, PixelBounds(*resize))
    assert seen.extent == view.extent
    whole = model_frame(image_frame(int(view.width), int(view.height)), PixelBounds(*resize))
    assert (seen.width, seen.height) == (whole.width, whole.height)
    assert whole.extent == WHOLE


@given(boxes(), crops(), resizes(), profiles.map(lambda profile: profile.name))
def test_the_integers_of_a_prompt_come_back_to_within_half_a_unit(
    box: Box, view: Frame, resize: tuple[int, int, int], name: str
) -> None:
    frame = PROFILES[name].answer_frame(model_frame(view, PixelBounds(*resize)))
    wanted = box.to(frame)
    written = Box(*(round(v) for v in (wanted.x1, wanted.y1, wanted.x2, wanted.y2)), frame)
    back = written.to(box.frame)
    across, down = (0.5 * factor for factor in frame.scale_to(box.frame))
    # Where a tile lies far from the box, its coordinates are large and keep fewer digits.
    room = 1e-9 * (box.frame.width + box.frame.height)
    for value, expected, half in (
        (box.x1, back.x1, across),
        (box.y1, back.y1, down),
        (box.x2, back.x2, across),
        (box.y2, back.y2, down),
    ):
        assert abs(value - expected) <= half + room


@given(crops(), st.floats(0, 2))
def test_a_margin_is_a_share_of_each_side(view: Frame, share: float) -> None:
    assert view.margin(share) == (share * view.width, share * view.height)
    box = Box(1, 2, 31, 12, view)
    assert box.margin(0.5) == (15, 5)


def test_a_box_over_half_of_its_frame_has_a_share_of_one_half() -> None:
    assert Box(0, 0, 280, 140, Frame("model", 280, 280, TILE.extent)).share == 0.5
    assert Box(0, 0, 100, 100, PERCENT).share == 1


def test_the_distance_of_two_points_is_a_share_of_the_longer_side() -> None:
    a, b = Point(100, 100, PICTURE), Point(400, 500, PICTURE)
    assert a.apart(b, PICTURE) == pytest.approx(0.5)
    assert a.to(TILE).apart(b.to(PERCENT), PICTURE) == pytest.approx(0.5)
    tall = image_frame(600, 1000)
    assert Point(0, 0, tall).apart(Point(0, 100, tall), tall) == pytest.approx(0.1)
