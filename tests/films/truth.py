"""How well boxes that the page shows lie on what a film of shapes shows."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from grounding.geometry import PERCENT, Box, KeyFrame, image_frame, seen_at
from tools.shapes.films import Film


def keys_of(region: dict[str, Any]) -> list[KeyFrame]:
    """Return a region's key frames, as the page has them."""
    return [
        KeyFrame(
            one["frame"],
            Box(one["x"], one["y"], one["x"] + one["width"], one["y"] + one["height"], PERCENT),
            one["enabled"],
        )
        for one in region["value"]["sequence"]
    ]


def overlaps(regions: Sequence[dict[str, Any]], made: Film, rate: float) -> dict[str, float]:
    """Return the mean IoU of the boxes that the page shows, by name, over all of its frames.

    A frame in which one of the two has no box counts 0.
    """
    image = image_frame(*made.size)
    ious: dict[str, list[float]] = {way.name: [] for way in made.ways}
    for frame in range(1, round(made.frames / made.fps * rate) + 1):
        number = min(made.frames - 1, int((frame - 1) / rate * made.fps))
        for way in made.ways:
            truth = way.box(number, made.size)
            mine = [r for r in regions if r["value"].get("labels") == [way.name]]
            boxes = [box for r in mine if (box := seen_at(keys_of(r), frame))]
            if truth is None and not boxes:
                continue
            real = Box(*truth, image) if truth else None
            ious[way.name].append(max((b.iou(real) for b in boxes), default=0.0) if real else 0.0)
    return {name: fmean(values) for name, values in ious.items()}
