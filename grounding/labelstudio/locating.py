"""What the controls that draw places ask: for an annotator's intent, or for prompts and labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from grounding.errors import DataError
from grounding.geometry import Box
from grounding.labelstudio import data as task_data
from grounding.labelstudio.config.interface import LABELS, PROMPT_FIELD, Control, Label
from grounding.labelstudio.config.xml import quote
from grounding.labelstudio.controls.base import PlannedQuery, PromptDefaults, ViewSpec
from grounding.labelstudio.data import strip_markup
from grounding.labelstudio.interactive.commands import choose_controls, read_command
from grounding.labelstudio.interactive.context import MAX_PHRASE_CHARS, Intent
from grounding.labelstudio.labels import find_named, match
from grounding.labelstudio.reading import READING, plan_reading, plan_reading_in
from grounding.queries import FindSpans, Locate, Meaning, Placing, Shape, Transcribe, list_words

MAX_VALUE_CHARS = 200
"""Most characters of one field of the data within a prompt: enough for a name or a phrase."""

ALIKE = "every object like the one"
ALIKE_ZH = "与此相同的每一个物体"
"""The phrase for everything like the unlabelled thing in a drawn box."""

Labels = tuple[Label, ...]

Asking = Placing | FindSpans
"""A query of a control that draws."""


def plan_places(
    controls: Sequence[Control], intent: Intent | None, defaults: PromptDefaults
) -> Iterator[PlannedQuery]:
    """Yield what each control asks, in order.

    A phrase is one query whose classes are the labels that it names, or all of the control's. A
    drawn place is one query around it for the label that it was drawn with, or for all; where a
    smart box asks for everything similar, one query for its label, or for what is like it. Without
    either, one query per label, or per as many as are set. A prompt of the task or the project is
    read as a typed one is: its verb and the labels that it names say which controls it is for.
    """
    queries: Iterable[tuple[Control, Sequence[Asking]]]
    if intent and (intent.phrase or intent.around):
        queries = ((control, _for_intent(control, intent)) for control in controls)
    else:
        queries = _from_defaults(controls, defaults)
    for control, some in queries:
        for query in some:
            around = query.around if isinstance(query, Transcribe) else None
            yield PlannedQuery(query, ViewSpec.of(control, around), (control,))


def _for_intent(control: Control, intent: Intent) -> Sequence[Asking]:
    if control.task in READING and isinstance(intent.around, Box):
        labels = _choose_labels(control, None, intent.label)
        return [plan_reading_in(control, intent.around, labels)]
    if isinstance(intent.around, Box) and control.options.similar:
        return [_locate_similar(control, intent)]
    labels = _choose_labels(control, intent.phrase, intent.label)
    if intent.phrase:
        intent = replace(intent, phrase=_phrase_of(control, intent.phrase))
    return [_locate(control, labels, intent)]


def _phrase_of(control: Control, prompt: str) -> str:
    """Return the phrase of a typed prompt: the thing without its verb, or all of a raw prompt."""
    return prompt if control.options.style.raw else read_command(prompt, control.labels).thing


def _locate_similar(control: Control, intent: Intent) -> Locate | FindSpans:
    """Return the query for everything like the thing in a box.

    Where the box has a label, the query names it: these models answer a query for one class best.
    Without one, the query shows the model the box.
    """
    if intent.label and (label := match(intent.label, control.labels)):
        return _locate(control, (label,), Intent())
    phrase = ALIKE_ZH if control.options.style.language == "zh" else ALIKE
    query = _locate(control, control.labels, replace(intent, phrase=phrase))
    return replace(query, style=replace(query.style, raw=False))  # nobody typed this phrase


def _from_defaults(
    controls: Sequence[Control], defaults: PromptDefaults
) -> Iterator[tuple[Control, Sequence[Asking]]]:
    prompts = [(control, outer_prompt(control, defaults)) for control in controls]
    addressees = {
        prompt: choose_controls(prompt, [c for c, theirs in prompts if theirs == prompt])
        for prompt in {prompt for _, prompt in prompts}
    }
    for control, prompt in prompts:
        if not prompt:
            yield control, list(_own_queries(control, defaults))
        elif control in addressees[prompt]:
            intent = Intent(_phrase_of(control, prompt))
            yield control, [_locate(control, _choose_labels(control, prompt), intent)]


def outer_prompt(control: Control, defaults: PromptDefaults) -> str:
    """Return the prompt that the task, or else the project, has for a control; "" for none."""
    of_task = _task_prompt(control, defaults.data)
    if of_task or control.options.prompt:
        return of_task
    return strip_markup(defaults.prompt, MAX_PHRASE_CHARS)


def _task_prompt(control: Control, data: Mapping[str, Any]) -> str:
    """Return the task's own prompt, or an empty text where it has none."""
    key = control.options.prompt_field
    value = task_data.find_field(data, key) if key else None
    if isinstance(value, str):
        return strip_markup(value, MAX_PHRASE_CHARS)
    if value is None or key == PROMPT_FIELD:  # a column of that name may be anything
        return ""
    raise DataError(
        f'{_tag(control)} has model_prompt_field="{quote(key)}", where the task has no text',
        code="prompt_field_invalid",
        hint="Import the task again with a text there, or name another field",
    )


def _own_queries(control: Control, defaults: PromptDefaults) -> Iterator[Asking]:
    """Yield the queries of a control's own prompt and labels."""
    prompt = control.options.prompt
    if control.task in READING and not prompt:
        yield plan_reading(control, control.labels)
        return
    if prompt and LABELS not in prompt.fields:
        phrase = fill_prompt(control, (), defaults.data)
        yield _locate(control, _choose_labels(control, phrase), Intent(phrase))
        return
    for group in _label_groups(control, defaults.labels_per_query):
        yield _locate(control, group, Intent(fill_prompt(control, group, defaults.data)))


def fill_prompt(control: Control, labels: Labels, data: Mapping[str, Any]) -> str | None:
    """Return a control's `model_prompt` with its places filled, None where it has no prompt.

    `{labels}` becomes the words of `labels`, any other place that field of the task's data.
    Raises `DataError` where the data has no text there.
    """
    prompt = control.options.prompt
    if prompt is None:
        return None
    values = {name: _value(control, name, data) for name in prompt.fields if name != LABELS}
    return prompt.fill(values | {LABELS: list_words(_classes(labels))})


def _value(control: Control, name: str, data: Mapping[str, Any]) -> str:
    found = task_data.find_field(data, name)
    values = found if isinstance(found, list) else [found]
    if any(isinstance(value, Mapping | list) for value in values):
        problem = f'the task has no text under "{quote(name)}"'
    else:
        text = ", ".join(str(value) for value in values if value is not None)
        if words := strip_markup(text, MAX_VALUE_CHARS):
            return words
        problem = task_data.describe_missing(data, name)
    raise DataError(
        f"{_tag(control)} has {{{quote(name)}}} in model_prompt; {problem}",
        code="prompt_field_missing",
        hint=f"Import the task with a text there, or double the braces: {{{{{quote(name)}}}}}",
    )


def _tag(control: Control) -> str:
    return quote(f'<{control.tag} name="{control.from_name}">', 60)


def _label_groups(control: Control, usual: int) -> list[Labels]:
    """Return the labels in groups that share one query."""
    own, labels = control.options.labels_per_query, control.labels
    size = (usual if own is None else own) or max(1, len(labels))
    return [labels[i : i + size] for i in range(0, len(labels), size)]


def _choose_labels(control: Control, phrase: str | None, word: str | None = None) -> Labels:
    """Return the labels that a phrase names, or that the label of a drawn region is; else all.

    A verb names none: "box the cars" does not mean a label "box".
    """
    label = match(word, control.labels) if word else None
    thing = read_command(phrase or "", control.labels).thing
    return find_named(thing, control.labels) or ((label,) if label else control.labels)


def _locate(control: Control, labels: Labels, intent: Intent) -> Locate | FindSpans:
    style = control.options.style
    meanings = tuple(Meaning(label.words, label.meaning) for label in labels if label.meaning)
    if control.shape is Shape.SPAN:
        classes = _classes(labels)
        return FindSpans(classes, intent.phrase, style, meanings, control.described)
    return Locate(
        control.shape or Shape.BOX,
        _classes(labels),
        intent.phrase,
        intent.around,
        style,
        meanings,
        intent.excluded,
        _time_of(control, intent),
    )


def _time_of(control: Control, intent: Intent) -> float | None:
    """Return when in a film, in seconds, a place was drawn; the page counts its frames from 1."""
    rate = control.frame_rate
    if intent.frame is None or not isinstance(rate, float):
        return None
    return (intent.frame - 1) / rate


def _classes(labels: Sequence[Label]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for label in labels for word in label.words))
