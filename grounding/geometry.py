"""Boxes, points and the frames they live in: the only module that scales coordinates.

A `Frame` measures an upright picture, or a rectangle of it, in units of its own. A `Box` or a
`Point` always carries its frame, and `to(frame)` converts it to any other:

    image    pixels of the upright original (EXIF orientation applied), as a browser shows it
    model    pixels of a view after our resize, as the model sees it
    percent  0 to 100 of the picture's width and height, as Label Studio stores it
    thousand 0 to 1000 of a view's width and height, as some model families write it

The x and y factors differ, because the sides of a view are rounded to whole patches. The frame of
a tile or a crop covers a part of the picture, its `extent`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from grounding.errors import ImageTooThin

MAX_ASPECT = 200
"""Largest ratio of the longer side to the shorter one that Qwen's own resize accepts."""


class Extent(NamedTuple):
    """A rectangle of the picture, in shares (0 to 1) of its width and height."""

    left: float
    top: float
    width: float
    height: float


WHOLE = Extent(0.0, 0.0, 1.0, 1.0)
"""The whole picture."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A coordinate system of `width` by `height` units over the `extent` of an upright picture."""

    name: Literal["image", "model", "percent", "thousand"]
    width: float
    height: float
    extent: Extent = WHOLE

    def scale_to(self, frame: Frame) -> tuple[float, float]:
        """Return the factors that turn a width and a height of this frame into those of `frame`."""
        across = self.extent.width / frame.extent.width
        down = self.extent.height / frame.extent.height
        return frame.width / self.width * across, frame.height / self.height * down

    def offset_to(self, frame: Frame) -> tuple[float, float]:
        """Return the x and y of this frame's origin in `frame`."""
        left = (self.extent.left - frame.extent.left) / frame.extent.width
        top = (self.extent.top - frame.extent.top) / frame.extent.height
        return left * frame.width, top * frame.height

    @property
    def aspect(self) -> float:
        """The height, as a multiple of the width."""
        return self.height / self.width

    def pixels_of(self, image: Frame) -> float:
        """Return the pixels of this frame for each of `image`: below 1, the picture is shrunk."""
        across, down = image.scale_to(self)
        return across * down

    def bounds(self) -> Box:
        """Return the box around all of this frame."""
        return Box(0, 0, self.width, self.height, self)

    def margin(self, share: float) -> tuple[float, float]:
        """Return `share` of the width and of the height, in units of this frame."""
        return share * self.width, share * self.height


PERCENT = Frame("percent", 100, 100)
THOUSAND = Frame("thousand", 1000, 1000)


@dataclass(frozen=True, slots=True)
class Point:
    """A point, in units of its frame from the frame's top left corner."""

    x: float
    y: float
    frame: Frame

    @property
    def coordinates(self) -> tuple[float, ...]:
        """Its x and y, as a model writes them."""
        return self.x, self.y

    def to(self, frame: Frame) -> Point:
        """Return the same point measured in `frame`."""
        sx, sy = self.frame.scale_to(frame)
        left, top = self.frame.offset_to(frame)
        return Point(self.x * sx + left, self.y * sy + top, frame)

    def apart(self, other: Point, image: Frame) -> float:
        """Return the distance to `other` in `image`, as a share of its longer side."""
        a, b = self.to(image), other.to(image)
        return math.hypot(a.x - b.x, a.y - b.y) / max(image.width, image.height)

    def window(self, share: float) -> Box:
        """Return the box around this point with `share` of the frame's sides, inside the frame."""
        across, down = self.frame.margin(share / 2)
        x = min(max(self.x, across), self.frame.width - across)
        y = min(max(self.y, down), self.frame.height - down)
        return Box(x - across, y - down, x + across, y + down, self.frame)

    def clip(self) -> Point:
        """Return the nearest point inside the frame, edges included."""
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
    def share(self) -> float:
        """Area as a share of the frame's area."""
        return self.area / (self.frame.width * self.frame.height)

    @property
    def center(self) -> Point:
        """The middle of the box, in the same frame."""
        return Point((self.x1 + self.x2) / 2, (self.y1 + self.y2) / 2, self.frame)

    @property
    def coordinates(self) -> tuple[float, ...]:
        """Its x1, y1, x2 and y2, as a model writes them."""
        return self.x1, self.y1, self.x2, self.y2

    def to(self, frame: Frame) -> Box:
        """Return the same box measured in `frame`."""
        if frame is self.frame:  # most are, and crowds are compared by the million
            return self
        sx, sy = self.frame.scale_to(frame)
        left, top = self.frame.offset_to(frame)
        return Box(
            self.x1 * sx + left, self.y1 * sy + top, self.x2 * sx + left, self.y2 * sy + top, frame
        )

    def clip(self) -> Box:
        """Return the part of the box inside the frame; a box wholly outside has no area."""
        w, h = self.frame.width, self.frame.height
        return Box(
            _clamp(self.x1, w),
            _clamp(self.y1, h),
            _clamp(self.x2, w),
            _clamp(self.y2, h),
            self.frame,
        )

    def around_turned(self, degrees: float, image: Frame) -> Box:
        """Return the upright box around this one turned clockwise about its top left corner.

        That is how Label Studio stores a turned box; angles are of `image`, whose pixels are
        square.
        """
        flat, angle = self.to(image), math.radians(degrees)
        across = (flat.width * math.cos(angle), flat.width * math.sin(angle))
        down = (-flat.height * math.sin(angle), flat.height * math.cos(angle))
        xs = [flat.x1 + a + b for a in (0.0, across[0]) for b in (0.0, down[0])]
        ys = [flat.y1 + a + b for a in (0.0, across[1]) for b in (0.0, down[1])]
        return Box(min(xs), min(ys), max(xs), max(ys), image).to(self.frame)

    def toward(self, other: Box, share: float) -> Box:
        """Return the box that is `share` of the way to `other`, in this frame; beyond it above 1.

        Each side moves by itself, as Label Studio moves a box between two key frames.
        """
        ends = zip(self.coordinates, other.to(self.frame).coordinates, strict=True)
        x1, y1, x2, y2 = (a + (b - a) * share for a, b in ends)
        return Box(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2), self.frame)

    def grown(self, share: float) -> Box:
        """Return the box with `share` of its width and height more on each side."""
        across, down = self.margin(share)
        return Box(self.x1 - across, self.y1 - down, self.x2 + across, self.y2 + down, self.frame)

    def margin(self, share: float) -> tuple[float, float]:
        """Return `share` of the box's width and of its height, in units of the frame."""
        return share * self.width, share * self.height

    def contains(self, point: Point) -> bool:
        """Say whether `point`, in any frame, lies in the box, edges included."""
        p = point.to(self.frame)
        return self.x1 <= p.x <= self.x2 and self.y1 <= p.y <= self.y2

    def iou(self, other: Box) -> float:
        """Return intersection over union with `other`, 0 to 1; 0 where both have no area."""
        o = other.to(self.frame)
        across = max(0.0, min(self.x2, o.x2) - max(self.x1, o.x1))
        down = max(0.0, min(self.y2, o.y2) - max(self.y1, o.y1))
        union = self.area + o.area - across * down
        return across * down / union if union > 0 else 0.0


@dataclass(frozen=True, slots=True)
class KeyFrame:
    """A box at a frame of the page, counted from 1.

    Where it is not `enabled`, the box is seen at this frame and no more after it, until the next
    key frame.
    """

    frame: int
    box: Box
    enabled: bool = True


def between(first: KeyFrame, last: KeyFrame, frame: int) -> Box:
    """Return the box that the page shows at a frame between two key frames."""
    share = (frame - first.frame) / max(1, last.frame - first.frame)
    return first.box.toward(last.box, share)


def seen_at(keys: Sequence[KeyFrame], frame: int) -> Box | None:
    """Return the box that the page shows at a frame, None where it shows none.

    `keys` are in order. After the last one, where it is enabled, the box stays.
    """
    at = bisect_right(keys, frame, key=lambda key: key.frame)
    if not at:
        return None
    last = keys[at - 1]
    if last.frame == frame or (last.enabled and at == len(keys)):
        return last.box
    return between(last, keys[at], frame) if last.enabled else None


def image_frame(width: int, height: int) -> Frame:
    """Return the frame of an upright original of `width` by `height` pixels."""
    return Frame("image", width, height)


class PixelBounds(NamedTuple):
    """The sizes of a view: its sides are multiples of `factor`, its area in pixels is bounded."""

    factor: int
    min_pixels: int
    max_pixels: int


def model_frame(image: Frame, bounds: PixelBounds) -> Frame:
    """Return the frame in which the model sees the pixels of `image`, by Qwen's resize rule.

    Both sides are rounded to multiples of the factor (28 for Qwen2.5-VL). If the area then exceeds
    `max_pixels` or falls below `min_pixels`, the picture is scaled to that bound with its
    aspect kept. A size that meets the rule does not change, so a second resize is a no-op. The
    frame covers the same extent as `image`. Raises `ImageTooThin` above 200:1, as `smart_resize`
    of qwen-vl-utils does.
    """
    factor, min_pixels, max_pixels = bounds
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
    return Frame("model", wide, high, image.extent)


def shown_size(width: int, height: int, aspect: float, *, turned: bool) -> tuple[int, int]:
    """Return the width and height at which a film is shown.

    `width` and `height` are those of its stored frames, `aspect` the width of a stored pixel as a
    multiple of its height; a `turned` film lies on its side in the file.
    """
    wide = max(1, round(width * aspect)) if 0 < aspect < MAX_ASPECT else width
    return (height, wide) if turned else (wide, height)


CROP_MARGIN = 0.15
"""What a crop shows beyond each side of a box, as a share of that side."""

CROP_AROUND_POINT = 0.15
"""How far a crop reaches on each side of a point, as a share of the picture's shorter side."""

CROP_ASPECT = 8
"""Largest ratio of a crop's sides: a line of print gets something above and below it."""


def crop_frame(place: Box | Point, image: Frame) -> tuple[Frame, tuple[int, int, int, int]]:
    """Return the frame of the pixels of `image` around a place, and their corners in it.

    They are whole pixels inside the picture: the place, a margin, and on a long and thin box as
    much as its shorter side needs.
    """
    seen = place.to(image)
    if isinstance(seen, Point):
        reach = CROP_AROUND_POINT * min(image.width, image.height)
        seen = Box(seen.x, seen.y, seen.x, seen.y, image)
        across = down = reach
    else:
        across, down = seen.margin(CROP_MARGIN)
    least = max(seen.width + 2 * across, seen.height + 2 * down) / CROP_ASPECT
    across = max(across, (least - seen.width) / 2)
    down = max(down, (least - seen.height) / 2)
    wide = Box(seen.x1 - across, seen.y1 - down, seen.x2 + across, seen.y2 + down, image).clip()
    x1, x2 = _whole(wide.x1, wide.x2, image.width)
    y1, y2 = _whole(wide.y1, wide.y2, image.height)
    part = Extent(
        x1 / image.width, y1 / image.height, (x2 - x1) / image.width, (y2 - y1) / image.height
    )
    return Frame("image", x2 - x1, y2 - y1, part), (x1, y1, x2, y2)


def _whole(low: float, high: float, limit: float) -> tuple[int, int]:
    """Return the whole pixels that cover a range of at most `limit`: at least one."""
    first = min(math.floor(low), math.ceil(limit) - 1)
    return first, max(first + 1, min(math.ceil(high), math.ceil(limit)))


def _multiple(side: float, factor: int) -> int:
    return round(side / factor) * factor


def _clamp(value: float, limit: float) -> float:
    return min(max(value, 0.0), limit)
