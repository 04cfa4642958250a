"""`<Number>`: a number, within `min` and `max` where they are set.

With `model_task="count"` it is the number of regions on its image, or of what its `model_prompt`
says. `score_threshold` and `max_regions`, which set an annotator's limits, are not filled in.
"""

from __future__ import annotations

import math

from grounding.labelstudio.config.attributes import NUMBER_ATTRIBUTES
from grounding.labelstudio.config.conditions import is_shown
from grounding.labelstudio.config.interface import Control
from grounding.labelstudio.config.xml import Element
from grounding.labelstudio.controls.base import is_number
from grounding.labelstudio.controls.fields import value_tag
from grounding.queries import ValueKind, ValueType

LIMITS = ("score_threshold", "max_regions")
"""Beginnings of the names of numbers that people set."""

_BOUNDS = ("min", "max", "step")


def is_value(element: Element) -> bool:
    """Say whether a number is a value, and no limit that an annotator sets."""
    return is_shown(element) and not sets_limit(element)


def sets_limit(element: Element) -> bool:
    """Say whether people type into it what an answer must keep within."""
    return (element.get("name") or "").casefold().startswith(LIMITS)


def read_type(element: Element) -> ValueType:
    """Return the type of a number: whole where the page counts in whole steps from a whole one."""
    low, high, step = (_attribute(element, name) for name in _BOUNDS)
    whole = step is not None and step >= 1 and step.is_integer() and (low or 0.0).is_integer()
    return ValueType(ValueKind.NUMBER, low, high, whole=whole)


def _attribute(element: Element, name: str) -> float | None:
    return _finite(element.get(name) or "")


def _finite(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def read_number(control: Control, text: str) -> float | None:
    """Return the number in `text`, an `int` where it is whole; None outside its bounds."""
    number, kind = _finite(text), control.value_type
    if number is None or (kind.whole and not number.is_integer()):
        return None
    low, high = kind.low, kind.high
    if (low is not None and number < low) or (high is not None and number > high):
        return None
    return int(number) if number.is_integer() else number


NUMBER = value_tag(
    "Number",
    read_number,
    lambda numbers: numbers[0],
    is_readable=is_number,
    value_type=read_type,
    attributes=NUMBER_ATTRIBUTES,
    labels="none",
    serves=is_value,
)
