"""What stands on an annotator's page already, and what of an answer is new to it.

Label Studio does not say which annotation is being edited, and sends the work of the last
seconds with the context alone. But regions keep their ids: a saved work that shares one with the
context is the one on the page; failing that, it is the newest draft of the user who asks. What
others have annotated is none of this page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from grounding.errors import RequestError
from grounding.geometry import Box, Frame, Point, image_frame
from grounding.labelstudio.config.interface import LabelConfig
from grounding.labelstudio.controls.base import Region, new_id
from grounding.labelstudio.interactive.context import last_drawn
from grounding.labelstudio.places import Result, is_drawn, place, word

SAME_IOU = 0.9
"""Boxes of one label that overlap this much mark the same thing."""

SAME_DISTANCE = 0.01
"""Points of one label that are closer than this share of the longer side mark the same thing."""

Group = Sequence[Result]
"""The results of one region: a shape and, under the same id, its label."""


@dataclass(frozen=True, slots=True)
class Page:
    """What is on an annotator's page: all results, and the email of who asks, if a draft tells."""

    results: tuple[Result, ...] = ()
    user: str = ""


@dataclass(frozen=True, slots=True)
class _Mark:
    """A place with its labels, as `LabelConfig` spells them, on the control `from_name`."""

    place: Box | Point
    image: Frame
    from_name: str
    labels: frozenset[str]

    def repeats(self, other: _Mark) -> bool:
        """Say whether both mark the same thing alike."""
        labelled = self.labels & other.labels or not (self.labels or other.labels)
        return bool(labelled) and self.from_name == other.from_name and self._is_at(other)

    def _is_at(self, other: _Mark) -> bool:
        if isinstance(self.place, Box) and isinstance(other.place, Box):
            return self.place.iou(other.place) >= SAME_IOU
        if isinstance(self.place, Point) and isinstance(other.place, Point):
            return self.place.apart(other.place, self.image) <= SAME_DISTANCE
        return False


def read_page(task: Mapping[str, Any], sent: Sequence[Result]) -> Page:
    """Return what is on the page of who sent the results `sent` for a task, never raising.

    The place that asks is no part of it, and neither are other smart points: the page removes
    them when an answer is taken.
    """
    drafts = sorted(_works(task, "drafts"), key=lambda w: word(w, "updated_at") or "", reverse=True)
    covered = [draft.get("annotation") for draft in drafts]
    saved = [a for a in _works(task, "annotations") if a.get("id") not in covered]
    known = _ids(sent)
    shared = (work for work in (*drafts, *saved) if known & _ids(work["result"]))
    work = next(shared, drafts[0] if drafts else None)
    asking = last_drawn(sent) or {}
    here = [r for r in (*sent, *(work["result"] if work else ())) if "is_positive" not in r]
    standing = tuple(r for r in here if r is not asking and r.get("id") != asking.get("id", ""))
    return Page(standing, next(filter(None, (word(d, "user") for d in drafts)), ""))


def unrepeated(result: Sequence[Region], page: Page, config: LabelConfig) -> list[Region]:
    """Return the results of those regions that do not stand on the page already."""
    spelt = {n: x.emitted for c in config.controls for x in c.labels for n in (x.value, x.emitted)}
    marks = [mark for group in grouped(page.results) for mark in _marks(group, spelt)]
    fresh = (
        group
        for group in grouped(result)
        if not any(new.repeats(old) for new in _marks(group, spelt) for old in marks)
    )
    return [region for group in fresh for region in group]  # type: ignore[misc]


def renamed(result: Sequence[Region]) -> list[Region]:
    """Return the same regions under ids of their own.

    An answer may be given twice, and the page would overwrite what was made of the first.
    """
    names: dict[object, str] = {}
    return [{**region, "id": names.setdefault(region["id"], new_id())} for region in result]


def grouped(results: Iterable[Result]) -> list[Group]:
    """Return the results region by region, in order; those without an id stand alone."""
    groups: dict[object, list[Result]] = {}
    for n, result in enumerate(results):
        groups.setdefault(word(result, "id") or n, []).append(result)
    return list(groups.values())


def _works(task: Mapping[str, Any], key: str) -> list[Result]:
    works = task.get(key)
    if not isinstance(works, list):
        return []
    return [w for w in works if isinstance(w, Mapping) and _is_results(w.get("result"))]


def _is_results(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(r, Mapping) for r in value)


def _ids(results: Iterable[Result]) -> set[str]:
    return {name for r in results if (name := word(r, "id"))}


def _marks(group: Group, spelt: Mapping[str, str]) -> Iterator[_Mark]:
    """Yield the mark of a region, unless it is of a kind or turn that we never draw."""
    drawn = next((r for r in group if is_drawn(r)), None)
    if drawn is None:
        return
    try:
        where = place(drawn)
    except RequestError:
        return
    named = (name for r in group for name in _names(r))
    labels = frozenset(spelt.get(name, name) for name in named)
    yield _Mark(where, _image(drawn), word(drawn, "from_name") or "", labels)


def _names(result: Result) -> list[str]:
    value, kind = result.get("value"), word(result, "type") or ""
    found = value.get(kind) if isinstance(value, Mapping) and kind.endswith("labels") else None
    return [n for n in found if isinstance(n, str)] if isinstance(found, list) else []


def _image(drawn: Result) -> Frame:
    sides = [drawn.get(key) for key in ("original_width", "original_height")]
    width, height = (s if isinstance(s, int) and s > 0 else 1 for s in sides)
    return image_frame(width, height)
