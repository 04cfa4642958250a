"""Tells text areas apart: those that annotators type prompts into, and those that the model fills.

A text area is filled where its config says so, by `model_task="fill"` or by a `model_prompt` of its
own. Where nothing is drawn, a prompt would have nothing to ask for: there every text area of an
image is filled, but for one that is named "status" or "prompt…". All others are as they always
were: people type into them, or they are the status area.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from grounding.labelstudio.config.interface import LabelConfig, ModelTask, Remember, TextArea
from grounding.labelstudio.config.xml import Element, quote

REMEMBER = "model_remember"
"""The attribute of a `<TextArea>` that says what becomes of the prompt typed last."""

STATUS = "status"
"""The name of the text area that shows our errors."""

_REMEMBER = {str(word): word for word in Remember}


def read_text_areas(elements: Sequence[Element], *, draws: bool) -> tuple[TextArea, ...]:
    """Return the text areas of a config, in order; `draws` is whether a control draws places."""
    return tuple(_read_text_areas(elements, draws))


def _read_text_areas(elements: Sequence[Element], draws: bool) -> Iterator[TextArea]:
    for e in elements:
        name, to_name = e.get("name"), e.get("toName")
        if e.kind != "textarea" or not name or not to_name:
            continue
        area = TextArea(
            name,
            to_name,
            smart=_yes(e, "smart", True),
            per_region=_yes(e, "perRegion", False),
            remember=_REMEMBER.get((e.get(REMEMBER) or "").lower(), Remember.OFF),
        )
        yield replace(area, filled=_is_filled(e, area, draws))


def _is_filled(element: Element, area: TextArea, draws: bool) -> bool:
    """Say whether the model fills an area of a whole image."""
    task = (element.get("model_task") or "").lower()
    skipped = _yes(element, "model_skip", False)
    if area.per_region or skipped or task == ModelTask.PROMPT:
        return False
    if task or element.get("model_prompt"):
        return True
    typed = area.is_promptlike or area.remember is not Remember.OFF
    given = element.get("value")  # the page takes its text from the task's data
    return not (draws or typed or given or area.name == STATUS)


def doubts(config: LabelConfig) -> Iterator[str]:
    """Yield what to say of the text areas that may be meant for people or for the model."""
    if any(control.shape for control in config.controls):
        yield from _doubts_beside_places(config)
    elif any(control.tag == "Choices" for control in config.controls):
        for control in config.controls:
            # Beside choices alone, an area without a word on it was left to people once.
            plain = control.options.prompt is None and control.options.task is None
            if control.tag == "TextArea" and not control.per_region and plain:
                name = quote(control.from_name, 20)
                yield (
                    f'<TextArea name="{name}">: the model fills it in; '
                    'model_skip="true" leaves it to people'
                )


def _doubts_beside_places(config: LabelConfig) -> Iterator[str]:
    prompts = config.prompt_areas()
    for area in config.text_areas:
        if not area.smart or area.per_region or area.filled or area.is_promptlike:
            continue
        if area.name == STATUS or area.remember is not Remember.OFF:
            continue
        use = "prompts are typed into it" if area in prompts else "it is left to people"
        name = quote(area.name, 20)
        yield f'<TextArea name="{name}">: {use}; model_task="fill" has the model fill it'


def _yes(element: Element, attribute: str, default: bool) -> bool:
    return {"true": True, "false": False}.get((element.get(attribute) or "").lower(), default)
