"""Reads the `<Label>`s, `<Choice>`s and their like that a control's results may carry."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from grounding.errors import ConfigError
from grounding.labelstudio.config.interface import Label
from grounding.labelstudio.config.xml import Element, is_in_data, quote, refused, size_error
from grounding.labelstudio.data import strip_markup

MAX_LABELS = 1000
MAX_LABEL_CHARS = 200
MAX_DESCRIPTION_CHARS = 1000
MAX_MEANING_CHARS = 300

MEANING = "model_description"
"""The attribute of a `<Label>` that tells the model what the class means."""


def check_labels(elements: Sequence[Element]) -> None:
    """Raise `ConfigError` if `elements` have more labels, or longer ones, than are served."""
    labels = [e for e in elements if e.kind == "label"]
    if len(labels) > MAX_LABELS:
        raise size_error(f"{len(labels)} labels, at most {MAX_LABELS} are served")
    for label in labels:
        _check_length(label)


def read_labels(element: Element, tag: str = "label") -> tuple[Label, ...]:
    """Return the labels inside an element, however deep; one that is written twice, once."""
    inside = [e for e in element.walk() if e.kind == tag]
    # Label Studio adds the task's labels to the written ones: half of them would be no answer.
    for value in (e.get("value") or "" for e in (element, *inside)):
        if is_in_data(value):
            raise labels_in_data(element, value)
    found = map(read_label, inside)
    labels = {label.emitted: label for label in reversed([x for x in found if x])}
    if not labels:
        raise refused(
            element,
            "has no <Label>",
            code="no_labels",
            hint='Add a <Label value="…"/> for each class',
        )
    return tuple(reversed(labels.values()))


def labels_in_data(element: Element, value: str) -> ConfigError:
    """Return the error of a control whose list, or a part of it, is in the tasks: `value`."""
    return refused(
        element,
        f'takes labels from the task\'s data: "{quote(value, 20)}"',
        code="labels_in_data",
        hint='Write the labels into the tag, or leave it to people: model_skip="true"',
    )


def read_label(element: Element) -> Label | None:
    """Return the label, or None where it has neither value nor alias: the page shows none."""
    value, alias = element.get("value"), element.get("alias")
    if not (value or alias):
        return None
    described = element.get("description") or element.get("hint")
    return Label(
        value=value or alias or "",
        alias=alias,
        predicted_values=tuple(_listed(element)),
        description=described[:MAX_DESCRIPTION_CHARS] if described else None,
        meaning=strip_markup(element.get(MEANING) or "", MAX_MEANING_CHARS) or None,
    )


def cut_texts(label: Element) -> Iterator[str]:
    """Yield what is said of a label's texts that are not read to their ends."""
    limits = dict.fromkeys(("description", "hint"), MAX_DESCRIPTION_CHARS)
    for attribute, limit in (limits | {MEANING: MAX_MEANING_CHARS}).items():
        if len(label.get(attribute) or "") > limit:
            value = quote(label.get("value") or "", 20)
            yield f'<Label value="{value}"> has a long {attribute}; {limit} characters are read'


def _check_length(label: Element) -> None:
    names = {attribute: [label.get(attribute) or ""] for attribute in ("value", "alias")}
    names["predicted_values"] = _listed(label)
    for attribute, texts in names.items():
        if max(map(len, texts), default=0) > MAX_LABEL_CHARS:
            raise size_error(f"a label's {attribute} has more than {MAX_LABEL_CHARS} characters")


def _listed(label: Element) -> list[str]:
    words = (label.get("predicted_values") or "").split(",")
    return [word.strip() for word in words if word.strip()]
