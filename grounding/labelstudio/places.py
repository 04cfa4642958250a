"""Where a drawn region is, read from Label Studio's JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from grounding.errors import RequestError
from grounding.geometry import PERCENT, Box, Point

OVERSHOOT = 0.01
"""Percent by which the page's own arithmetic may put a place outside of the image."""

Result = Mapping[str, Any]
"""One entry of a `result` as Label Studio sends it: strangers' JSON."""


def word(result: Result, key: str) -> str | None:
    """Return the text under `key`, or None where there is none."""
    found = result.get(key)
    return found if isinstance(found, str) else None


def is_drawn(result: Result) -> bool:
    """Say whether a result is a region that we know how to place."""
    return word(result, "type") in _READERS


def place(result: Result) -> Box | Point:
    """Return where a drawn region is, in percent and inside the image.

    Raises `RequestError` `context_invalid`: status 400 where it has no value, 422 where that is
    no place, or a turned box.
    """
    value = result.get("value")
    if not isinstance(value, Mapping):
        raise invalid("a drawn region has no value", status=400)
    return _READERS[result["type"]](value)


def invalid(cause: str, *, hint: str = "", status: int = 422) -> RequestError:
    """Return the error for what the page cannot have sent."""
    return RequestError(cause, code="context_invalid", hint=hint, status=status)


def _point(value: Result) -> Point:
    return Point(_percent(value, "x"), _percent(value, "y"), PERCENT).clip()


def _box(value: Result) -> Box:
    if value.get("rotation"):
        raise invalid("the drawn box is turned", hint="Draw it upright")
    x, y = _percent(value, "x"), _percent(value, "y")
    corner = (x + _percent(value, "width"), y + _percent(value, "height"))
    return Box.spanning((x, y), corner, PERCENT).clip()


def _percent(value: Result, key: str) -> float:
    number = value.get(key)
    if not isinstance(number, int | float) or not -OVERSHOOT <= number <= 100 + OVERSHOOT:
        raise invalid(f"a drawn region's {key} is no percentage")
    return float(number)


_READERS: dict[str, Callable[[Result], Box | Point]] = {
    "rectanglelabels": _box,
    "rectangle": _box,
    "keypointlabels": _point,
    "keypoint": _point,
}
"""How each type of drawn region says where it is."""
