"""Finds the regions that already exist on an annotator's page, and what an answer adds to them.

Label Studio does not say which annotation is being edited, and it sends the work of the last
seconds only with the context. Regions keep their ids, so saved work that shares an id with the
context is the work on the page; if none does, it is the newest draft of the user who asks. The
annotations of other users are not on this page.

Where nobody has saved anything, the page makes a draft of the newest prediction of our model
version, which Label Studio does not know before the draft's first change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grounding.errors import RequestError
from grounding.geometry import Box, Frame, Point, image_frame
from grounding.labelstudio.config.interface import Label, LabelConfig
from grounding.labelstudio.controls.base import Region, new_id
from grounding.labelstudio.interactive.context import find_drawn
from grounding.labelstudio.places import (
    MOVING,
    BoxGrid,
    PointGrid,
    Result,
    is_drawn,
    read_place,
    read_text,
)

SAME_IOU = 0.9
"""Boxes of one label that overlap this much mark the same thing."""

SAME_DISTANCE = 0.01
"""Points of one label that are closer than this share of the longer side mark the same thing."""

RegionGroup = Sequence[Result]
"""The results of one region: a shape and, under the same id, its label."""

Bucket = tuple[str, str | None]
"""A control's name and a label; None for regions without a label."""


@dataclass(frozen=True, slots=True)
class Page:
    """The results on an annotator's page, and the user's email if a draft has it."""

    results: tuple[Result, ...] = ()
    user: str = ""


def read_page(task: Mapping[str, Any], sent: Sequence[Result], version: str) -> Page:
    """Return what is on the page that sent the results `sent` for a task. Never raises.

    `version` is our model version. An annotation may be that of the user who asks, so the page
    shows a prediction for certain only where there is none, and no draft. Empty work counts too.
    It leaves out the region that asks and all other smart points, because the page removes those
    when an answer is accepted.
    """
    drafts = sorted(_read_works(task, "drafts"), key=_updated_at, reverse=True)
    covered = [draft.get("annotation") for draft in drafts]
    saved = [a for a in _read_works(task, "annotations") if a.get("id") not in covered]
    known = _ids(sent)
    shared = (work for work in (*drafts, *saved) if known & _ids(work["result"]))
    shown = drafts if drafts or saved else _predictions(task, version)
    work = next(shared, shown[0] if shown else None)
    asking = find_drawn(sent) or {}
    left = _without_deleted(work["result"], sent, asking) if work else ()
    here = [r for r in (*sent, *left) if "is_positive" not in r]
    gone = _ids([asking])
    existing = tuple(r for r in here if r is not asking and read_text(r, "id") not in gone)
    return Page(existing, next(filter(None, (read_text(d, "user") for d in drafts)), ""))


def _without_deleted(
    saved: Sequence[Result], sent: Sequence[Result], asking: Result
) -> Iterator[Result]:
    """Yield the saved results without the regions that were deleted since.

    Label Studio saves up to five seconds late. With a region that asks, its page sends all others
    of the same kind: what is saved and not sent is gone. Of other kinds, and where a text asks, it
    tells nothing.
    """
    kinds = [_kind(group) for group in group_regions(sent) if asking in group]
    known = _ids(sent)
    for group in group_regions(saved):
        names = _ids(group)
        if _kind(group) not in kinds or not names or known & names:
            yield from group


def _kind(group: RegionGroup) -> tuple[str, str | None, str | None] | None:
    """Return what the page groups regions by: shape, image and first label; None for no region."""
    drawn = next((r for r in group if is_drawn(r)), None)
    if drawn is None:
        return None
    shape = (read_text(drawn, "type") or "").removesuffix("labels")
    labels = [name for r in group for name in _label_names(r)]
    return shape, read_text(drawn, "to_name"), next(iter(labels), None)


def drop_existing(result: Sequence[Region], page: Page, config: LabelConfig) -> list[Region]:
    """Return the results of the regions that do not exist on the page yet."""
    spelling = {n: x.emitted for c in config.controls for x in c.labels for n in _spellings(x)}
    index = _MarkIndex(m for group in group_regions(page.results) for m in _marks(group, spelling))
    fresh = (
        group
        for group in group_regions(result)
        if not any(index.has_same(new) for new in _marks(group, spelling))
    )
    return [region for group in fresh for region in group]  # type: ignore[misc]


def with_new_ids(result: Sequence[Region]) -> list[Region]:
    """Return the same regions under new ids.

    One answer may be sent twice, and the page overwrites a region whose id it knows. Relations are
    left out: an annotator accepts region by region, and one might lead to a region that is not
    there.
    """
    names: dict[object, str] = {}
    regions = [one for one in result if "id" in one]
    return [{**region, "id": names.setdefault(region["id"], new_id())} for region in regions]


def group_regions(results: Iterable[Result]) -> list[RegionGroup]:
    """Return the results grouped by region id, in order; a result without an id is one group."""
    groups: dict[object, list[Result]] = {}
    for n, result in enumerate(results):
        groups.setdefault(read_text(result, "id") or n, []).append(result)
    return list(groups.values())


@dataclass(frozen=True, slots=True)
class _Mark:
    """A region's place, its control and its labels, spelled as the control emits them.

    `image` is the frame in which distances between points are measured.
    """

    place: Box | Point
    image: Frame
    from_name: str
    labels: frozenset[str]

    @property
    def buckets(self) -> list[Bucket]:
        """The buckets that hold it: marks of one thing share at least one."""
        return [(self.from_name, label) for label in self.labels or (None,)]


class _MarkIndex:
    """Marks by control, label and place, so that a mark is compared with its neighbours only."""

    def __init__(self, marks: Iterable[_Mark]) -> None:
        self._boxes: defaultdict[Bucket, BoxGrid] = defaultdict(lambda: BoxGrid(SAME_IOU))
        self._points: defaultdict[Bucket, list[Point]] = defaultdict(list)
        self._point_grids: dict[tuple[Bucket, Frame], PointGrid] = {}
        for mark in marks:
            self._add(mark)

    def has_same(self, mark: _Mark) -> bool:
        """Say whether it holds a mark of the same control, label and place as `mark`."""
        return any(True for bucket in mark.buckets for _ in self._near(bucket, mark))

    def _add(self, mark: _Mark) -> None:
        for bucket in mark.buckets:
            if isinstance(mark.place, Box):
                self._boxes[bucket].add(mark.place)
            else:
                self._points[bucket].append(mark.place)

    def _near(self, bucket: Bucket, mark: _Mark) -> Iterator[Box | Point]:
        if isinstance(mark.place, Box):
            return self._boxes[bucket].near(mark.place)
        return self._point_grid(bucket, mark.image).near(mark.place)

    def _point_grid(self, bucket: Bucket, image: Frame) -> PointGrid:
        """Return the bucket's points in a grid of `image`, which all points of an answer share."""
        grid = self._point_grids.get((bucket, image))
        if grid is None:
            grid = self._point_grids[bucket, image] = PointGrid(image, SAME_DISTANCE)
            for point in self._points[bucket]:
                grid.add(point)
        return grid


def _spellings(label: Label) -> tuple[str, str]:
    return label.value, label.emitted


def _updated_at(work: Result) -> str:
    return read_text(work, "updated_at") or ""


def _predictions(task: Mapping[str, Any], version: str) -> list[Result]:
    """Return the task's predictions of this model version, the newest first."""
    ours = [p for p in _read_works(task, "predictions") if p.get("model_version") == version]
    return sorted(ours, key=_made_at, reverse=True)


def _made_at(work: Result) -> tuple[str, float]:
    """Return what orders predictions by age: those of one moment by their ids."""
    number = work.get("id")
    return read_text(work, "created_at") or "", number if isinstance(number, int) else 0


def _read_works(task: Mapping[str, Any], key: str) -> list[Result]:
    """Return the task's drafts, annotations or predictions (`key`) that have a list of results."""
    works = task.get(key)
    if not isinstance(works, list):
        return []
    return [w for w in works if isinstance(w, Mapping) and _is_results(w.get("result"))]


def _is_results(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(r, Mapping) for r in value)


def _ids(results: Iterable[Result]) -> set[str]:
    return {name for r in results if (name := read_text(r, "id"))}


def _marks(group: RegionGroup, spelling: Mapping[str, str]) -> Iterator[_Mark]:
    """Yield the mark of a region; none if its type is unknown or it is rotated."""
    drawn = next((r for r in group if is_drawn(r)), None)
    if drawn is None or read_text(drawn, "type") == MOVING:
        return  # that two tracks meet in one frame does not make them one
    try:
        place = read_place(drawn)
    except RequestError:
        return
    names = (name for r in group for name in _label_names(r))
    labels = frozenset(spelling.get(name, name) for name in names)
    yield _Mark(place, _read_image(drawn), read_text(drawn, "from_name") or "", labels)


def _label_names(result: Result) -> list[str]:
    value, kind = result.get("value"), read_text(result, "type") or ""
    found = value.get(kind) if isinstance(value, Mapping) and kind.endswith("labels") else None
    return [n for n in found if isinstance(n, str)] if isinstance(found, list) else []


def _read_image(drawn: Result) -> Frame:
    """Return the image's frame as the region has it, or a square one if it has none."""
    sides = [drawn.get(key) for key in ("original_width", "original_height")]
    width, height = (s if isinstance(s, int) and s > 0 else 1 for s in sides)
    return image_frame(width, height)
