"""Measures the accuracy of typed text, clicks and drawn boxes in the page, and of label lists.

The contexts have Label Studio's form. Each kind of request is made about every picture.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from benchmarks.accuracy.trials import RIGHT, Regions, Row, Trial, answers, boxes, overlap
from grounding.demo.backend import BackendClient
from grounding.geometry import PERCENT
from tools.shapes.names import Tongue, said
from tools.shapes.places import inner_point, jittered
from tools.shapes.scenes import NAMES, Thing

LIST = 4
"""Labels in one query, of the 24 in a project with all names."""

OFFERED = 4
AT_ONCE = 8
"""Annotators who ask at the same time; the engine answers them in one batch."""

ROUGH = 0.15
ELSEWHERE = "here"
"""The label of a click that no box control has."""

Context = dict[str, Any]
Put = Callable[[Trial, random.Random], "Asked"]


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of the page: the project's config, the context, and the right label."""

    label_config: str
    context: Context
    label: str


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of request: how it is made, how its answer is scored, and the goal."""

    name: str
    goal: float
    ask: Put
    worth: Callable[[Regions, Trial, Asked], float]


def list_row(backend: BackendClient, trials: Sequence[Trial], tongue: Tongue) -> Row:
    """Return the F1 at IoU 0.5 of all 24 labels, `LIST` in each query, over all pictures."""
    labels = tuple(said(name, tongue) for name in NAMES)
    entries = answers(backend, [one.task for one in trials], _boxes(labels, LIST))
    right = found = true = 0
    for one, entry in zip(trials, entries, strict=True):
        regions = boxes(entry["result"] if entry else ())
        right += sum(_is_found(thing, tongue, regions, one) for thing in one.picture.things)
        found, true = found + len(regions), true + len(one.picture.things)
    name = f"lists of {LIST} labels{'' if tongue == 'en' else ' in Chinese'}: F1 at IoU 0.5"
    return name, 2 * right / (found + true), 0.85, true


def page_row(backend: BackendClient, kind: Kind, trials: Sequence[Trial]) -> Row:
    """Return the mean score of one kind of request about every picture, `AT_ONCE` at a time."""

    def worth(one: Trial) -> float:
        asked = kind.ask(one, random.Random(f"{kind.name} {one.task['id']}"))
        (entry,) = answers(backend, [one.task], asked.label_config, asked.context)
        return kind.worth(entry["result"], one, asked) if entry else 0.0

    with ThreadPoolExecutor(AT_ONCE) as pool:
        values = list(pool.map(worth, trials))
    return kind.name, sum(values) / len(values), kind.goal, len(values)


def _is_found(thing: Thing, tongue: Tongue, regions: Regions, one: Trial) -> bool:
    name = said(thing.name, tongue)
    named = (r for r in regions if r["value"]["rectanglelabels"] == [name])
    return any(overlap(region, thing, one.picture) >= RIGHT for region in named)


def _boxes(labels: Iterable[str], size: int = 1) -> str:
    """Return a config with a box control for `labels`, a text area and a key-point control."""
    tags = "".join(f'<Label value="{label}"/>' for label in labels)
    return (
        '<View><Image name="image" value="$image"/>'
        '<RectangleLabels name="box" toName="image" smart="true" '
        f'model_labels_per_query="{size}">{tags}</RectangleLabels>'
        '<KeyPointLabels name="click" toName="image" smart="true" model_skip="true">'
        f'{tags}<Label value="{ELSEWHERE}"/></KeyPointLabels>'
        '<TextArea name="prompt" toName="image"/></View>'
    )


def _offered(name: str, rng: random.Random, tongue: Tongue) -> list[str]:
    """Return the labels of a project: `name` and a few others, in random order."""
    others = rng.sample([other for other in NAMES if other != name], OFFERED - 1)
    return [said(one, tongue) for one in rng.sample([name, *others], OFFERED)]


def _typing(phrase: str, tongue: Tongue = "en", *, absent: bool = False) -> Put:
    """Return a maker of requests with a typed phrase about the present or the absent thing."""

    def ask(one: Trial, rng: random.Random) -> Asked:
        name = one.absent if absent else one.present.name
        typed = {
            "id": "typed",
            "from_name": "prompt",
            "to_name": "image",
            "type": "textarea",
            "origin": "manual",
            "value": {"text": [phrase.format(x=said(name, tongue))]},
        }
        label_config = _boxes(_offered(name, rng, tongue))
        return Asked(label_config, {"result": [typed]}, said(name, tongue))

    return ask


def _clicking(label: str | None = None) -> Put:
    """Return a maker of requests with a click on the present thing, with `label` or its own."""

    def ask(one: Trial, rng: random.Random) -> Asked:
        spot = inner_point(one.present, one.picture, rng).to(PERCENT)
        names = [label or one.present.name]
        value = {"x": spot.x, "y": spot.y, "width": 0.2, "keypointlabels": names, "labels": names}
        drawn = _drawn(one, "keypointlabels", "click", value) | {"is_positive": True}
        label_config = _boxes(_offered(one.present.name, rng, "en"))
        return Asked(label_config, {"result": [drawn]}, one.present.name)

    return ask


def _drawing(one: Trial, rng: random.Random) -> Asked:
    """Return a request with a rough box around the present thing."""
    box = jittered(one.present, one.picture, ROUGH, rng).to(PERCENT)
    names = [one.present.name]
    place = {"x": box.x1, "y": box.y1, "width": box.width, "height": box.height, "rotation": 0}
    value = {**place, "rectanglelabels": names, "labels": names}
    label_config = _boxes(_offered(one.present.name, rng, "en"))
    drawn = _drawn(one, "rectanglelabels", "box", value)
    return Asked(label_config, {"result": [drawn]}, one.present.name)


def _drawn(one: Trial, kind: str, from_name: str, value: dict[str, Any]) -> dict[str, Any]:
    """Return a region as the page sends it after drawing; `kind` is its type in Label Studio."""
    return {
        "id": "drawn",
        "from_name": from_name,
        "to_name": "image",
        "type": kind,
        "origin": "manual",
        "original_width": one.picture.width,
        "original_height": one.picture.height,
        "image_rotation": 0,
        "value": value,
    }


def _iou(regions: Regions, one: Trial, asked: Asked) -> float:
    """Return the IoU with the truth; 0 unless the answer is one box with the right label."""
    found = boxes(regions)
    if len(found) != 1 or found[0]["value"]["rectanglelabels"] != [asked.label]:
        return 0.0
    return overlap(found[0], one.present, one.picture)


def _better(regions: Regions, one: Trial, asked: Asked) -> float:
    """Return 1 if the answer has a higher IoU than the drawn box, else 0."""
    (drawn,) = asked.context["result"]
    return float(_iou(regions, one, asked) > overlap(drawn, one.present, one.picture))


def _empty(regions: Regions, _one: Trial, _asked: Asked) -> float:
    return float(not boxes(regions))


KINDS = (
    Kind("typed, each …: mean IoU", 0.75, _typing("each {x}"), _iou),
    Kind("typed, 每一个…: mean IoU", 0.75, _typing("每一个{x}", "zh"), _iou),
    Kind("typed in Chinese: mean IoU", 0.75, _typing("{x}", "zh"), _iou),
    Kind("typed, absent: empty", 0.90, _typing("each {x}", absent=True), _empty),
    Kind("typed in Chinese, absent: empty", 0.90, _typing("{x}", "zh", absent=True), _empty),
    Kind("click: mean IoU", 0.70, _clicking(), _iou),
    Kind("click, label unknown: mean IoU", 0.70, _clicking(ELSEWHERE), _iou),
    Kind("rough box: a better one", 0.90, _drawing, _better),
)
