"""Places that name their numbers: x1 and y2, left and top, x and width, a top left corner."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from grounding.qwen.reading.matches import Matches, Note
from grounding.qwen.reading.values import Group, Value, lone_number
from grounding.qwen.reading.vocabulary import folded

Numbers = tuple[float, ...]

_SIDES = (("width", "height"), ("w", "h"), ("宽", "高"), ("宽度", "高度"))
_ORIGINS = (("x", "y"), ("left", "top"), ("xmin", "ymin"), ("x1", "y1"), ("topleft",))
_CENTRES = (
    ("cx", "cy"),
    ("xcenter", "ycenter"),
    ("centerx", "centery"),
    ("xc", "yc"),
)
_CORNERS = (
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("minx", "miny", "maxx", "maxy"),
    ("left", "top", "right", "bottom"),
    ("startx", "starty", "endx", "endy"),
    ("topleft", "bottomright"),
    ("topleftcorner", "bottomrightcorner"),
    ("lefttop", "rightbottom"),
    ("upperleft", "lowerright"),
    ("tl", "br"),
    ("lt", "rb"),
    ("p1", "p2"),
    ("左上角", "右下角"),
    ("左上", "右下"),
    ("x0", "y0", "x1", "y1"),
)


def corner_and_size(numbers: Numbers) -> Numbers:
    """Return the corners of a box given as x, y, width, height."""
    x, y, w, h = numbers
    return x, y, x + w, y + h


def _centre_and_size(numbers: Numbers) -> Numbers:
    x, y, w, h = numbers
    return x - w / 2, y - h / 2, x + w / 2, y + h / 2


def _as_is(numbers: Numbers) -> Numbers:
    return numbers


_SHAPES: list[tuple[tuple[str, ...], int, Callable[[Numbers], Numbers]]] = [
    *((names, 4, _as_is) for names in _CORNERS),
    *((a + b, 4, _centre_and_size) for a, b in product(_CENTRES, _SIDES)),
    *((a + b, 4, corner_and_size) for a, b in product(_ORIGINS, _SIDES)),
    *((names, 2, _as_is) for names in (("x", "y"), *_CENTRES)),
]


def place_on_axes(axes: dict[str, Value], out: Matches) -> Numbers | None:
    """Return the corners of the box, or the point, that `axes` (folded name to value) give."""
    for names, count, convert in _SHAPES:
        if all(name in axes for name in names):
            numbers = tuple(n for name in names for n in _coordinates(axes[name]))
            if len(numbers) != count:
                continue
            if convert is not _as_is:
                out.warnings.add(Note.XYWH)
            return convert(numbers)
    return None


def _coordinates(value: Value) -> Numbers:
    """Return one number, or the two of a corner given as [x, y] or {"x": ..., "y": ...}."""
    if isinstance(value, Group):
        return value.numbers or _corner(value)
    alone = lone_number(value.text)
    return () if alone is None else (alone,)


def _corner(group: Group) -> Numbers:
    named = {folded(k.text): v for k, v in group.entries if k and not isinstance(v, Group)}
    numbers = (lone_number(named[axis].text) for axis in "xy" if axis in named)
    return tuple(n for n in numbers if n is not None)
