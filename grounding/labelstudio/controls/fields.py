"""What the tags that hold a value of the whole image share: one query, and one result a control.

All controls with the planner `plan_fields` that are about one view are asked together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import fmean
from typing import Any

from grounding.geometry import Frame
from grounding.labelstudio.config.interface import Control, Label
from grounding.labelstudio.config.xml import Element
from grounding.labelstudio.controls.base import (
    Companion,
    Drop,
    PlannedQuery,
    PromptDefaults,
    Region,
    Results,
    ViewSpec,
    Writer,
    new_id,
)
from grounding.labelstudio.interactive.context import Intent
from grounding.labelstudio.labels import match
from grounding.labelstudio.locating import fill_prompt
from grounding.queries import Field, Fill, Finding, Query

CONDITIONS = ("perRegion", "perItem", "visibleWhen", "whenTagName")
"""Attributes of a control that belongs to a region or an item, or that the page may hide."""


def is_global(element: Element) -> bool:
    """Return whether a control is about the whole image and always shown."""
    values = [(element.get(name) or "false").lower() for name in CONDITIONS]
    return all(value == "false" for value in values)


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
    prompt = fill_prompt(control, control.labels, defaults.data) or ""
    return Field(control.from_name, choices, control.multiple, prompt)


def writer(kind: str, to_value: Callable[[Sequence[Label]], Any]) -> Writer:
    """Return the writer of a tag whose results have the type `kind`.

    `to_value` makes the result's value from the labels that the model chose: at least one, and
    one only where the control is not `multiple`. Only labels of the config are chosen.
    """

    def write(
        control: Control,
        found: Sequence[tuple[Finding, Query]],
        image: Frame,
        companions: Sequence[Companion],
    ) -> Results:
        results = Results()
        chosen = _choose(control, found, results)
        if chosen:
            value = {kind: to_value(tuple(chosen))}
            results.result.append(_result(control, kind, value, list(chosen.values())))
        return results

    return write


def _choose(
    control: Control, found: Sequence[tuple[Finding, Query]], results: Results
) -> dict[Label, float | None]:
    """Return the chosen labels with their scores; what cannot be chosen is counted."""
    chosen: dict[Label, float | None] = {}
    for finding, _ in found:
        if finding.label != control.from_name:
            continue  # another field of the same answer
        label = match(finding.value or "", control.labels)
        if drop := _find_drop(control, finding, label, chosen):
            results.drop(drop, finding.value)
        elif label is not None:
            chosen[label] = finding.score
    return chosen


def _find_drop(
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


def _result(
    control: Control, kind: str, value: dict[str, Any], scores: Sequence[float | None]
) -> Region:
    known = [score for score in scores if score is not None]
    return {
        "id": new_id(),
        "from_name": control.from_name,
        "to_name": control.to_name,
        "type": kind,
        "value": value,
        **({"score": fmean(known)} if known else {}),
    }
