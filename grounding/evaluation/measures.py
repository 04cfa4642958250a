"""Precision, recall and F1 from outcomes, COCO's average precision, and texts by edit distance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Any

from rapidfuzz.distance import Levenshtein

from grounding.evaluation.matching import IOU_STEPS, Outcome, class_of, closeness, normal, pair_up
from grounding.evaluation.records import Kind, Labelling, Region
from grounding.geometry import Box, Point


@dataclass(frozen=True, slots=True)
class Counts:
    """How many units were predicted, how many were wanted, and how many predicted are right."""

    right: int = 0
    guessed: int = 0
    wanted: int = 0

    @property
    def precision(self) -> float | None:
        """The share of the predicted that is right; None where nothing was predicted."""
        return self.right / self.guessed if self.guessed else None

    @property
    def recall(self) -> float | None:
        """The share of the wanted that was found; None where nothing was wanted."""
        return self.right / self.wanted if self.wanted else None

    @property
    def f1(self) -> float | None:
        """The harmonic mean of both; None where nothing was predicted and nothing wanted."""
        both = self.guessed + self.wanted
        return 2 * self.right / both if both else None


Key = tuple[Kind, str, str]
"""Kind, control and label of a unit."""


@dataclass(slots=True)
class Tally:
    """The counts of one class over all tasks; `right` has one number for each IoU step."""

    right: list[int] = field(default_factory=lambda: [0] * len(IOU_STEPS))
    guessed: int = 0
    wanted: int = 0

    def at(self, step: int = 0) -> Counts:
        """Return the counts at one step of `IOU_STEPS`."""
        return Counts(self.right[step], self.guessed, self.wanted)

    @property
    def mean_f1(self) -> float | None:
        """F1 as the mean over the IoU steps from 0.5 to 0.95."""
        scores = [self.at(step).f1 for step in range(len(IOU_STEPS))]
        known = [score for score in scores if score is not None]
        return fmean(known) if known else None

    def add(self, other: Tally) -> None:
        """Add the counts of another class."""
        self.right = [a + b for a, b in zip(self.right, other.right, strict=True)]
        self.guessed += other.guessed
        self.wanted += other.wanted


def tally(outcomes: Iterable[Outcome]) -> dict[Key, Tally]:
    """Return the counts of each class."""
    found: defaultdict[Key, Tally] = defaultdict(Tally)
    for outcome in outcomes:
        for guess in outcome.guesses:
            mine = found[_key(guess.region)]
            mine.guessed += 1
            mine.right = [n + hit for n, hit in zip(mine.right, guess.hits, strict=True)]
        for region in outcome.wanted:
            found[_key(region)].wanted += 1
    return dict(sorted(found.items()))


def _key(region: Region) -> Key:
    return region.kind, region.control, region.label


def total(tallies: Mapping[Key, Tally], kind: Kind | None = None) -> Tally:
    """Return the counts over all classes, or over those of one kind."""
    found = Tally()
    for (mine, _, _), one in tallies.items():
        if kind in (None, mine):
            found.add(one)
    return found


@dataclass(frozen=True, slots=True)
class Places:
    """How near the right places are to the wanted ones: boxes by IoU, points by distance.

    Spans and tracks count as boxes. A distance is a share of the image's longer side. None where
    there is no pair.
    """

    boxes: int
    mean_iou: float | None
    points: int
    median_distance: float | None


def nearness(pairs: Iterable[tuple[Region, Region]]) -> Places:
    """Return how near the places of pairs are that are of one thing."""
    ious: list[float] = []
    apart: list[float] = []
    for old, new in pairs:
        if isinstance(old.place, Point) and isinstance(new.place, Point):
            apart.append(old.place.apart(new.place, new.image))
        elif old.place is not None:
            ious.append(closeness(old, new))
    return Places(
        len(ious),
        fmean(ious) if ious else None,
        len(apart),
        median(apart) if apart else None,
    )


@dataclass(frozen=True, slots=True)
class Texts:
    """How far the texts of one control are from the wanted ones.

    `error_rate` is the number of characters to insert, delete or replace, per wanted character,
    over all pairs. A text that is missing or superfluous counts with all its characters.
    """

    control: str
    pairs: int
    equal: int
    error_rate: float | None


def compare_texts(pairs: Iterable[tuple[Labelling, Labelling]]) -> list[Texts]:
    """Return the figures of each control with texts: of the whole image, and of paired regions."""
    found: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for prediction, reference in pairs:
        for control, mine, theirs in _text_pairs(prediction, reference):
            found[control].append((normal(mine), normal(theirs)))
    return [_texts(control, some) for control, some in sorted(found.items())]


def _text_pairs(prediction: Labelling, reference: Labelling) -> list[tuple[str, str, str]]:
    mine, theirs = _global_texts(prediction), _global_texts(reference)
    found = [(c, mine.get(c, ""), theirs.get(c, "")) for c in {**mine, **theirs}]
    for old, new in pair_up(prediction.regions, reference.regions):
        controls = {**old.beside, **new.beside}
        found += [(c, old.beside.get(c, ""), new.beside.get(c, "")) for c in controls]
    return found


def _global_texts(labelling: Labelling) -> dict[str, str]:
    return {one.control: one.text for one in labelling.regions if one.kind is Kind.TEXT}


def _texts(control: str, pairs: Sequence[tuple[str, str]]) -> Texts:
    wrong = sum(Levenshtein.distance(mine, theirs) for mine, theirs in pairs)
    length = sum(len(theirs) for _, theirs in pairs)
    equal = sum(mine == theirs for mine, theirs in pairs)
    return Texts(control, len(pairs), equal, wrong / length if length else None)


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
