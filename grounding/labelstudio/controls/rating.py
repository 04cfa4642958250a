"""`<Rating>`: a whole number of stars, from 1 to maxRating."""

from __future__ import annotations

from grounding.labelstudio.config.xml import Element
from grounding.labelstudio.controls.fields import value_tag
from grounding.labelstudio.controls.number import read_number
from grounding.queries import ValueKind, ValueType

MOST_STARS = 5
"""Stars without `maxRating`."""


def read_stars(element: Element) -> ValueType:
    """Return the type of a rating; the page reads 0 as none given."""
    most = element.get("maxRating") or ""
    high = int(most) if most.isdecimal() and int(most) > 0 else MOST_STARS
    return ValueType(ValueKind.NUMBER, 1, high, whole=True)


def are_stars(value: object) -> bool:
    """Say whether the page can read a value as stars."""
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


RATING = value_tag(
    "Rating",
    read_number,
    lambda numbers: numbers[0],
    is_readable=are_stars,
    labels="none",
    value_type=read_stars,
)
