"""Frames, boxes and resize rules for property tests."""

from __future__ import annotations

import math
from dataclasses import replace

from hypothesis import strategies as st

from grounding.geometry import (
    MAX_ASPECT,
    PERCENT,
    THOUSAND,
    Box,
    Extent,
    Frame,
    Point,
    image_frame,
)

TOKENS = {"default": (256, 1280), "checkpoint": (4, 16384)}
"""Bounds on the image tokens of a picture: our default, and what the checkpoints allow."""

shares = st.floats(0, 1)


@st.composite
def images(draw: st.DrawFn) -> Frame:
    """Draw a whole picture of 1 to 8000 pixels a side, up to 200:1, evenly in the logarithm."""
    long = round(math.exp(draw(st.floats(0, math.log(8000)))))
    aspect = math.exp(draw(st.floats(0, math.log(MAX_ASPECT))))
    short = max(1, math.ceil(long / aspect))
    return image_frame(*((long, short) if draw(st.booleans()) else (short, long)))


@st.composite
def extents(draw: st.DrawFn) -> Extent:
    """Draw a rectangle of the picture whose sides are at least a hundredth of the picture's."""
    left, top = draw(st.floats(0, 0.99)), draw(st.floats(0, 0.99))
    return Extent(left, top, draw(st.floats(0.01, 1 - left)), draw(st.floats(0.01, 1 - top)))


@st.composite
def crops(draw: st.DrawFn) -> Frame:
    """Draw the frame of a tile or crop: pixels, percent or thousandths of a part of the picture."""
    frame = draw(st.one_of(images(), st.sampled_from((PERCENT, THOUSAND))))
    return replace(frame, extent=draw(extents()))


@st.composite
def resizes(draw: st.DrawFn) -> tuple[int, int, int]:
    """Draw a family's factor and the pixel bounds of a deployment."""
    factor = draw(st.sampled_from((28, 32)))
    low, high = draw(st.sampled_from(sorted(TOKENS.values())))
    return factor, low * factor**2, high * factor**2


frames = st.one_of(images(), st.sampled_from((PERCENT, THOUSAND)), crops())


@st.composite
def points(draw: st.DrawFn, frame: st.SearchStrategy[Frame] = frames) -> Point:
    """Draw a point inside its frame."""
    f = draw(frame)
    return Point(draw(shares) * f.width, draw(shares) * f.height, f)


@st.composite
def boxes(draw: st.DrawFn, frame: st.SearchStrategy[Frame] = frames) -> Box:
    """Draw a box inside its frame, sometimes without area."""
    f = draw(frame)
    a, b = ((draw(shares) * f.width, draw(shares) * f.height) for _ in range(2))
    return Box.spanning(a, b, f)


def near(box: Box, other: Box, share: float = 1e-9) -> bool:
    """Say whether two boxes of one frame agree to `share` of its sides."""
    w, h = box.frame.width * share, box.frame.height * share
    return box.frame == other.frame and all(
        abs(a - b) <= room
        for a, b, room in (
            (box.x1, other.x1, w),
            (box.x2, other.x2, w),
            (box.y1, other.y1, h),
            (box.y2, other.y2, h),
        )
    )
