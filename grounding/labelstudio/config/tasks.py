"""What the model does for a control where its tag leaves it open: read print, or parse a page.

`model_task` says it, else the labels of boxes where a per-region `TextArea` waits for the text. A
text area that is the only value of an image, and has no prompt, is for all the print there. One
whose name says that it describes or transcribes does so.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from grounding.labelstudio.config.actions import act, list_only_actions
from grounding.labelstudio.config.areas import DESCRIBES, TRANSCRIBES
from grounding.labelstudio.config.interface import Control, Label, ModelTask, Template
from grounding.labelstudio.config.xml import Element
from grounding.labelstudio.data import fold
from grounding.queries import Shape, ValueKind

WORDS = frozenset({"word", "words", "单词", "词"})
"""Labels of single printed words, folded."""

PRINT = WORDS | {"text", "texts", "line", "lines", "textline", "文字", "文本", "文本行", "行"}
"""Labels of whatever is printed: a control with no others reads print."""

LAYOUT = frozenset({"caption", "footnote", "formula", "listitem", "pagefooter", "pageheader"})
LAYOUT |= {"picture", "sectionheader", "table", "text", "title", "paragraph", "heading", "code"}
LAYOUT |= {"figure", "list", "equation", "chart", "header", "footer"}
"""Names of the parts of a page, folded: those of DocLayNet, and others in use for the same."""

LEAST_LAYOUT = 3
"""Names of parts that make a control one for pages."""

_WORD = re.compile(r"[^\W\d_a-z]*[^\W\d_A-Z]+|[^\W\d_a-z]+")
"""A word of a name, in image_caption as in imageCaption."""

_OF_PICTURE = {
    "image",
    "img",
    "picture",
    "pic",
    "photo",
    "scene",
    "screen",
    "video",
    "film",
    "clip",
}
_OF_PICTURE |= {"visual", "short", "long", "brief", "detailed", "full", "alt", "text", "en", "zh"}
_DESCRIBES_PICTURE = re.compile(
    "(?:图[片像]?|照片|画面|场景|视频|影片|整体|全图|内容|简短|详细|[中英]文|的)*(?:描述|说明)(?:文字|文本)?"
)
"""What the name of a picture's description may have beside it: 产品说明 is a field of a form."""

DESCRIPTION = "What is seen here, in one or two sentences"
DESCRIPTION_ZH = "用一两句话描述所见内容"
"""What a text area is asked for whose name is all that says that it describes."""


def with_tasks(controls: Sequence[Control]) -> tuple[Control, ...]:
    """Return the controls with what their labels and their neighbours make of them."""
    found = [
        replace(
            control,
            task=_find_task(control, controls),
            described=control.on_film and bool(control.shape) and _is_described(control, controls),
        )
        for control in controls
    ]
    found = [_by_name(control, found) for control in found]
    acted = {one.to_name for one in found if one.shape and one.task is ModelTask.GUI}
    acting = [
        replace(one, task=ModelTask.GUI) if one.to_name in acted and _lists_actions(one) else one
        for one in found
    ]
    chosen = {c.to_name for c in acting if c.tag == "Choices" and c.task is ModelTask.GUI}
    return tuple(replace(one, named=one.to_name not in chosen) for one in acting)


def _by_name(control: Control, controls: Sequence[Control]) -> Control:
    """Return a text area with what its name asks for, where nothing else says it.

    One of a region that boxes or points fill with what they read is left to them.
    """
    options, name = control.options, control.from_name
    if control.tag != "TextArea" or options.prompt is not None or options.task is not None:
        return control
    here = [one for one in controls if one.shape and one.to_name == control.to_name]
    if control.per_region and (control.on_film or any(one.task for one in here)):
        return control
    if (said := DESCRIBES.search(name)) and (
        control.per_region or _is_of_picture(control, controls)
    ):
        own = "en" if said[0].isascii() else "zh"
        language = own if options.style.language == "auto" else options.style.language
        prompt = Template.read(DESCRIPTION_ZH if language == "zh" else DESCRIPTION)
        told = replace(options, prompt=prompt)
        return replace(control, task=ModelTask.FILL, options=told, asks_by_name=True)
    if control.per_region and TRANSCRIBES.search(name):
        return replace(control, task=ModelTask.OCR, asks_by_name=True)
    return control


def _is_of_picture(control: Control, controls: Sequence[Control]) -> bool:
    """Say whether an area that describes does so of its image: beside others, it may be a field.

    Such as the description of what is sold, on an invoice with a number and a date.
    """
    beside = [c for c in controls if c.to_name == control.to_name and not (c.shape or c.per_region)]
    words = _WORD.findall(control.from_name)
    return len(beside) == 1 or all(map(_is_word_of_picture, words))


def _is_word_of_picture(word: str) -> bool:
    folded = word.casefold()
    plain = folded in _OF_PICTURE or folded.startswith(("caption", "descri"))
    return plain or bool(_DESCRIBES_PICTURE.fullmatch(word))


def _lists_actions(control: Control) -> bool:
    """Say whether a control is a choice of what an agent does on its screen."""
    asks = control.per_region or control.options.prompt is not None
    return control.tag == "Choices" and not asks and list_only_actions(control.labels)


def _is_described(control: Control, controls: Sequence[Control]) -> bool:
    return any(one.accompanies and one.to_name == control.to_name for one in controls)


def _find_task(control: Control, controls: Sequence[Control]) -> ModelTask | None:
    if control.on_film and not (control.task is ModelTask.COUNT and not control.options.prompt):
        return None  # what reads and counts in pictures asks for places
    here = [one for one in controls if one.to_name == control.to_name]
    if control.task is ModelTask.COUNT and control.options.prompt is None:
        drawn = any(one.shape for one in here) and not control.per_region
        return ModelTask.COUNT if drawn else ModelTask.FILL  # its name may say what to count
    if control.task:
        return control.task
    if control.shape is Shape.POINT and act(control.labels):
        return ModelTask.GUI
    if control.shape is Shape.BOX and any(one.accompanies for one in here):
        return _task(control.labels)
    values = [one for one in here if not one.shape and not one.per_region]
    alone = values == [control] and control.value_type.kind is ValueKind.TEXT
    return ModelTask.OCR if alone and control.options.prompt is None else None


def _task(labels: Sequence[Label]) -> ModelTask | None:
    names = [fold(label.value) for label in labels]
    if names and PRINT.issuperset(names):
        return ModelTask.OCR
    if len(LAYOUT.intersection(names)) >= LEAST_LAYOUT:
        return ModelTask.DOCUMENT
    return None


def read_reading_order(elements: Sequence[Element]) -> str | None:
    """Return the value of the `<Relation>` called "next", None where there is none."""
    values = [e.get("value") or "" for e in elements if e.kind == "relation"]
    return next((value for value in values if fold(value) in ("next", "readingorder")), None)
