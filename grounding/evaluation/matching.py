"""Says which predicted regions are right, and which region of one labelling is which of another.

How close two regions are is a number from 0 to 1, and from 0.5 on they are of one thing: for boxes
and for spans of a film's time it is their IoU, for tracks the mean IoU over the frames, for points
it is 0.5 at `POINT_DISTANCE`, and for values it is 1 if they are equal.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, replace

from grounding.evaluation.records import Kind, Labelling, Region, TaskRecord
from grounding.evaluation.tracks import Track
from grounding.geometry import Box, Point

IOU_STEPS = tuple((10 + step) / 20 for step in range(10))
"""0.5, 0.55 … 0.95: the ten thresholds over which COCO averages."""

SAME = IOU_STEPS[0]

POINT_DISTANCE = 0.05
"""Points nearer than this share of the image's longer side are on one thing."""


def closeness(a: Region, b: Region) -> float:
    """Return how close two regions of one kind are, from 0 to 1."""
    if isinstance(a.place, Box) and isinstance(b.place, Box):
        return a.place.iou(b.place)
    if isinstance(a.place, Track) and isinstance(b.place, Track):
        return a.place.iou(b.place)
    if isinstance(a.place, Point) and isinstance(b.place, Point):
        return max(0.0, 1 - a.place.apart(b.place, b.image) * SAME / POINT_DISTANCE)
    return float(a.names == b.names and normal(a.text) == normal(b.text))


def normal(text: str) -> str:
    """Return a text as it is compared: runs of white space are one space."""
    return " ".join(text.split())


def units(labelling: Labelling) -> list[Region]:
    """Return what is counted: each region, and each of several choices by itself."""
    return [one for region in labelling.regions for one in _split(region)]


def _split(region: Region) -> list[Region]:
    if region.kind is not Kind.CHOICE:
        return [region]
    return [replace(region, names=(name,)) for name in region.names]


@dataclass(frozen=True, slots=True)
class Guess:
    """One predicted unit; `hits` says for each step of `IOU_STEPS` whether it is right."""

    region: Region
    hits: tuple[bool, ...]

    @property
    def right(self) -> bool:
        """Whether it is right at the first step."""
        return self.hits[0]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one task's prediction; `missed` are the wanted units that nothing found."""

    task: TaskRecord
    guesses: tuple[Guess, ...]
    wanted: tuple[Region, ...]
    missed: tuple[Region, ...]

    @property
    def errors(self) -> int:
        """How many predicted units are wrong, and wanted ones missed."""
        return len(self.missed) + sum(not guess.right for guess in self.guesses)


def judge(task: TaskRecord, prediction: Labelling, reference: Labelling) -> Outcome:
    """Return what is right in a prediction: each wanted unit is found at most once.

    The rule is COCO's: in falling order of their scores, each predicted unit takes the closest
    unit that nothing has taken yet and that has its control and label.
    """
    guessed, wanted = units(prediction), units(reference)
    close = _close(guessed, wanted)
    found = [_found(close, step) for step in IOU_STEPS]
    guesses = [Guess(one, tuple(i in taken for taken in found)) for i, one in enumerate(guessed)]
    seen = set(found[0].values())
    missed = tuple(one for j, one in enumerate(wanted) if j not in seen)
    return Outcome(task, tuple(guesses), tuple(wanted), missed)


Close = list[tuple[int, list[tuple[float, int]]]]
"""Predicted units by their number, best score first, each with the wanted units close to it."""


def _close(guessed: Sequence[Region], wanted: Sequence[Region]) -> Close:
    by_class: defaultdict[Hashable, list[int]] = defaultdict(list)
    for j, one in enumerate(wanted):
        by_class[class_of(one)].append(j)
    ranked = sorted(range(len(guessed)), key=lambda i: -(guessed[i].score or 0.0))
    return [(i, _near(guessed[i], wanted, by_class[class_of(guessed[i])])) for i in ranked]


def _near(one: Region, wanted: Sequence[Region], same: Iterable[int]) -> list[tuple[float, int]]:
    """Return the numbers of the wanted units that are close, the closest first."""
    pairs = ((closeness(one, wanted[j]), j) for j in same)
    return sorted((pair for pair in pairs if pair[0] >= SAME), key=lambda pair: -pair[0])


def _found(close: Close, step: float) -> dict[int, int]:
    """Return which wanted unit each right predicted unit takes at a threshold."""
    taken: dict[int, int] = {}
    gone: set[int] = set()
    for i, near in close:
        j = next((j for iou, j in near if iou >= step and j not in gone), None)
        if j is not None:
            taken[i] = j
            gone.add(j)
    return taken


def class_of(region: Region) -> Hashable:
    """Return what two units must have in common to be compared."""
    return region.control, region.kind, region.label


def pair_up(
    some: Sequence[Region], others: Sequence[Region], key: Callable[[Region], Hashable] = class_of
) -> list[tuple[Region, Region]]:
    """Return the pairs of regions that are of one thing, the closest first; symmetric.

    Only regions with equal `key` are compared. Each is in at most one pair.
    """
    by_key: defaultdict[Hashable, list[int]] = defaultdict(list)
    for j, other in enumerate(others):
        by_key[key(other)].append(j)
    near = [
        (closeness(one, others[j]), i, j) for i, one in enumerate(some) for j in by_key[key(one)]
    ]
    pairs, mine, theirs = [], set[int](), set[int]()
    for close, i, j in sorted(near, key=lambda entry: -entry[0]):
        if close >= SAME and i not in mine and j not in theirs:
            mine.add(i)
            theirs.add(j)
            pairs.append((some[i], others[j]))
    return pairs
