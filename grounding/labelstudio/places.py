"""Reads where a drawn region is from Label Studio's JSON."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from grounding.errors import RequestError
from grounding.geometry import PERCENT, Box, Point

OVERSHOOT = 0.01
"""Percent by which the page's own rounding may put a place outside the image."""

_SIDES = frozenset({"x", "y", "width", "height"})

Result = Mapping[str, Any]
"""One entry of a `result` list as Label Studio sends it: untrusted JSON."""


def read_text(result: Result, key: str) -> str | None:
    """Return the text under `key`, or None if there is none."""
    found = result.get(key)
    return found if isinstance(found, str) else None


def is_drawn(result: Result) -> bool:
    """Say whether a result is a region whose place `read_place` can read.

    A label that is selected while a text of ours arrives becomes a result of that text: it has a
    drawn region's type and no place at all.
    """
    value = result.get("value")
    placeless = isinstance(value, Mapping) and not _SIDES & value.keys()
    return read_text(result, "type") in _READERS and not placeless


def read_place(result: Result) -> Box | Point:
    """Return where a drawn region is, in percent and inside the image.

    Raises `RequestError` `context_invalid`: status 400 if it has no value, 422 if the value is
    not a place or the box is rotated.
    """
    value = result.get("value")
    if not isinstance(value, Mapping):
        raise context_error("a drawn region has no value", status=400)
    return _READERS[result["type"]](value)


def context_error(cause: str, *, hint: str = "", status: int = 422) -> RequestError:
    """Return the error for a context that Label Studio's page does not send."""
    return RequestError(cause, code="context_invalid", hint=hint, status=status)


def _read_point(value: Result) -> Point:
    return Point(_read_percent(value, "x"), _read_percent(value, "y"), PERCENT).clip()


def _read_box(value: Result) -> Box:
    if value.get("rotation"):
        raise context_error("the drawn box is turned", hint="Draw it upright")
    x, y = _read_percent(value, "x"), _read_percent(value, "y")
    corner = (x + _read_percent(value, "width"), y + _read_percent(value, "height"))
    return Box.spanning((x, y), corner, PERCENT).clip()


def _read_percent(value: Result, key: str) -> float:
    number = value.get(key)
    if not isinstance(number, int | float) or not -OVERSHOOT <= number <= 100 + OVERSHOOT:
        raise context_error(f"a drawn region's {key} is no percentage")
    return float(number)


_READERS: dict[str, Callable[[Result], Box | Point]] = {
    "rectanglelabels": _read_box,
    "rectangle": _read_box,
    "keypointlabels": _read_point,
    "keypoint": _read_point,
}
"""The reader for each type of drawn region."""
