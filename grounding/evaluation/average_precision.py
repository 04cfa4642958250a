"""COCO's average precision of boxes, by faster-coco-eval."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from grounding.evaluation.matching import Outcome, class_of
from grounding.evaluation.records import Kind, Region
from grounding.geometry import Box

MAX_BOXES = 1000
"""Boxes of one image and label that count: as many as a control draws."""


@dataclass(frozen=True, slots=True)
class AveragePrecision:
    """The mean over labels and the ten IoU steps, and that at IoU 0.5; `labels` by label."""

    mean: float
    at_half: float
    labels: Mapping[str, float] = field(default_factory=dict)


def average_precision(outcomes: Sequence[Outcome]) -> AveragePrecision | None:
    """Return the average precision of all boxes; None where no box is wanted or one has no score.

    Without a score for each there is no order to average over.
    """
    boxes = [g.region for o in outcomes for g in o.guesses if g.region.kind is Kind.BOX]
    wanted = [r for o in outcomes for r in o.wanted if r.kind is Kind.BOX]
    if not wanted or any(box.score is None for box in boxes):
        return None
    classes = {cls: n for n, cls in enumerate(dict.fromkeys(map(class_of, wanted)), 1)}
    truth, found = _coco(outcomes, classes)
    names = {n: str(cls[2]) for cls, n in classes.items() if isinstance(cls, tuple)}
    if not found:
        return AveragePrecision(0.0, 0.0, dict.fromkeys(names.values(), 0.0))
    return _evaluate(truth, found, names)


def _coco(
    outcomes: Sequence[Outcome], classes: Mapping[Any, int]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the wanted boxes as COCO's file, and the predicted ones as its results."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    found: list[dict[str, Any]] = []
    for number, outcome in enumerate(outcomes, 1):
        images.append({"id": number, "width": 100, "height": 100})
        for region in outcome.wanted:
            if region.kind is Kind.BOX:
                entry = _entry(region, number, classes)
                extra = {"id": len(annotations) + 1, "iscrowd": 0, "area": entry["bbox"][2]}
                annotations.append({**entry, **extra})
        found += [
            {**_entry(guess.region, number, classes), "score": guess.region.score}
            for guess in outcome.guesses
            if guess.region.kind is Kind.BOX and class_of(guess.region) in classes
        ]
    categories = [{"id": number, "name": str(number)} for number in classes.values()]
    truth = {"images": images, "annotations": annotations, "categories": categories}
    return truth, found


def _entry(region: Region, image: int, classes: Mapping[Any, int]) -> dict[str, Any]:
    box = region.place
    assert isinstance(box, Box)  # noqa: S101  the kind says so
    sides = [box.x1, box.y1, box.width, box.height]
    return {"image_id": image, "category_id": classes[class_of(region)], "bbox": sides}


def _evaluate(
    truth: dict[str, Any], found: list[dict[str, Any]], names: Mapping[int, str]
) -> AveragePrecision:
    from faster_coco_eval import COCO, COCOeval_faster

    coco = COCO(truth)
    run = COCOeval_faster(coco, coco.loadRes(found), iouType="bbox", print_function=lambda *_: None)
    run.params.maxDets = [MAX_BOXES]
    # Areas in percent mean nothing: all boxes count.
    run.params.areaRng, run.params.areaRngLbl = [[0, 1e10]], ["all"]
    run.evaluate()
    run.accumulate()
    precision = run.eval["precision"][..., 0, 0]  # IoU step, recall step, class
    mine = {names[n]: _mean(precision[:, :, i]) for i, n in enumerate(run.params.catIds)}
    return AveragePrecision(_mean(precision), _mean(precision[:1]), mine)


def _mean(precision: Any) -> float:
    known = precision[precision > -1]
    return float(known.mean()) if known.size else 0.0
