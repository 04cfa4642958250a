"""The last look at a prediction before it leaves: what the page would choke on is left out.

The page stops reading a prediction at the first result of a wrong type, so one would hide all that
follow it. A result that is left out takes along what belongs to it: the rest of its region, and
the relations to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from grounding.labelstudio.controls import CONTROLS
from grounding.labelstudio.controls.base import Region, are_texts, is_number

PLACES = frozenset(tag.lower() for tag, kind in CONTROLS.items() if kind.draws)
"""Types of results that draw: without theirs, a region has nothing to belong to."""

RELATION = "relation"


def split_sound(result: Sequence[Region]) -> tuple[list[Region], list[Region]]:
    """Return the results that the page can read, and the others, each in the same order.

    A companion of a region comes after the result that draws it, else it would be the region.
    """
    broken = {id(one) for one in result if not is_sound(one)}
    lost = {one["id"] for one in result if id(one) in broken and one.get("type") in PLACES}
    kept: list[Region] = []
    left: list[Region] = []
    for one in result:
        ends = (one.get("from_id"), one.get("to_id")) if one.get("type") == RELATION else ()
        gone = id(one) in broken or one.get("id") in lost or lost.intersection(ends)
        (left if gone else kept).append(one)
    return kept, left


def is_sound(one: Region) -> bool:
    """Say whether the page can read a result: its value is of its type, its place in the image."""
    if one.get("type") == RELATION:
        named = one.get("labels") == [] or are_texts(one.get("labels"))
        return named and all(isinstance(one.get(end), str) for end in ("from_id", "to_id"))
    kind, value = one.get("type"), one.get("value")
    named = all(isinstance(one.get(key), str) for key in ("id", "from_name", "to_name"))
    if not named or not isinstance(value, Mapping) or kind not in CHECKS:
        return False
    return CHECKS[kind](value) and _is_place(value) and is_number(one.get("score", 0))


def _is_place(value: Mapping[str, Any]) -> bool:
    """Say whether what a value says of a place is in percent; a value may say nothing of one."""
    sides = [value[key] for key in ("x", "y", "width", "height") if key in value]
    return all(is_number(side) and 0 <= side <= 100 for side in sides)


def _box(value: Mapping[str, Any]) -> bool:
    return all(key in value for key in ("x", "y", "width", "height"))


def _point(value: Mapping[str, Any]) -> bool:
    return all(key in value for key in ("x", "y", "width"))


CHECKS: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "rectangle": _box,
    "rectanglelabels": lambda value: _box(value) and are_texts(value.get("rectanglelabels", ["-"])),
    "keypoint": _point,
    "keypointlabels": lambda value: _point(value) and are_texts(value.get("keypointlabels", ["-"])),
    "labels": lambda value: are_texts(value.get("labels")),
    **{tag.lower(): kind.is_sound for tag, kind in CONTROLS.items() if kind.is_sound},
}
"""What the value of each type of result has to be. A region of `<Rectangle>` may have no label."""
