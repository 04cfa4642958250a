"""Refuses a config in which no control is served: it would show as predictions that never come."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from grounding.errors import ConfigError
from grounding.labelstudio.config.interface import Control
from grounding.labelstudio.config.labels import labels_in_data
from grounding.labelstudio.config.xml import Element, is_in_data, quote

OUTLINES = re.compile("(brush|polygon|ellipse|bitmask|vector|magicwand)(labels)?")
"""Kinds of tags that draw what the model cannot."""

SERVED_OBJECTS = ("image", "video")
"""Kinds of tags that controls may be about."""

ONE_IMAGE = 'Use value="$image" with one image per task'

LISTS = ("choices", "taxonomy")
"""Kinds of tags that may list what is in the tasks."""


def check_served(elements: Sequence[Element]) -> None:
    """Raise `ConfigError` if people label anything here: no control of the config is served.

    Choices that the tasks list are named first.
    """
    for element in elements:
        value = element.get("value") or ""
        if element.kind in LISTS and is_in_data(value):
            raise labels_in_data(element, value)
    controls = [e for e in elements if e.get("toName")]
    if controls:
        others = f" and {len(controls) - 1} more" if len(controls) > 1 else ""
        # Text areas are for prompt and answer here; what is to be labelled is another tag.
        meant = next((e for e in controls if e.kind != "textarea"), controls[0])
        reason, cure = _why_not(meant, {e.get("name"): e for e in elements})
        raise ConfigError(
            f"nothing is served here: not {meant}{others}{reason}",
            code="nothing_served",
            hint=cure,
        )


def doubts_of_unserved(
    elements: Sequence[Element], served: Sequence[Control], controls: Sequence[Control]
) -> Iterator[str]:
    """Yield what to say of what the model does not see, and of controls that are left to people.

    These are the `controls` of regions that are not `served`: nobody asks about them.
    """
    about = {name.strip() for e in elements for name in (e.get("toName") or "").split(",")}
    shown = [e for e in elements if e.kind in SERVED_OBJECTS and is_in_data(e.get("value") or "")]
    unseen = [e for e in shown if e.get("name") not in about]
    if unseen and served:
        more = f" and {len(unseen) - 1} more" if len(unseen) > 1 else ""
        yield (
            f"the model does not see {unseen[0]}{more}, which no control is about; where people "
            f'compare pictures, leave it to them: model_skip="true"'
        )
    for one in (control for control in controls if control not in served):
        why = "nothing that is served draws on its image"
        if one.on_film:
            why = "no single region of a film is asked about"
        yield f'<{one.tag} name="{quote(one.from_name, 20)}"> is left to people: {why}'


def _why_not(element: Element, named: Mapping[str | None, Element]) -> tuple[str, str]:
    """Return why a control is not served, where that is plain, and the cure."""
    targets = (element.get("toName") or "").split(",")
    on = [named[name] for one in targets if (name := one.strip()) in named]
    other = next((e for e in on if e.kind not in SERVED_OBJECTS), None)
    if other is not None:
        of = f": it is about <{quote(other.tag, 15)}>"
        return of, "Set toName to an <Image> or a <Video>, or leave this project to people"
    if any(e.get("valueList") for e in on):
        return ": its image has valueList, several images in one task", ONE_IMAGE
    if len(on) > 1:
        return ": it is about several images", "Set toName to one <Image>"
    if OUTLINES.fullmatch(element.kind):
        return ": the model draws no outlines", "Add RectangleLabels or KeyPointLabels beside it"
    return "", "Add RectangleLabels, KeyPointLabels, Choices or a TextArea to an <Image>"
