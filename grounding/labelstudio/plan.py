"""What to ask the model for each control: of what an annotator wishes, or what all else says.

Where nobody wishes for anything, the first of these that says something decides: the task's own
prompt, the control's `model_prompt`, the project's stored prompt, the labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from grounding.errors import DataError
from grounding.geometry import Box
from grounding.labelstudio import data as task_data
from grounding.labelstudio.config.interface import PROMPT_FIELD, Control, Label, LabelConfig
from grounding.labelstudio.config.template import LABELS, Template
from grounding.labelstudio.config.xml import quote
from grounding.labelstudio.controls import CONTROLS
from grounding.labelstudio.interactive.commands import choose_controls, read_command
from grounding.labelstudio.interactive.intent import MAX_PHRASE_CHARS, Intent
from grounding.labelstudio.labels import find_named, match
from grounding.labelstudio.text import strip_markup
from grounding.queries import Locate, Meaning

MAX_VALUE_CHARS = 200
"""Of one field of the data within a prompt: a name or a phrase, and no more."""

ALIKE = "every object like the one"
ALIKE_ZH = "与此相同的每一个物体"
"""The phrase for what is like the unnamed thing in a drawn box."""

Labels = tuple[Label, ...]


@dataclass(frozen=True, slots=True)
class PromptDefaults:
    """What there is to go by where no annotator wishes for anything.

    `data` is the task's own, `prompt` the project's stored one, and `labels_per_question` the
    deployment's, for controls that leave it open: 0 is all.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    prompt: str = ""
    labels_per_question: int = 1


NO_DEFAULTS = PromptDefaults()


def asks(
    config: LabelConfig, wish: Intent | None = None, said: PromptDefaults = NO_DEFAULTS
) -> list[tuple[Control, list[Locate]]]:
    """Return the controls that are asked for, each with what to ask the model.

    A phrase is one ask with the labels that it names as classes, or all of the control's. A
    drawn place is one ask around it, for the label it was drawn with, or all; where a smart box
    asks for all that is similar, one for its label, or for what is like it. Without either,
    one ask per label, or per as many as are set. A phrase of the task or the project is read as
    a typed one is: its verb and the labels that it names say which controls it is for.
    Raises `DataError` where a control's prompt names a field that the task's data lacks.
    """
    controls = [c for c in config.controls if wish is None or c in wish.controls]
    if wish and (wish.phrase or wish.around):
        found = [(control, _wished(control, wish)) for control in controls]
    else:
        found = list(_unprompted(controls, said))
    return [(control, some) for control, some in found if some]


def _wished(control: Control, wish: Intent) -> list[Locate]:
    if isinstance(wish.around, Box) and control.options.similar:
        return [_similar(control, wish)]
    labels = _meant(control, wish.phrase, wish.label)
    asked = replace(wish, phrase=_typed(control, wish.phrase)) if wish.phrase else wish
    return [_ask(control, labels, asked)] if wish.phrase or wish.around or labels else []


def _typed(control: Control, prompt: str) -> str:
    """Return what a question says of a typed prompt: the thing, unless all was to be said."""
    return prompt if control.options.manner.raw else read_command(prompt, control.labels).thing


def _similar(control: Control, wish: Intent) -> Locate:
    """Return the ask for every thing like the one in a box.

    A label says best what that is: a question for one class is what these models answer best.
    Without one, the model is shown the box.
    """
    if wish.label and (label := match(wish.label, control.labels)):
        return _ask(control, (label,), Intent())
    phrase = ALIKE_ZH if control.options.manner.language == "zh" else ALIKE
    ask = _ask(control, control.labels, replace(wish, phrase=phrase))
    return replace(ask, manner=replace(ask.manner, raw=False))  # nobody wrote that question


def _unprompted(
    controls: Sequence[Control], said: PromptDefaults
) -> Iterator[tuple[Control, list[Locate]]]:
    given = [(control, _given(control, said)) for control in controls]
    meant = {
        prompt: choose_controls(prompt, [c for c, theirs in given if theirs == prompt])
        for prompt in {prompt for _, prompt in given}
    }
    for control, prompt in given:
        if not prompt:
            yield control, list(_own(control, said))
        elif control in meant[prompt]:
            wish = Intent(_typed(control, prompt))
            yield control, [_ask(control, _meant(control, prompt), wish)]


def _given(control: Control, said: PromptDefaults) -> str:
    """Return the prompt that the task, or else the project, gives a control; or an empty one."""
    of_task = _task_prompt(control, said.data)
    if of_task or control.options.prompt:
        return of_task
    return strip_markup(said.prompt, MAX_PHRASE_CHARS)


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


def _own(control: Control, said: PromptDefaults) -> Iterator[Locate]:
    """Yield the asks of a control's own prompt and labels."""
    prompt = control.options.prompt
    values = _values(control, prompt, said.data) if prompt else {}
    if prompt and LABELS not in prompt.fields:
        phrase = prompt.fill(values)
        yield _ask(control, _meant(control, phrase), Intent(phrase))
        return
    for group in _groups(control, said.labels_per_question):
        places = values | {LABELS: ", ".join(_classes(group))}
        yield _ask(control, group, Intent(prompt.fill(places) if prompt else None))


def _values(control: Control, prompt: Template, data: Mapping[str, Any]) -> dict[str, str]:
    """Return the texts of the data's fields that a prompt names."""
    return {name: _value(control, name, data) for name in prompt.fields if name != LABELS}


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


def _groups(control: Control, usual: int) -> list[Labels]:
    """Return the labels in groups that share one question."""
    own, labels = control.options.labels_per_question, control.labels
    size = (usual if own is None else own) or max(1, len(labels))
    return [labels[i : i + size] for i in range(0, len(labels), size)]


def _meant(control: Control, phrase: str | None, word: str | None = None) -> Labels:
    """Return the labels that a phrase or the word of a drawn region means: all, if none.

    A verb names none: "box the cars" means no label "box".
    """
    label = match(word, control.labels) if word else None
    thing = read_command(phrase or "", control.labels).thing
    return find_named(thing, control.labels) or ((label,) if label else control.labels)


def _ask(control: Control, labels: Labels, wish: Intent) -> Locate:
    return Locate(
        CONTROLS[control.tag].shape,
        _classes(labels),
        wish.phrase,
        wish.around,
        control.options.manner,
        tuple(Meaning(label.words, label.meaning) for label in labels if label.meaning),
        wish.excluded,
    )


def _classes(labels: Sequence[Label]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for label in labels for word in label.words))
