"""New pictures with their truth, and the comparison of an answer with it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from grounding.demo.backend import BackendClient, data_uri
from grounding.geometry import PERCENT, Box, image_frame
from tools.shapes.scenes import NAMES, Scene, Thing, encode, hard_scene, scene

RIGHT = 0.5
"""The least IoU of a right box."""

TRIES = 4
FORMATS: tuple[tuple[Literal["PNG", "JPEG"], str], ...] = (("PNG", ".png"), ("JPEG", ".jpg"))

Regions = Sequence[dict[str, Any]]
Row = tuple[str, float, float, int]
"""A measurement: name, value, goal, and count."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A picture, and a present and an absent class to ask for."""

    picture: Scene
    present: Thing
    absent: str
    task: dict[str, Any]


def trial(seed: int, *, hard: bool = False) -> Trial:
    """Return the trial of `seed`: a new picture in one of the 8 EXIF orientations.

    With `hard`, the picture is a `hard_scene`, and the absent class is similar to a present one.
    """
    rng = random.Random(seed)
    drawn = hard_scene(seed) if hard else scene(seed)
    kind, suffix = FORMATS[seed % 2]
    file = encode(drawn.draw(), kind, orientation=1 + seed % 8)
    there = {thing.name for thing in drawn.things}
    absent = rng.choice([n for n in NAMES if n not in there and (not hard or _near(n, there))])
    task = {"id": seed, "data": {"image": data_uri(file, suffix)}}
    return Trial(drawn, rng.choice(drawn.things), absent, task)


def answers(
    backend: BackendClient,
    tasks: Sequence[dict[str, Any]],
    label_config: str,
    context: Mapping[str, Any] | None = None,
) -> list[Any]:
    """Return one entry per task; late predictions are requested again, up to `TRIES` times."""
    for _ in range(TRIES):
        entries = backend.predict(tasks, label_config, context)
        if all(entries):
            break
    return entries


def boxes(regions: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the boxes among the regions."""
    return [region for region in regions if region["type"] in ("rectanglelabels", "rectangle")]


def overlap(region: Mapping[str, Any], thing: Thing, picture: Scene) -> float:
    """Return the IoU of a box region with the true box of `thing`."""
    v = region["value"]
    box = Box.spanning((v["x"], v["y"]), (v["x"] + v["width"], v["y"] + v["height"]), PERCENT)
    return box.iou(Box(*thing.box, image_frame(picture.width, picture.height)))


def _near(name: str, others: Iterable[str]) -> bool:
    """Return whether one of `others` has the colour or the shape of `name`."""
    return any(set(name.split()) & set(other.split()) for other in others)
