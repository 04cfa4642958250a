"""Boxes, points and the frames they live in: the only place that scales.

A picture has one upright shape and several rulers to measure it with. Each ruler is a
`Frame`; a `Box` or `Point` always travels with its own, and changing rulers is `to(frame)`:

    image    pixels of the upright original (EXIF turn applied), what a browser shows
    model    pixels after our resize, what the model sees
    percent  0 to 100 of the width and of the height, what Label Studio stores
    thousand 0 to 1000 of the width and of the height, what some model families write

The x and y factors differ, because the model's sides are rounded to whole patches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from grounding.errors import ImageTooThin

MAX_ASPECT = 200
"""Longest side over shortest beyond which Qwen's own resize refuses a picture."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A ruler laid over the whole upright picture: `width` by `height` units."""

    name: Literal["image", "model", "percent", "thousand"]
    width: float
    height: float


PERCENT = Frame("percent", 100, 100)
THOUSAND = Frame("thousand", 1000, 1000)


@dataclass(frozen=True, slots=True)
class Point:
    """A place in the picture, in units of its frame, from the top left corner."""

    x: float
    y: float
    frame: Frame

    def to(self, frame: Frame) -> Point:
        """Return the same place measured in `frame`."""
        return Point(
            self.x * (frame.width / self.frame.width),
            self.y * (frame.height / self.frame.height),
            frame,
        )

    def apart(self, other: Point, image: Frame) -> float:
        """Return the distance to `other` on `image`, as a share of its longer side."""
        a, b = self.to(image), other.to(image)
        return math.hypot(a.x - b.x, a.y - b.y) / max(image.width, image.height)

    def clip(self) -> Point:
        """Return the nearest place inside the picture, edges included."""
        return replace(
            self, x=_clamp(self.x, self.frame.width), y=_clamp(self.y, self.frame.height)
        )


@dataclass(frozen=True, slots=True)
class Box:
    """An upright rectangle between two corners, in units of its frame, x1 ≤ x2 and y1 ≤ y2."""

    x1: float
    y1: float
    x2: float
    y2: float
    frame: Frame

    @classmethod
    def spanning(cls, a: tuple[float, float], b: tuple[float, float], frame: Frame) -> Box:
        """Return the box with the two opposite corners `a` and `b`, given in any order."""
        (ax, ay), (bx, by) = a, b
        return cls(min(ax, bx), min(ay, by), max(ax, bx), max(ay, by), frame)

    @property
    def width(self) -> float:
        """Horizontal extent, in units of the frame."""
        return self.x2 - self.x1

    @property
    def height(self) -> float:
        """Vertical extent, in units of the frame."""
        return self.y2 - self.y1

    @property
    def area(self) -> float:
        """Width times height, in square units of the frame."""
        return self.width * self.height

    @property
    def center(self) -> Point:
        """The middle of the box, in the same frame."""
        return Point((self.x1 + self.x2) / 2, (self.y1 + self.y2) / 2, self.frame)

    def to(self, frame: Frame) -> Box:
        """Return the same box measured in `frame`."""
        sx, sy = frame.width / self.frame.width, frame.height / self.frame.height
        return Box(self.x1 * sx, self.y1 * sy, self.x2 * sx, self.y2 * sy, frame)

    def clip(self) -> Box:
        """Return the part of the box inside the picture; a box wholly outside has no area."""
        w, h = self.frame.width, self.frame.height
        return Box(
            _clamp(self.x1, w),
            _clamp(self.y1, h),
            _clamp(self.x2, w),
            _clamp(self.y2, h),
            self.frame,
        )

    def contains(self, point: Point) -> bool:
        """Say whether `point`, in whatever frame, lies in the box, edges included."""
        p = point.to(self.frame)
        return self.x1 <= p.x <= self.x2 and self.y1 <= p.y <= self.y2

    def iou(self, other: Box) -> float:
        """Return intersection over union with `other`, 0 to 1; 0 where both have no area."""
        o = other.to(self.frame)
        across = max(0.0, min(self.x2, o.x2) - max(self.x1, o.x1))
        down = max(0.0, min(self.y2, o.y2) - max(self.y1, o.y1))
        union = self.area + o.area - across * down
        return across * down / union if union > 0 else 0.0


def image_frame(width: int, height: int) -> Frame:
    """Return the frame of an upright original of `width` by `height` pixels."""
    return Frame("image", width, height)


def model_frame(image: Frame, factor: int, min_pixels: int, max_pixels: int) -> Frame:
    """Return the size at which the model sees `image`: Qwen's resize rule.

    Both sides become multiples of `factor` (28 for Qwen2.5-VL) near the original's; then the
    area is brought down to `max_pixels` or up to `min_pixels` with the aspect kept. A size that
    meets all this already is left alone, so a later resize by the same rule changes nothing.
    Raises `ImageTooThin` above 200:1, as the library's own `smart_resize` refuses.
    """
    w, h = image.width, image.height
    if max(w, h) > MAX_ASPECT * min(w, h):
        raise ImageTooThin(f"the image is {w:g}×{h:g} pixels")
    wide, high = _multiple(w, factor), _multiple(h, factor)
    if wide * high > max_pixels:
        shrink = math.sqrt(w * h / max_pixels)
        wide = max(factor, math.floor(w / shrink / factor) * factor)
        high = max(factor, math.floor(h / shrink / factor) * factor)
    elif wide * high < min_pixels:
        grow = math.sqrt(min_pixels / (w * h))
        wide = math.ceil(w * grow / factor) * factor
        high = math.ceil(h * grow / factor) * factor
    return Frame("model", wide, high)


def _multiple(side: float, factor: int) -> int:
    return round(side / factor) * factor


def _clamp(value: float, limit: float) -> float:
    return min(max(value, 0.0), limit)
