"""`<DateTime>`: a date, a time of day or both, written as the page reads them.

The page reads a value by its `format` alone, and shows nothing for any other spelling.
"""

from __future__ import annotations

import re
from datetime import datetime, time

from grounding.labelstudio.config.attributes import DATE_ATTRIBUTES
from grounding.labelstudio.config.conditions import is_shown
from grounding.labelstudio.config.interface import Control
from grounding.labelstudio.config.xml import Element
from grounding.labelstudio.controls.fields import value_tag
from grounding.queries import ValueKind, ValueType

DATE, CLOCK = "%Y-%m-%d", "%H:%M"
MOMENT = f"{DATE}T{CLOCK}"

DIRECTIVES = frozenset("aAbBdeHIjmMpSyY%")
"""Letters of a format that mean the same to the page and to Python."""


def read_form(element: Element) -> ValueType:
    """Return the form in which the model is asked for the parts that a control shows."""
    parts = _parts(element)
    day = "YYYY-MM-DD" if "date" in parts else ""
    day = day or ("YYYY-MM" if "month" in parts else "YYYY" if "year" in parts else "")
    return ValueType(ValueKind.DATE, form="T".join(filter(None, (day, _clock(parts)))))


def _parts(element: Element) -> tuple[str, ...]:
    """Return the parts that a control shows; without `only`, a date and a time."""
    only = (element.get("only") or "date,time").lower()
    return tuple(part.strip() for part in only.split(","))


def _clock(parts: tuple[str, ...]) -> str:
    return "HH:MM" if "time" in parts else ""


def read_format(element: Element) -> str:
    """Return the format in which the page reads and writes the value, as for strftime."""
    if element.get("only") == "time":
        return CLOCK
    return element.get("format") or (MOMENT if "time" in _parts(element) else DATE)


def is_readable(element: Element) -> bool:
    """Say whether a control is shown and its format is one that we can write."""
    letters = re.findall(r"%[-_0]?(.)", read_format(element))
    return is_shown(element) and DIRECTIVES.issuperset(letters)


def read_moment(control: Control, text: str) -> str | None:
    """Return an ISO date or time in the control's format; None for what is neither."""
    clock = control.value_format == CLOCK
    try:
        # Python also takes weeks for days, and the second time of a range for a zone.
        if not (_TIME if clock else _MOMENT).fullmatch(text):
            return None
        moment = time.fromisoformat(text) if clock else datetime.fromisoformat(text)
        return moment.strftime(control.value_format)
    except ValueError:
        return None


_TIME = re.compile(r"\d\d:\d\d")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d)?")


DATE_TIME = value_tag(
    "DateTime",
    read_moment,
    lambda moments: moments[0],
    is_readable=lambda value: isinstance(value, str),
    labels="none",
    serves=is_readable,
    value_type=read_form,
    value_format=read_format,
    attributes=DATE_ATTRIBUTES,
)
