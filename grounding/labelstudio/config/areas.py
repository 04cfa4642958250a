"""Tells text areas apart: those that annotators type prompts into, and those that the model fills.

A text area is filled where its config says so, by `model_task="fill"` or by a `model_prompt` of its
own. Where nothing is drawn, a prompt would have nothing to ask for: there every text area of an
image is filled, but for one that is named "status" or "prompt…", and for a lone one beside choices
and nothing else, where people write comments. All others are as they always were: people type into
them, or they are the status area.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from grounding.labelstudio.config.conditions import inherit_conditions, is_shown
from grounding.labelstudio.config.interface import (
    STATUS,
    Control,
    Label,
    LabelConfig,
    ModelTask,
    Remember,
    TextArea,
)
from grounding.labelstudio.config.xml import Element, quote
from grounding.queries import Shape

REMEMBER = "model_remember"
"""The attribute of a `<TextArea>` that says what becomes of the prompt typed last."""

_REMEMBER = {str(word): word for word in Remember}


def read_text_areas(
    elements: Sequence[Element], *, draws: bool, asks: bool
) -> tuple[TextArea, ...]:
    """Return the text areas of a config, in order.

    `draws` is whether a control draws places, `asks` whether one other than choices holds a value.
    """
    inside = inherit_conditions(elements[0])
    found = [
        (element, replace(area, hidden=not is_shown(inside.get(id(element), element))))
        for element in elements
        if element.kind == "textarea" and (area := _read_text_area(element))
    ]
    marks = [_read_mark(element, area) for element, area in found]
    chosen = any(element.kind == "choices" for element in elements)
    fills = not draws and (asks or not chosen or marks.count(None) != 1)
    return tuple(
        replace(area, filled=fills if mark is None else mark)
        for (_, area), mark in zip(found, marks, strict=True)
    )


def _read_text_area(element: Element) -> TextArea | None:
    name, to_name = element.get("name"), element.get("toName")
    if not name or not to_name:
        return None
    return TextArea(
        name,
        to_name,
        smart=_yes(element, "smart", True),
        per_region=_yes(element, "perRegion", False),
        remember=_REMEMBER.get((element.get(REMEMBER) or "").lower(), Remember.OFF),
    )


def _read_mark(element: Element, area: TextArea) -> bool | None:
    """Say whether the model fills an area of a whole image; None where the config does not say."""
    task = (element.get("model_task") or "").lower()
    if area.per_region or _yes(element, "model_skip", False) or task == ModelTask.PROMPT:
        return False
    if task or element.get("model_prompt"):
        return True
    typed = area.is_promptlike or area.remember is not Remember.OFF
    given = element.get("value")  # the page takes its text from the task's data
    return False if typed or given or area.name == STATUS else None


def doubts(config: LabelConfig) -> Iterator[str]:
    """Yield what to say of the text areas that may be meant for people or for the model."""
    drawn = any(control.shape for control in config.controls)
    if not drawn and not any(control.tag == "Choices" for control in config.controls):
        return
    yield from _doubts_of_unfilled(config)
    for control in () if drawn else config.controls:
        # Beside choices alone, an area without a word on it was left to people once.
        plain = control.options.prompt is None and control.options.task is None
        if control.tag == "TextArea" and not control.per_region and plain:
            name = quote(control.from_name, 20)
            yield (
                f'<TextArea name="{name}">: the model fills it in; '
                'model_skip="true" leaves it to people'
            )


def _doubts_of_unfilled(config: LabelConfig) -> Iterator[str]:
    prompts = config.prompt_areas() if any(c.shape for c in config.controls) else ()
    for area in config.text_areas:
        if not area.smart or area.per_region or area.filled or area.is_promptlike:
            continue
        if area.name == STATUS or area.remember is not Remember.OFF:
            continue
        if area.hidden and area not in prompts:
            continue  # nothing would have the model fill it
        use = "prompts are typed into it" if area in prompts else "it is left to people"
        cure = 'model_task="fill" has the model fill it'
        cure = 'smart="false" leaves it to people' if area.hidden else cure
        yield f'<TextArea name="{quote(area.name, 20)}">: {use}; {cure}'


TRANSCRIBES = re.compile(
    r"(?i:transcri)|(?<![A-Za-z])[Oo][Cc][Rr](?![a-z])|(?<=[a-z])(?:OCR|Ocr)(?![a-z])|转写|文字识别"
)
"""Names of text areas for the print of their region: plate_OCR and ocrText, no democracy."""

DESCRIBES = re.compile(r"caption|descri|描述|说明", re.IGNORECASE)
"""Names of text areas for a description of what is seen."""

_TEXT = re.compile(
    r"(?<![A-Za-z])(?i:texts?|content|print|words)(?![a-z])|(?<=[a-z])Text(?![a-z])|文[字本]|内容"
)
"""Names that say less clearly that an area is for print."""


def find_taker(
    areas: Iterable[Control], drawing: Control, label: Label | None = None
) -> Control | None:
    """Return the area that takes the text of a region that `drawing` draws, with this label.

    Of several, that is the one whose name says what the text is, else one with a condition for such
    regions, else the first.
    """
    about = [one for one in areas if one.accompanies and one.is_about(drawing, label)]
    return min(about, key=lambda one: _rank(one, drawing), default=None)


def _rank(area: Control, drawing: Control) -> tuple[int, bool]:
    """Return how far an area is from the text of a region: the least takes it."""
    says = [DESCRIBES] if drawing.described else [TRANSCRIBES, _TEXT]
    acts = drawing.task is ModelTask.GUI and area.options.task is ModelTask.GUI
    names = (at for at, name in enumerate(says) if name.search(area.from_name))
    return -1 if acts else next(names, len(says)), not (area.only_labels or area.only_from)


def doubts_of_regions(controls: Sequence[Control]) -> Iterator[str]:
    """Yield what to say of per-region text areas that stay empty, or do unless a text comes."""
    reading = {c.to_name for c in controls if c.shape is Shape.SPAN or (c.shape and c.task)}
    for one in controls:
        if not one.accompanies or one.asks_of_regions:
            continue
        name = f'<TextArea name="{quote(one.from_name, 20)}">: '
        takers = _list_takers(one, controls)
        if takers and one.from_name not in takers:
            yield (
                f'{name}stays empty: "{quote(takers[0], 20)}" takes the text that comes with a '
                'place; a model_prompt asks for this one, model_skip="true" leaves it to people'
            )
        elif one.to_name not in reading:
            cure = 'model_task="ocr" reads each region, a model_prompt asks about it'
            if one.on_film:
                cure = "boxes in films bring none, so it stays empty"
            yield f"{name}takes a text that the model writes with a place; {cure}"


def _list_takers(area: Control, controls: Sequence[Control]) -> list[str]:
    """Return the names of the areas that take the texts of the regions that an area is about."""
    beside = [one for one in controls if one.per_region and one.to_name == area.to_name]
    takers = (
        find_taker(beside, drawing, label)
        for drawing in controls
        if drawing.shape and drawing.to_name == area.to_name
        for label in (drawing.labels or (None,))
        if area.is_about(drawing, label)
    )
    return list(dict.fromkeys(one.from_name for one in takers if one))


def _yes(element: Element, attribute: str, default: bool) -> bool:
    return {"true": True, "false": False}.get((element.get(attribute) or "").lower(), default)
