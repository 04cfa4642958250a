"""Random pictures of coloured shapes, with the true box of each.

A `Scene` is plain data made from a seed: the same seed gives the same picture. Boxes are whole
pixels of the upright picture, half open: a thing paints the columns x1 to x2 - 1 and the rows
y1 to y2 - 1. `encode` stores a picture with any EXIF orientation, so that the upright picture is
the scene.
"""

from __future__ import annotations

import io
import math
import random
from dataclasses import dataclass
from typing import Literal

from PIL import Image, ImageDraw

Rgb = tuple[int, int, int]
Corners = tuple[int, int, int, int]
Outline = tuple[tuple[float, float], ...]

COLOURS: dict[str, Rgb] = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 210, 40),
    "black": (25, 25, 25),
    "orange": (240, 140, 30),
}
SHAPES = ("circle", "square", "triangle", "star")
NAMES = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)

SIDES = (90, 1000)
"""Shortest and longest side of a picture, in pixels."""

MAX_ASPECT = 3.0
MAX_THINGS = 4
HARD_KINDS = ("small", "touching", "look-alike")
PATCH = 28
"""No side of a picture is a multiple of this, so that every resize changes its size."""

ORIENTATION_TAG = 0x0112
UNDO_ORIENTATION = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""Transpositions of an upright picture that the EXIF orientation reverses."""


def _fitted(points: list[tuple[float, float]]) -> Outline:
    """Return `points` scaled to fill the unit square."""
    xs, ys = [x for x, _ in points], [y for _, y in points]
    left, top = min(xs), min(ys)
    across, down = max(xs) - left, max(ys) - top
    return tuple(((x - left) / across, (y - top) / down) for x, y in points)


def _ring(corners: int, radii: tuple[float, ...]) -> Outline:
    turn = 2 * math.pi / corners
    polar = [(radii[k % len(radii)], turn * k - math.pi / 2) for k in range(corners)]
    return _fitted([(r * math.cos(a), r * math.sin(a)) for r, a in polar])


OUTLINES: dict[str, Outline] = {
    "circle": _ring(64, (1.0,)),
    "square": ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)),
    "triangle": ((0.5, 0.0), (1.0, 1.0), (0.0, 1.0)),
    "star": _ring(10, (1.0, 0.4)),
}
"""The corners of each shape in the unit square, which it fills."""


def _centroid(outline: Outline) -> tuple[float, float]:
    """Return the centre of mass of a polygon, in the units of `outline`."""
    area = x = y = 0.0
    for (ax, ay), (bx, by) in zip(outline, outline[1:] + outline[:1], strict=True):
        cross = ax * by - bx * ay
        area += cross / 2
        x += (ax + bx) * cross
        y += (ay + by) * cross
    return x / (6 * area), y / (6 * area)


CENTROIDS = {shape: _centroid(outline) for shape, outline in OUTLINES.items()}


@dataclass(frozen=True, slots=True)
class Thing:
    """One coloured shape; `box` is (x1, y1, x2, y2) in pixels of the picture, `paint` its RGB."""

    colour: str
    shape: str
    box: Corners
    paint: Rgb

    @property
    def name(self) -> str:
        """The thing's name, such as "red circle"."""
        return f"{self.colour} {self.shape}"

    @property
    def point(self) -> tuple[float, float]:
        """The centre of mass, which lies inside the thing, in pixels of the picture."""
        return self._place(*CENTROIDS[self.shape])

    def outline(self) -> list[tuple[float, float]]:
        """Return the corners of the painted polygon, in pixels of the picture."""
        return [self._place(u, v) for u, v in OUTLINES[self.shape]]

    def covers(self, x: float, y: float) -> bool:
        """Return whether (x, y), in pixels of the picture, lies inside the polygon."""
        corners = self.outline()
        inside = False
        for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
            if (ay > y) != (by > y) and x < ax + (bx - ax) * (y - ay) / (by - ay):
                inside = not inside
        return inside

    def _place(self, u: float, v: float) -> tuple[float, float]:
        x1, y1, x2, y2 = self.box
        return x1 + u * (x2 - x1 - 1), y1 + v * (y2 - y1 - 1)


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture of `width` by `height` pixels and the things in it, which do not overlap."""

    width: int
    height: int
    ground: Rgb
    things: tuple[Thing, ...]

    def draw(self) -> Image.Image:
        """Return the upright RGB picture."""
        picture = Image.new("RGB", (self.width, self.height), self.ground)
        pen = ImageDraw.Draw(picture)
        for thing in self.things:
            pen.polygon(thing.outline(), fill=thing.paint)
        return picture

    def named(self, name: str) -> Thing | None:
        """Return the thing with `name`, or None if the picture has none."""
        return next((thing for thing in self.things if thing.name == name), None)


def scene(seed: int, sides: tuple[int, int] = SIDES) -> Scene:
    """Return the scene of `seed`, with both picture sides in `sides` pixels."""
    rng = random.Random(seed)
    width, height = _size(rng, *sides)
    ground = (rng.randint(170, 255), rng.randint(170, 255), rng.randint(170, 255))
    things: list[Thing] = []
    for name in rng.sample(NAMES, rng.randint(1, MAX_THINGS)):
        box = _free_box(rng, width, height, [thing.box for thing in things])
        if box:
            colour, shape = name.split()
            things.append(Thing(colour, shape, box, _paint(rng, colour)))
    return Scene(width, height, ground, tuple(things))


def hard_scene(seed: int, sides: tuple[int, int] = SIDES) -> Scene:
    """Return a scene of `seed` that is hard in one of the `HARD_KINDS`, which alternate.

    Small things have an eighteenth to a sixth of the longer side, less than in the training.
    Touching things share an edge. Touching and look-alike things have the colour or shape of the
    first one.
    """
    rng = random.Random(f"hard {seed}")
    kind = HARD_KINDS[seed % len(HARD_KINDS)]
    width, height = _size(rng, *sides)
    ground = (rng.randint(170, 255), rng.randint(170, 255), rng.randint(170, 255))
    things: list[Thing] = []
    for name in _hard_names(rng, kind):
        taken = [thing.box for thing in things]
        box = _hard_box(rng, kind, (width, height), taken)
        if box:
            colour, shape = name.split()
            things.append(Thing(colour, shape, box, _paint(rng, colour)))
    return Scene(width, height, ground, tuple(things))


def encode(
    picture: Image.Image, kind: Literal["JPEG", "PNG"] = "JPEG", orientation: int = 1
) -> bytes:
    """Return a file with EXIF `orientation` (1 to 8) whose upright picture is `picture`."""
    undo = UNDO_ORIENTATION.get(orientation)
    stored = picture if undo is None else picture.transpose(undo)
    exif = Image.Exif()
    exif[ORIENTATION_TAG] = orientation
    out = io.BytesIO()
    stored.save(out, kind, exif=exif, **({"quality": 92} if kind == "JPEG" else {}))
    return out.getvalue()


def _size(rng: random.Random, low: int, high: int) -> tuple[int, int]:
    longer = rng.randint(low, high)
    aspect = rng.uniform(1.0, min(MAX_ASPECT, longer / low))
    shorter = _off_patch(max(low, round(longer / aspect)))
    # Things have at least a sixth of the longer side and at most half of the shorter one. This
    # keeps the first limit below the second, by at least a pixel, at an aspect of three to one.
    longer = _off_patch(max(low, min(longer, 6 * (shorter // 2))))
    return (longer, shorter) if rng.random() < 0.5 else (shorter, longer)


def _off_patch(side: int) -> int:
    return side - 1 if side % PATCH == 0 else side


def _paint(rng: random.Random, colour: str) -> Rgb:
    r, g, b = (min(255, max(0, c + rng.randint(-14, 14))) for c in COLOURS[colour])
    return r, g, b


def _hard_names(rng: random.Random, kind: str) -> list[str]:
    first, *rest = rng.sample(NAMES, len(NAMES))
    near = [name for name in rest if set(name.split()) & set(first.split())]
    others = rest if kind == "small" else near
    return [first, *others[: rng.randint(1, MAX_THINGS - 1)]]


def _hard_box(
    rng: random.Random, kind: str, size: tuple[int, int], taken: list[Corners], tries: int = 40
) -> Corners | None:
    """Return a square in the picture that overlaps no box in `taken`, or None."""
    sixth, largest = -(-max(size) // 6), min(size) // 2
    bounds = (max(4, sixth // 3), sixth) if kind == "small" else (sixth, largest)
    for _ in range(tries):
        side = rng.randint(*bounds)
        x, y = rng.randint(0, size[0] - side), rng.randint(0, size[1] - side)
        if kind == "touching" and taken:
            x, y = _beside(rng, rng.choice(taken), side)
        box = (x, y, x + side, y + side)
        inside = min(box) >= 0 and box[2] <= size[0] and box[3] <= size[1]
        if inside and all(_apart(box, other, 0) for other in taken):
            return box
    return None


def _beside(rng: random.Random, box: Corners, side: int) -> tuple[int, int]:
    """Return the top left corner of a square that shares part of an edge with `box`."""
    x1, y1, x2, y2 = box
    x, y = rng.randint(x1 - side // 2, x2 - side // 2), rng.randint(y1 - side // 2, y2 - side // 2)
    return rng.choice(((x1 - side, y), (x2, y), (x, y1 - side), (x, y2)))


def _free_box(
    rng: random.Random, width: int, height: int, taken: list[Corners], tries: int = 20
) -> Corners | None:
    """Return a square away from the boxes in `taken`, or None after `tries`."""
    smallest, largest = -(-max(width, height) // 6), min(width, height) // 2
    gap = max(2, max(width, height) // 60)
    for _ in range(tries):
        side = rng.randint(smallest, largest)
        x, y = rng.randint(0, width - side), rng.randint(0, height - side)
        box = (x, y, x + side, y + side)
        if all(_apart(box, other, gap) for other in taken):
            return box
    return None


def _apart(a: Corners, b: Corners, gap: int) -> bool:
    return a[2] + gap <= b[0] or b[2] + gap <= a[0] or a[3] + gap <= b[1] or b[3] + gap <= a[1]
