"""`<TextArea>`: a text of the whole image, or of each region, that the model writes.

A per-region one takes the text that came with a place, unless the config says what to ask about
each region. `config.areas` tells which ones of the whole image are filled.
"""

from __future__ import annotations

from grounding.labelstudio.config.attributes import TEXT_ATTRIBUTES
from grounding.labelstudio.config.conditions import is_per_region, is_shown
from grounding.labelstudio.config.interface import Control
from grounding.labelstudio.config.xml import Element
from grounding.labelstudio.controls.base import Region, complete
from grounding.labelstudio.controls.fields import value_tag
from grounding.labelstudio.data import UNSEEN
from grounding.queries import Finding, ValueKind, ValueType


def read_text(control: Control, text: str) -> str | None:
    """Return a text without invisible characters, None where nothing is left."""
    return UNSEEN.sub("", text).strip() or None


def write_text(control: Control, region: Region, finding: Finding) -> list[Region]:
    """Return the result with a finding's text, under the region's id and geometry; [] for none."""
    text = read_text(control, finding.text or "")
    return [complete(region, control.from_name, "textarea", {"text": [text]})] if text else []


def is_text(element: Element) -> bool:
    """Say whether a text area can be filled: any per-region one, and one that is always shown."""
    return is_per_region(element) or is_shown(element)


def has_text(_: Element) -> ValueType:
    """Return the type of a text area's value."""
    return ValueType(ValueKind.TEXT)


TEXT_AREA = value_tag(
    "TextArea",
    read_text,
    list,
    key="text",
    attributes=TEXT_ATTRIBUTES,
    accompany=write_text,
    labels="none",
    serves=is_text,
    value_type=has_text,
)
