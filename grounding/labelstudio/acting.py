"""What the controls of an agent ask: what to do next on a screen, and where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from grounding.errors import DataError
from grounding.labelstudio import data as task_data
from grounding.labelstudio.config.actions import find_screen, list_actions
from grounding.labelstudio.config.interface import Control
from grounding.labelstudio.controls.base import PlannedQuery, PromptDefaults, ViewSpec
from grounding.labelstudio.data import strip_markup
from grounding.labelstudio.interactive.context import MAX_PHRASE_CHARS, Intent
from grounding.labelstudio.locating import fill_prompt, outer_prompt
from grounding.queries import Act, Screen, ValueKind

INSTRUCTION = "instruction"
"""The key of a task's data that holds what is to be done, where no prompt says it."""


def plan_actions(
    controls: Sequence[Control], intent: Intent | None, defaults: PromptDefaults
) -> Iterator[PlannedQuery]:
    """Yield one query per screen for all of its controls, and one more for other points on it.

    What an annotator types is the instruction, as it is. A click asks what to do there.
    """
    for screen in dict.fromkeys(control.to_name for control in controls):
        here = [one for one in controls if one.to_name == screen]
        pointing = [one for one in here if one.shape]
        values = [one for one in here if not one.shape]
        for lead in pointing or values[:1]:
            others = values if lead in pointing[:1] or not pointing else []
            takers = (lead, *(one for one in others if one != lead))
            around = intent.around if intent else None
            yield PlannedQuery(_act(takers, intent, defaults), ViewSpec.of(lead, around), takers)


def _act(takers: Sequence[Control], intent: Intent | None, defaults: PromptDefaults) -> Act:
    lead, labels = takers[0], tuple(label for one in takers for label in one.labels)
    screen = find_screen(labels, lead.options.screen) or Screen.MOBILE
    told = any(one.value_type.kind is ValueKind.TEXT for one in takers)
    actions = list_actions(labels, screen, told=told)
    around = intent.around if intent else None
    phrase = (intent.phrase if intent else None) or find_instruction(lead, defaults)
    return Act(phrase, actions, screen, around, lead.options.style)


def find_instruction(control: Control, defaults: PromptDefaults) -> str:
    """Return what is to be done: as any prompt, else what the task has under `instruction`."""
    if prompt := outer_prompt(control, defaults):
        return prompt
    if own := fill_prompt(control, control.labels, defaults.data):
        return own
    value = task_data.find_field(defaults.data, INSTRUCTION)
    if isinstance(value, str) and (words := strip_markup(value, MAX_PHRASE_CHARS)):
        return words
    raise DataError(
        f'the task has no instruction for <{control.tag} name="{control.from_name}">',
        code="prompt_field_missing",
        hint=f'Import the task with a text under "{INSTRUCTION}", or set model_prompt_field',
    )
