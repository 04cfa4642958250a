"""Tasks, annotations and predictions as Label Studio's JSON has them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Result = dict[str, Any]
SIZE = {"original_width": 200, "original_height": 100, "image_rotation": 0}


def box(
    x: float, y: float, w: float, h: float, label: str = "cat", number: str = "", **more: Any
) -> Result:
    """Return a labelled box in percent; without a number its id is its own."""
    value = {"x": x, "y": y, "width": w, "height": h, "rotation": 0, "rectanglelabels": [label]}
    return {
        "id": number or f"id-{x}-{y}-{w}-{h}-{label}-{random.random()}",
        "from_name": "box",
        "to_name": "image",
        "type": "rectanglelabels",
        "value": value,
        **SIZE,
        **more,
    }


def point(x: float, y: float, label: str = "nose", number: str = "", **more: Any) -> Result:
    """Return a labelled point in percent."""
    value = {"x": x, "y": y, "width": 1, "keypointlabels": [label]}
    names = {"from_name": "point", "to_name": "image", "type": "keypointlabels"}
    return {"id": number or f"id-{x}-{y}", **names, "value": value, **SIZE, **more}


def choice(*names: str, control: str = "weather", **more: Any) -> Result:
    """Return choices of the whole image."""
    value = {"choices": list(names)}
    return {
        "id": f"choice-{control}",
        "from_name": control,
        "to_name": "image",
        "type": "choices",
        "value": value,
        **more,
    }


def text(said: str, control: str = "caption", **more: Any) -> Result:
    """Return a text of the whole image."""
    value = {"text": [said]}
    names = {"from_name": control, "to_name": "image", "type": "textarea"}
    return {"id": f"text-{control}", **names, "value": value, **more}


def annotation(result: Iterable[Result], **more: Any) -> dict[str, Any]:
    """Return an annotation that someone submitted."""
    return {"id": 1, "result": list(result), "was_cancelled": False, "completed_by": 1, **more}


def prediction(result: Iterable[Result], version: str = "v1", **more: Any) -> dict[str, Any]:
    """Return a prediction."""
    return {"id": 1, "result": list(result), "model_version": version, **more}


def task(
    number: int,
    annotations: Sequence[Mapping[str, Any]] = (),
    predictions: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """Return a task as `/api/tasks` lists it."""
    return {
        "id": number,
        "data": {"image": f"http://host/{number}.png"},
        "annotations": list(annotations),
        "predictions": list(predictions),
    }


def judged(number: int, truth: Iterable[Result], guess: Iterable[Result]) -> dict[str, Any]:
    """Return a task with one annotation and one prediction."""
    return task(number, [annotation(truth)], [prediction(guess)])


def scene(chance: random.Random, labels: Sequence[str] = ("cat", "dog")) -> list[Result]:
    """Return one to six boxes that an annotator might draw."""
    return [
        box(
            chance.uniform(0, 70),
            chance.uniform(0, 70),
            chance.uniform(5, 30),
            chance.uniform(5, 30),
            chance.choice(labels),
        )
        for _ in range(chance.randint(1, 6))
    ]


def guess(
    truth: Sequence[Result], chance: random.Random, *, miss: float, jitter: float
) -> list[Result]:
    """Return what a model might predict: some boxes missed, all a little off, one too many."""
    found = [_moved(one, chance, jitter) for one in truth if chance.random() >= miss]
    if chance.random() < 0.3:
        found += [_moved(one, chance, 0) for one in scene(chance)[:1]]
    return found


def _moved(one: Result, chance: random.Random, jitter: float) -> Result:
    value = one["value"]
    x, y, w, h = (value[key] for key in ("x", "y", "width", "height"))
    x, y = x + chance.uniform(-jitter, jitter) * w, y + chance.uniform(-jitter, jitter) * h
    return box(x, y, w, h, value["rectanglelabels"][0], score=chance.uniform(0.2, 1))
