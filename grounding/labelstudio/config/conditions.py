"""When the page shows a control: for the whole image, for single regions, or only at times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from grounding.labelstudio.config.xml import Element

CONDITIONS = ("perRegion", "perItem", "visibleWhen", "whenTagName")
"""Attributes of a control that belongs to a region or an item, or that the page may hide."""

REGION_SELECTED = "region-selected"
"""The one condition that every per-region control fulfils where it is shown."""


_HIDES = "visiblewhen"


def inherit_conditions(root: Element) -> dict[int, Element]:
    """Return the elements in a `<View>` that the page may hide, by id, as if they said it too.

    A view that waits for a choice hides all of it, whatever an element says itself. One that waits
    for a region is a condition of per-region elements, which may say more; a view without a region
    is where people fill in what is of the whole image.
    """
    found: dict[int, Element] = {}
    waiting: list[tuple[Element, Mapping[str, str]]] = [(root, {})]
    while waiting:
        element, outer = waiting.pop()
        of_region = outer.get(_HIDES) == REGION_SELECTED
        own = _conditions(element)
        both = {**outer, **own} if of_region else {**own, **outer}
        if outer and (not of_region or is_per_region(element)):
            found[id(element)] = replace(element, attributes={**element.attributes, **both})
        hides = element.kind == "view" and own.get(_HIDES, _SHOWN) != _SHOWN
        waiting += [(child, both if hides else outer) for child in element.children]
    return found


def _conditions(element: Element) -> dict[str, str]:
    said = {
        name: text.lower() if name == _HIDES else text for name, text in element.attributes.items()
    }
    return {name: text for name, text in said.items() if name == _HIDES or name.startswith("when")}


_SHOWN = "no-region-selected"


def is_global(element: Element) -> bool:
    """Say whether a control is about the whole image and always shown."""
    return all(_get(element, name) == "false" for name in CONDITIONS)


def is_per_region(element: Element) -> bool:
    """Say whether a control belongs to single regions instead of the whole image."""
    return element.says("perRegion")


def is_of_regions(element: Element) -> bool:
    """Say whether a control is shown for regions, for all of them or for those of some labels.

    One that waits for a choice of the annotator is neither.
    """
    shown = _get(element, "visibleWhen") in ("false", REGION_SELECTED)
    chosen = element.get("whenChoiceValue") or element.get("whenRole")
    return is_per_region(element) and _get(element, "perItem") == "false" and shown and not chosen


def is_shown(element: Element) -> bool:
    """Say whether a control is one of the whole image or of regions, and always shown there."""
    return is_global(element) or is_of_regions(element)


def read_only_labels(element: Element) -> tuple[str, ...]:
    """Return the labels whose regions a per-region control is for; () where it is for all.

    A label may contain a comma, so all of the attribute is one of the labels too.
    """
    text = element.get("whenLabelValue") or ""
    parts = [part.strip() for part in text.split(",")]
    return tuple(dict.fromkeys(filter(None, (text.strip(), *parts))))


def _get(element: Element, name: str) -> str:
    return (element.get(name) or "false").lower()
