"""`<Choices>` of a whole image: one query fills in all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from grounding.geometry import Frame
from grounding.labelstudio.config.attributes import FIELD_ATTRIBUTES
from grounding.labelstudio.config.interface import Control, Label
from grounding.labelstudio.config.xml import Element
from grounding.labelstudio.controls.base import (
    Companion,
    ControlTag,
    Drop,
    PlannedQuery,
    PromptDefaults,
    Results,
    ViewSpec,
    new_id,
)
from grounding.labelstudio.controls.text_area import is_per_region
from grounding.labelstudio.interactive.intent import Intent
from grounding.labelstudio.labels import match
from grounding.labelstudio.locating import fill_prompt
from grounding.queries import Field, Fill, Finding, Query

UNSERVED = ("visibleWhen", "whenTagName", "perItem", "value")
"""Attributes of choices that depend on other regions or choices, or on the task's data."""


def is_global(element: Element) -> bool:
    """Say whether choices are of the whole image, always shown and written in the config."""
    nested = (element.get("allowNested") or "").lower() == "true"
    return not (nested or is_per_region(element) or any(map(element.get, UNSERVED)))


def plan_fields(
    controls: Sequence[Control], intent: Intent | None, defaults: PromptDefaults
) -> Iterator[PlannedQuery]:
    """Yield one query per view that fills in all controls of it.

    An annotator's prompt, click or box asks for places, and never for these.
    """
    if intent is not None:
        return
    groups: dict[tuple[object, ...], list[Control]] = {}
    for control in controls:
        groups.setdefault((ViewSpec.of(control), control.options.style), []).append(control)
    for some in groups.values():
        fields = tuple(_field(control, defaults) for control in some)
        query = Fill(fields, some[0].options.style)
        yield PlannedQuery(query, ViewSpec.of(some[0]), tuple(some))


def _field(control: Control, defaults: PromptDefaults) -> Field:
    choices = tuple(dict.fromkeys(word for label in control.labels for word in label.words))
    question = fill_prompt(control, control.labels, defaults.data) or ""
    return Field(control.from_name, choices, control.multiple, question)


def write_choices(
    control: Control,
    found: Sequence[tuple[Finding, Query]],
    image: Frame,
    companions: Sequence[Companion],
) -> Results:
    """Return the one result of a control with the choices that the model named, or none.

    Only strings of the config are written. Where one choice is allowed, the first counts.
    """
    results = Results()
    chosen: dict[Label, float | None] = {}
    for finding, _ in found:
        if finding.label != control.from_name:
            continue  # another field of the same answer
        label = match(finding.value or "", control.labels)
        if drop := _drop(control, finding, label, chosen):
            results.drop(drop, finding.value)
        elif label is not None:
            chosen[label] = finding.score
    if chosen:
        results.result.append(_result(control, chosen))
    return results


def _drop(
    control: Control, finding: Finding, label: Label | None, chosen: dict[Label, float | None]
) -> Drop | None:
    least = control.options.score_threshold
    if label is None:
        return Drop.UNKNOWN_LABEL
    if label in chosen:
        return Drop.DUPLICATE
    if finding.score is not None and least is not None and finding.score < least:
        return Drop.LOW_SCORE
    return Drop.TOO_MANY if chosen and not control.multiple else None


def _result(control: Control, chosen: dict[Label, float | None]) -> dict[str, object]:
    scores = [score for score in chosen.values() if score is not None]
    return {
        "id": new_id(),
        "from_name": control.from_name,
        "to_name": control.to_name,
        "type": "choices",
        "value": {"choices": [label.emitted for label in chosen]},
        **({"score": fmean(scores)} if scores else {}),
    }


CHOICES = ControlTag(
    "Choices",
    FIELD_ATTRIBUTES,
    plan_fields,
    write_choices,
    label_tag="choice",
    serves=is_global,
    required=False,
)
