"""Precision, recall and F1 from outcomes, by label and over all; texts by edit distance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median

from rapidfuzz.distance import Levenshtein

from grounding.evaluation.matching import IOU_STEPS, Outcome, normal, pair_up
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

    A distance is a share of the image's longer side. None where there is no pair.
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
        if isinstance(old.place, Box) and isinstance(new.place, Box):
            ious.append(old.place.iou(new.place))
        elif isinstance(old.place, Point) and isinstance(new.place, Point):
            apart.append(old.place.apart(new.place, new.image))
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
