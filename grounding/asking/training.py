"""Annotations as conversations to train a model with: our prompts, the model's own answers.

A picture is stored as the model is shown it, and its places are numbers of that very picture (or
thousandths, where the family writes these). So a trainer that resizes as Qwen does changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL.Image import Image

from grounding.evaluation.records import Kind, Labelling, Region
from grounding.geometry import Box, Frame, Point
from grounding.labelstudio.config.interface import Control, LabelConfig
from grounding.labelstudio.plan import PlannedQuery, PromptDefaults, ViewSpec, plan
from grounding.media.views import View, whole
from grounding.queries import Fill, Locate, Shape, ValueKind
from grounding.qwen.profiles import Profile
from grounding.qwen.queries import read_answer, write_prompt

KINDS = {Shape.BOX: Kind.BOX, Shape.POINT: Kind.POINT}
HALF = 0.5 + 1e-6
"""How far a number may be from what was annotated: it is rounded to a whole one."""


@dataclass(frozen=True, slots=True)
class Example:
    """One query about a view, with the answer that the annotation gives.

    `flaw` is why it teaches nothing or something wrong; empty where it reads back to the same.
    """

    view: ViewSpec
    pixels: Image
    prompt: str
    answer: str
    flaw: str = ""

    def messages(self) -> list[dict[str, str]]:
        """Return the conversation, with the mark of the picture that both trainers take."""
        return [
            {"role": "user", "content": f"<image>{self.prompt}"},
            {"role": "assistant", "content": self.answer},
        ]


def examples(
    config: LabelConfig,
    defaults: PromptDefaults,
    reference: Labelling,
    picture: Image,
    profile: Profile,
) -> Iterator[Example]:
    """Yield an example for each query that pre-labelling asks about a picture.

    `picture` is upright. Raises `DataError` where a prompt names a field that the task lacks.
    """
    views: dict[ViewSpec, View] = {}
    for planned in plan(config, None, defaults):
        spec = planned.view
        if spec not in views:
            bounds = profile.within(spec.min_pixels, spec.max_pixels).bounds
            views[spec] = whole(picture, bounds)
        yield _example(planned, views[spec], reference, profile)


def _example(planned: PlannedQuery, view: View, reference: Labelling, profile: Profile) -> Example:
    query, frame = planned.query, profile.answer_frame(view.frame)
    prompt = write_prompt(query, frame, profile.prompts)
    if isinstance(query, Locate):
        answer, flaw = _locate(query, planned.controls, reference, frame)
    elif isinstance(query, Fill):
        answer, flaw = _fill(query, planned.controls, reference, frame)
    else:
        answer, flaw = "", "queries of this kind are not exported"
    return Example(planned.view, view.pixels, prompt, answer, flaw)


def _locate(
    query: Locate, controls: Sequence[Control], reference: Labelling, frame: Frame
) -> tuple[str, str]:
    if not query.classes:
        return "", "the prompt names no label"
    if query.style.answer_format != "json":
        return "", "only answers in JSON are exported"
    mine = [
        (region, word)
        for control in controls
        for region in reference.regions
        if region.control == control.from_name and region.kind is KINDS[query.shape]
        for word in [_word(region, control, query.classes)]
        if word is not None
    ]
    entries = [_entry(region, word, frame) for region, word in mine]
    answer = _fenced(entries)
    found = read_answer(query, answer, frame, complete=True).findings
    read = [(finding.place, finding.label) for finding in found]
    wanted = [(_place(region, frame), word) for region, word in mine]
    same = len(read) == len(wanted) and all(map(_is_same, read, wanted))
    return answer, "" if same else "the answer does not read back to the same regions"


def _word(region: Region, control: Control, classes: Sequence[str]) -> str | None:
    """Return the word that the query calls a region by; None if it does not ask for it."""
    for label in control.labels:
        if label.emitted in region.names:
            return next((word for word in label.words if word in classes), None)
    return None


def _place(region: Region, frame: Frame) -> Box | Point | None:
    place = region.place
    return place.to(frame).clip() if isinstance(place, Box | Point) else None


def _entry(region: Region, word: str, frame: Frame) -> str:
    place = _place(region, frame)
    numbers = [round(number) for number in _numbers(place)]
    key = "bbox_2d" if isinstance(place, Box) else "point_2d"
    return f'{{"{key}": {json.dumps(numbers)}, "label": {json.dumps(word, ensure_ascii=False)}}}'


def _numbers(place: Box | Point | None) -> tuple[float, ...]:
    return () if place is None else place.coordinates


def _fenced(entries: Sequence[str]) -> str:
    """Return a list as these models write it."""
    inside = ",\n".join(f"\t{entry}" for entry in entries)
    return f"```json\n[\n{inside}\n]\n```" if entries else "```json\n[]\n```"


def _is_same(read: tuple[Any, str | None], wanted: tuple[Any, str]) -> bool:
    numbers, meant = _numbers(read[0]), _numbers(wanted[0])
    near = len(numbers) == len(meant) and all(
        abs(a - b) <= HALF for a, b in zip(numbers, meant, strict=True)
    )
    return near and read[1] == wanted[1]


def _fill(
    query: Fill, controls: Sequence[Control], reference: Labelling, frame: Frame
) -> tuple[str, str]:
    if any(field.type.kind is not ValueKind.CHOICE for field in query.fields):
        return "", "only choices are exported of values"
    chosen = {control.from_name: _chosen(control, reference) for control in controls}
    values: Mapping[str, Any] = {
        field.name: chosen[field.name] if field.multiple else next(iter(chosen[field.name]), None)
        for field in query.fields
    }
    answer = f"```json\n{json.dumps(values, ensure_ascii=False)}\n```"
    found = read_answer(query, answer, frame, complete=True).findings
    read = sorted((finding.label, finding.value) for finding in found)
    wanted = sorted((name, word) for name, words in chosen.items() for word in words)
    return answer, "" if read == wanted else "the answer does not read back to the same values"


def _chosen(control: Control, reference: Labelling) -> list[str]:
    names = {n for r in reference.regions if r.control == control.from_name for n in r.names}
    return [label.words[0] for label in control.labels if label.emitted in names]
