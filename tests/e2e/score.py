"""How near stored predictions are to the truth, in percent of the upright picture.

Written without the product's own geometry: an error there must show here.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from .client import Prediction
from .pictures import Sample

Corners = tuple[float, float, float, float]

BOX_TYPES = {"rectanglelabels", "labels"}
POINT_TYPES = {"keypointlabels"}


@dataclass
class Figures:
    """What a set of predictions is worth; `ious` and `hits` are of things found by their label."""

    wanted: int = 0
    ious: list[float] = field(default_factory=list)
    hits: list[bool] = field(default_factory=list)
    stray_boxes: int = 0
    stray_points: int = 0

    @property
    def mean_iou(self) -> float:
        """Mean intersection over union of the found things' boxes with their true ones."""
        return statistics.fmean(self.ious) if self.ious else 0.0

    @property
    def above_half(self) -> float:
        """Share of the found things' boxes whose IoU exceeds one half."""
        return _share(iou > 0.5 for iou in self.ious)

    @property
    def points_inside(self) -> float:
        """Share of the found things' points that lie inside the painted polygon."""
        return _share(self.hits)

    def rows(self) -> list[tuple[str, str]]:
        """Return name and value of each figure, for a table."""
        return [
            ("things wanted", str(self.wanted)),
            ("boxes with the right label", str(len(self.ious))),
            ("boxes of what is not there", str(self.stray_boxes)),
            ("mean IoU of boxes", f"{self.mean_iou:.3f}"),
            ("boxes above IoU 0.5", f"{self.above_half:.0%}"),
            ("points with the right label", str(len(self.hits))),
            ("points at what is not there", str(self.stray_points)),
            ("points inside their thing", f"{self.points_inside:.0%}"),
        ]


def measure(pairs: Iterable[tuple[Prediction, Sample]]) -> Figures:
    """Return the figures of predictions and the samples they are about."""
    figures = Figures()
    for prediction, sample in pairs:
        figures.wanted += len(sample.wanted)
        _measure_boxes(figures, prediction, sample)
        _measure_points(figures, prediction, sample)
    return figures


def labels(region: dict[str, Any]) -> list[str]:
    """Return the labels of one stored region, under whatever key its type keeps them."""
    found: list[str] = region["value"].get(region["type"], [])
    return found


def boxes(prediction: Prediction) -> list[tuple[str, Corners]]:
    """Return label and corners of each labelled rectangle, in an order of their own."""
    regions = [region for region in prediction.result if region["type"] in BOX_TYPES]
    return sorted((label, corners(region)) for region in regions for label in labels(region))


def corners(region: dict[str, Any]) -> Corners:
    """Return the two corners of a stored rectangle, in percent."""
    value = region["value"]
    x, y = value["x"], value["y"]
    return x, y, x + value["width"], y + value["height"]


def iou(a: Corners, b: Corners) -> float:
    """Return intersection over union of two rectangles in the same units."""
    across = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    down = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    union = _area(a) + _area(b) - across * down
    return across * down / union


def _measure_boxes(figures: Figures, prediction: Prediction, sample: Sample) -> None:
    found = boxes(prediction)
    for thing in sample.wanted:
        truth = sample.percent(thing.box)
        named = [iou(box, truth) for label, box in found if label == thing.name]
        figures.ious += [max(named)] if named else []
    figures.stray_boxes += _strays((label for label, _ in found), sample)


def _measure_points(figures: Figures, prediction: Prediction, sample: Sample) -> None:
    points = [region for region in prediction.result if region["type"] in POINT_TYPES]
    across, down = sample.scene.width / 100, sample.scene.height / 100
    for thing in sample.wanted:
        values = [point["value"] for point in points if thing.name in labels(point)]
        inside = [thing.covers(value["x"] * across, value["y"] * down) for value in values]
        figures.hits += [any(inside)] if inside else []
    figures.stray_points += _strays((label for point in points for label in labels(point)), sample)


def _strays(named: Iterable[str], sample: Sample) -> int:
    here = {thing.name for thing in sample.wanted}
    return sum(label not in here for label in named)


def _area(box: Corners) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _share(flags: Iterable[bool]) -> float:
    counted = list(flags)
    return sum(counted) / len(counted) if counted else 0.0
