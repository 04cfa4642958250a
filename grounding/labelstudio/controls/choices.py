"""`<Choices>`: one of a list, or several with choice="multiple"."""

from __future__ import annotations

from grounding.labelstudio.config.attributes import CHOICE_ATTRIBUTES
from grounding.labelstudio.config.conditions import is_shown
from grounding.labelstudio.config.xml import Element
from grounding.labelstudio.controls.fields import read_choice, value_tag


def is_plain_list(element: Element) -> bool:
    """Return whether choices are one level deep and written in the config."""
    return is_shown(element) and not (element.says("allowNested") or element.get("value"))


def allows_several(element: Element) -> bool:
    """Return whether an annotator may choose several."""
    return element.says("choice", "multiple")


CHOICES = value_tag(
    "Choices",
    read_choice,
    lambda chosen: [label.emitted for label in chosen],
    label_tag="choice",
    allows_several=allows_several,
    serves=is_plain_list,
    attributes=CHOICE_ATTRIBUTES,
)
