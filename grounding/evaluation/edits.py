"""Says what annotators did to each pre-labelled region."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from enum import StrEnum

from grounding.evaluation.matching import closeness, normal, pair_up
from grounding.evaluation.records import Labelling, Region
from grounding.evaluation.tracks import Track
from grounding.geometry import Box, Point

UNMOVED = 0.1
"""Percent of the image by which a coordinate may differ in a region that was not moved."""

AS_GOOD = 0.95
"""Two boxes that were drawn apart count as the same place from this IoU on, as two points within
a tenth of the distance at which they are of one thing."""


class Edit(StrEnum):
    """What became of a region."""

    KEPT = "kept"
    MOVED = "moved"
    RELABELLED = "relabelled"
    REWRITTEN = "rewritten"
    """A text was changed."""
    DELETED = "deleted"
    MISSED = "missed"
    """The model did not have it, and an annotator added it."""


def find_edits(prediction: Labelling, reference: Labelling) -> Iterator[tuple[Edit, str]]:
    """Yield what became of each predicted region, with its label, and what was missed.

    A region of the annotation is the predicted one if it has its id, which stays when a prediction
    is corrected; else if it is close and has its label; else if it is close.
    """
    before, after = list(prediction.regions), list(reference.regions)
    for pair in _WAYS:
        for old, new in pair(before, after):
            before.remove(old)
            after.remove(new)
            yield _edit(old, new), old.label
    yield from ((Edit.DELETED, old.label) for old in before)
    yield from ((Edit.MISSED, new.label) for new in after)


Pairs = list[tuple[Region, Region]]


def _by_id(before: Sequence[Region], after: Sequence[Region]) -> Pairs:
    return _by(lambda one: (one.id, one.kind), before, after)


def _by_control(before: Sequence[Region], after: Sequence[Region]) -> Pairs:
    """Return the pairs of values: a control has one for the whole image."""
    values = [[one for one in some if one.place is None] for some in (before, after)]
    return _by(lambda one: (one.control, one.kind), *values)


def _by(
    key: Callable[[Region], Hashable], before: Sequence[Region], after: Sequence[Region]
) -> Pairs:
    olds, news = ({key(one): one for one in some} for some in (before, after))
    return [(old, news[name]) for name, old in olds.items() if name in news]


def _by_label(before: Sequence[Region], after: Sequence[Region]) -> Pairs:
    return pair_up(before, after)


def _by_place(before: Sequence[Region], after: Sequence[Region]) -> Pairs:
    old, new = ([one for one in some if one.place is not None] for some in (before, after))
    return pair_up(old, new, key=lambda one: one.kind)


_WAYS = (_by_id, _by_control, _by_label, _by_place)


def _edit(old: Region, new: Region) -> Edit:
    if old.names != new.names:
        return Edit.RELABELLED
    if not _is_unmoved(old, new):
        return Edit.MOVED
    return Edit.KEPT if _texts(old) == _texts(new) else Edit.REWRITTEN


def _texts(region: Region) -> dict[str, str]:
    texts = {**region.beside, "": region.text}
    return {control: normal(text) for control, text in texts.items()}


def _is_unmoved(old: Region, new: Region) -> bool:
    if old.place is None:
        return True
    if isinstance(old.place, Track) and isinstance(new.place, Track) and old.id == new.id:
        return old.place.is_at(new.place, UNMOVED)
    if old.id == new.id:
        moves = zip(_numbers(old), _numbers(new), strict=True)
        return all(abs(a - b) <= UNMOVED for a, b in moves)
    return closeness(old, new) >= AS_GOOD


def _numbers(region: Region) -> tuple[float, ...]:
    return region.place.coordinates if isinstance(region.place, Box | Point) else ()
