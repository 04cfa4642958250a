"""What the tags that hold a value share: one query for all of a view, and one result a control.

All controls with the planner `plan_fields` that are about one view are asked together. Those of
single regions are asked again for each region, about a view of it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from statistics import fmean
from typing import Any

from grounding.geometry import Box, Frame, Point
from grounding.labelstudio.config.attributes import FIELD_ATTRIBUTES, Attributes
from grounding.labelstudio.config.conditions import is_shown
from grounding.labelstudio.config.interface import Control, Label, ModelTask
from grounding.labelstudio.config.xml import Element
from grounding.labelstudio.controls.actions import list_values
from grounding.labelstudio.controls.base import (
    Companions,
    ControlTag,
    Drop,
    PlannedQuery,
    PromptDefaults,
    Results,
    Value,
    ValueWriter,
    ViewSpec,
    Writer,
    are_texts,
    new_id,
)
from grounding.labelstudio.interactive.context import Intent
from grounding.labelstudio.labels import find_named, match
from grounding.labelstudio.locating import fill_prompt
from grounding.notation.denials import is_denied
from grounding.queries import (
    Act,
    Count,
    Field,
    Fill,
    Finding,
    Query,
    TextUnit,
    Transcribe,
    ValueKind,
)

ReadValue = Callable[[Control, str], Hashable | None]
"""Returns the value that a text of the model is for a control, None where it is none."""


def plan_fields(
    controls: Sequence[Control], intent: Intent | None, defaults: PromptDefaults
) -> Iterator[PlannedQuery]:
    """Yield one query per view that fills in all controls of it.

    An annotator's click or box asks for places, and never for these; a typed question asks for the
    text area that takes the answer.
    """
    if intent is None:
        yield from plan_values(controls, defaults)
    elif intent.phrase:
        for control in (one for one in controls if one.takes_answers):
            field = Field(control.from_name, prompt=intent.phrase, type=control.value_type)
            query = Fill((field,), control.options.style, film=control.on_film)
            yield PlannedQuery(query, ViewSpec.of(control), (control,))


def plan_values(
    controls: Sequence[Control], defaults: PromptDefaults, around: Box | Point | None = None
) -> Iterator[PlannedQuery]:
    """Yield what these controls ask about their views, or about the views around a place.

    One that reads all print asks alone, because a long text does not fit into an object, and so
    does one that counts. One that counts regions asks nothing.
    """
    groups: dict[tuple[object, ...], list[Control]] = {}
    for control in controls:
        view, style = ViewSpec.of(control, around), control.options.style
        if control.task is ModelTask.OCR:
            yield PlannedQuery(Transcribe(TextUnit.WHOLE, style=style), view, (control,))
        elif control.task is ModelTask.COUNT:
            if phrase := fill_prompt(control, (), defaults.data):
                yield PlannedQuery(Count(phrase, style), view, (control,))
        else:
            groups.setdefault((view, control.options.style), []).append(control)
    for some in groups.values():
        yield PlannedQuery(fill_in(some, defaults), ViewSpec.of(some[0], around), tuple(some))


def fill_in(controls: Sequence[Control], defaults: PromptDefaults) -> Fill:
    """Return the query that fills in these controls, all of one style."""
    fields = tuple(_field(control, defaults) for control in controls)
    return Fill(fields, controls[0].options.style, film=controls[0].on_film)


def _field(control: Control, defaults: PromptDefaults) -> Field:
    choices = tuple(dict.fromkeys(word for label in control.labels for word in label.words))
    prompt = fill_prompt(control, control.labels, defaults.data) or ""
    return Field(control.from_name, choices, control.multiple, prompt, control.value_type)


def read_choice(control: Control, text: str) -> Label | None:
    """Return the label of the control that `text` is, or the only one that it names.

    "B. Bus" and "a bus (red)" name one, and so does "a bus, no car": what is denied is not named.
    """
    if label := match(text, control.labels):
        return label
    if words := _YES_OR_NO.get(text.strip().lower()):
        return next((label for word in words if (label := match(word, control.labels))), None)
    named = find_named(text, control.labels, is_denied)
    return named[0] if len(named) == 1 else None


_YES_OR_NO = {"true": ("yes", "是", "ja"), "false": ("no", "否", "nein")}
"""What the constants of JSON are among choices without them."""


def value_writer(
    kind: str, read: ReadValue, to_value: Callable[[Sequence[Any]], Any]
) -> ValueWriter:
    """Return the value writer of a tag whose value has the key `kind`.

    `read` makes a value of each text of the model, and `to_value` the result's value of them: of
    at least one, and of one only where the control is not `multiple`.
    """

    def write_value(
        control: Control, findings: Sequence[Finding], results: Results
    ) -> tuple[Value, float | None] | None:
        values: dict[Any, float | None] = {}
        for finding in findings:
            value = read(control, finding.value or "")
            if drop := _find_drop(control, finding, value, values):
                results.drop(drop, finding.value)
            else:
                values[value] = finding.score
        known = [score for score in values.values() if score is not None]
        score = fmean(known) if known else None
        return ({kind: to_value(tuple(values))}, score) if values else None

    return write_value


def write_globals(kind: str, write_value: ValueWriter) -> Writer:
    """Return the writer of the result of type `kind`, which belongs to the whole image."""

    def write(
        control: Control,
        found: Sequence[tuple[Finding, Query]],
        image: Frame,
        companions: Companions,
    ) -> Results:
        results = Results()
        made = write_value(control, of_control(control, found), results)
        if made is not None:
            value, score = made
            results.result.append(
                {
                    "id": new_id(),
                    "from_name": control.from_name,
                    "to_name": control.to_name,
                    "type": kind,
                    "value": value,
                    **({} if score is None else {"score": score}),
                }
            )
        return results

    return write


def value_tag(
    tag: str,
    read: ReadValue,
    to_value: Callable[[Sequence[Any]], Any],
    *,
    attributes: Attributes = FIELD_ATTRIBUTES,
    serves: Callable[[Element], bool] = is_shown,
    is_readable: Callable[[object], bool] = are_texts,
    **more: Any,
) -> ControlTag:
    """Return a control tag that holds a value: of the whole image, or of each region.

    `read` and `to_value` are as in `value_writer`, and `is_readable` says of what `to_value` gives
    whether the page can read it; `more` are other fields of the `ControlTag`. Its results have the
    tag's name in lower case as their type.
    """
    kind = tag.lower()
    key = more.pop("key", kind)
    write_value = value_writer(key, read, to_value)
    return ControlTag(
        tag,
        attributes,
        plan_fields,
        write_globals(kind, write_value),
        serves=serves,
        required=False,
        objects=frozenset({"image", "video"}),
        write_value=write_value,
        is_sound=lambda value: is_readable(value.get(key)),
        **more,
    )


def of_control(control: Control, found: Iterable[tuple[Finding, Query]]) -> list[Finding]:
    """Return the findings for a control; the others are of other fields of the same answer."""
    if control.task is ModelTask.GUI:
        return list(list_values(control, [one for one, query in found if isinstance(query, Act)]))
    return [
        finding
        for finding, query in found
        if isinstance(query, Transcribe | Count) or finding.label == control.from_name
    ]


def _find_drop(
    control: Control, finding: Finding, value: Hashable | None, taken: dict[Any, float | None]
) -> Drop | None:
    least = control.options.score_threshold
    if value is None:
        chosen = control.value_type.kind in (ValueKind.CHOICE, ValueKind.PATH)
        return Drop.UNKNOWN_LABEL if chosen else Drop.UNUSABLE_VALUE
    if value in taken:
        return Drop.DUPLICATE
    if finding.score is not None and least is not None and finding.score < least:
        return Drop.LOW_SCORE
    return Drop.TOO_MANY if taken and not control.multiple else None
