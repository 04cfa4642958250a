"""Reads Label Studio's tasks, annotations and predictions into values that can be compared."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from grounding.errors import InputError
from grounding.evaluation.tracks import MAX_FRAMES, Track
from grounding.geometry import PERCENT, Box, Frame, KeyFrame, Point, image_frame

EXPORT_HINT = "Give Label Studio's own JSON export (not JSON-MIN), or a file of predictions"
PRELABELLED = ("prediction", "prediction-changed")
"""The `origin` of a region that began as a prediction."""


class Kind(StrEnum):
    """What a region is compared by."""

    BOX = "box"
    POINT = "point"
    SPAN = "span"
    """Frames of a film: a box one unit high, as wide as they are many."""
    TRACK = "track"
    """A box that moves through a film."""
    CHOICE = "choice"
    """One of a list, or of a tree."""
    TEXT = "text"
    """A text, or a number or a date as text."""


_PLACES = {
    "rectanglelabels": Kind.BOX,
    "rectangle": Kind.BOX,
    "keypointlabels": Kind.POINT,
    "keypoint": Kind.POINT,
    "timelinelabels": Kind.SPAN,
    "videorectangle": Kind.TRACK,
}
_VALUES = {
    "choices": Kind.CHOICE,
    "taxonomy": Kind.CHOICE,
    "textarea": Kind.TEXT,
    "number": Kind.TEXT,
    "rating": Kind.TEXT,
    "datetime": Kind.TEXT,
}
_BESIDE = ("labels", "relation")
"""Result types that say something about a region or between regions, and are none themselves."""


Place = Box | Point | Track


@dataclass(frozen=True, slots=True)
class Region:
    """One thing that an annotator or the model wrote: a place, or a value of the whole image.

    `place` is in percent; a box that is turned is the upright box around it, and a span of a film
    is one over its frames. `image` is the frame of the upright original. `names` are labels or
    choices. `beside` holds the values that belong to the place, as text, by control.
    """

    id: str
    control: str
    kind: Kind
    place: Place | None = None
    image: Frame = PERCENT
    names: tuple[str, ...] = ()
    text: str = ""
    score: float | None = None
    origin: str = "manual"
    beside: Mapping[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The labels as one word; of a text, its control's name."""
        return self.control if self.kind is Kind.TEXT else ", ".join(self.names)


@dataclass(frozen=True, slots=True)
class Labelling:
    """One annotation or one prediction of a task.

    `version` is a prediction's model version, `seconds` the time that an annotator took.
    `prelabelled` says that the annotation began as a prediction.
    """

    regions: tuple[Region, ...] = ()
    version: str = ""
    seconds: float | None = None
    prelabelled: bool = False
    ground_truth: bool = False
    order: tuple[str, int] = ("", 0)

    def of(self, controls: frozenset[str]) -> Labelling:
        """Return this with the regions of these controls only."""
        return replace(self, regions=tuple(r for r in self.regions if r.control in controls))


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """One task: its id (None in a file for import), its data, and what was said about it."""

    id: int | None
    data: Mapping[str, Any] = field(default_factory=dict)
    annotations: tuple[Labelling, ...] = ()
    predictions: tuple[Labelling, ...] = ()

    @property
    def reference(self) -> Labelling | None:
        """The annotation that counts as right: the ground truth, else the newest; None of none."""
        return max(self.annotations, key=lambda a: (a.ground_truth, a.order), default=None)

    def of(self, controls: frozenset[str]) -> TaskRecord:
        """Return this with the regions of these controls only."""
        annotations = tuple(one.of(controls) for one in self.annotations)
        return replace(
            self,
            annotations=annotations,
            predictions=tuple(one.of(controls) for one in self.predictions),
        )

    def prediction(self, version: str) -> Labelling | None:
        """Return the newest prediction of a version, None where there is none."""
        mine = [p for p in self.predictions if p.version == version]
        return max(mine, key=lambda p: p.order, default=None)


@dataclass(frozen=True, slots=True)
class Records:
    """Tasks as they were read; `unmeasured` counts regions of types that are not compared."""

    tasks: tuple[TaskRecord, ...] = ()
    unmeasured: Counter[str] = field(default_factory=Counter)

    @property
    def versions(self) -> list[str]:
        """All model versions, that of the newest prediction first."""
        newest: dict[str, tuple[str, int]] = {}
        for prediction in (p for task in self.tasks for p in task.predictions):
            newest[prediction.version] = max(
                prediction.order, newest.get(prediction.version, prediction.order)
            )
        return sorted(newest, key=lambda version: newest[version], reverse=True)

    def joined(self, others: Iterable[TaskRecord]) -> Records:
        """Return these tasks with the predictions of `others`: of the same id, else the same data.

        Raises `InputError` if none of the others is one of these tasks.
        """
        others = list(others)
        by_id: dict[int | None, int] = {
            t.id: i for i, t in enumerate(self.tasks) if t.id is not None
        }
        by_data = {_digest(task.data): i for i, task in enumerate(self.tasks)}
        tasks, found = list(self.tasks), 0
        for other in others:
            i = by_id[other.id] if other.id in by_id else by_data.get(_digest(other.data))
            if i is not None:
                found += 1
                added = tasks[i].predictions + other.predictions
                tasks[i] = replace(tasks[i], predictions=added)
        if others and not found:
            raise InputError(
                "no task of the predictions is among the annotated ones",
                hint="Tasks are the same by their id, or else by equal data",
            )
        return replace(self, tasks=tuple(tasks))


def _digest(data: Mapping[str, Any]) -> str:
    return json.dumps(data, sort_keys=True, default=str)


def read_tasks(document: Any, *, name: str = "", file: str = "the file") -> Records:
    """Return the tasks of an export, of `/api/tasks`, or of a file for import.

    `name` is the version of predictions without one. Raises `InputError` for anything else.
    """
    listed = document.get("tasks") if isinstance(document, Mapping) else document
    if not isinstance(listed, list) or not all(isinstance(task, Mapping) for task in listed):
        raise InputError(f"{file} is not a list of tasks", hint=EXPORT_HINT)
    if listed and not any("data" in task for task in listed):
        raise InputError(f"{file} has tasks without data", hint=EXPORT_HINT)
    unmeasured: Counter[str] = Counter()
    return Records(tuple(_read_task(task, name, unmeasured) for task in listed), unmeasured)


def _read_task(task: Mapping[str, Any], name: str, unmeasured: Counter[str]) -> TaskRecord:
    number, data = task.get("id"), task.get("data")
    return TaskRecord(
        number if isinstance(number, int) else None,
        data if isinstance(data, Mapping) else {},
        tuple(
            _read_labelling(one, name, unmeasured)
            for one in _mappings(task.get("annotations"))
            if not one.get("was_cancelled")
        ),
        # In an export of Label Studio 1.23 the predictions are numbers only.
        tuple(_read_labelling(one, name, unmeasured) for one in _mappings(task.get("predictions"))),
    )


def _mappings(value: Any) -> Sequence[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, list) else []


def _read_labelling(one: Mapping[str, Any], name: str, unmeasured: Counter[str]) -> Labelling:
    regions = tuple(read_regions(one.get("result"), unmeasured))
    number, when = one.get("id"), one.get("updated_at") or one.get("created_at")
    began = one.get("parent_prediction") is not None
    return Labelling(
        regions,
        str(one.get("model_version") or name),
        _number(one.get("lead_time")),
        began or any(region.origin in PRELABELLED for region in regions),
        one.get("ground_truth") is True,
        (str(when or ""), number if isinstance(number, int) else 0),
    )


def read_regions(result: Any, unmeasured: Counter[str]) -> list[Region]:
    """Return the regions of a `result`; results with the id of a place belong to that place.

    What belongs to a region that is not compared, such as the text of a polygon, is left out with
    it, and is no value of the whole image.
    """
    places: dict[str, Region] = {}
    rest: list[Mapping[str, Any]] = []
    for i, given in enumerate(_mappings(result)):
        entry = given if given.get("id") else {**given, "id": f"#{i}"}
        place = _read_place(entry)
        if place is not None and place.id not in places:
            places[place.id] = place
        elif place is None:
            rest.append(entry)
    lost = {str(entry["id"]) for entry in rest if entry.get("type") not in (*_VALUES, *_BESIDE)}
    values: list[Region] = []
    for entry in rest:
        owner = places.get(str(entry.get("id")))
        if owner is not None:
            places[owner.id] = _with(owner, entry)
        elif (value := _read_value(entry)) is not None:
            values += [] if value.id in lost else [value]
        elif entry.get("type") not in _BESIDE:
            unmeasured[str(entry.get("type"))] += 1
    return [*places.values(), *values]


def _read_place(entry: Mapping[str, Any]) -> Region | None:
    kind, value = _PLACES.get(str(entry.get("type"))), entry.get("value")
    if kind is None or not isinstance(value, Mapping):
        return None
    sizes = (_number(entry.get("original_width")), _number(entry.get("original_height")))
    known = all(size is not None and size >= 1 for size in sizes)
    image = image_frame(*map(int, sizes)) if known else PERCENT  # type: ignore[arg-type]
    readers: Mapping[Kind, Callable[[], Place | None]] = {
        Kind.BOX: lambda: _box(value, image),
        Kind.POINT: lambda: _point(value),
        Kind.SPAN: lambda: _span(value),
        Kind.TRACK: lambda: _track(value, image),
    }
    place = readers[kind]()
    return None if place is None else _region(entry, kind, place=place, image=image)


def _box(value: Mapping[str, Any], image: Frame) -> Box | None:
    x, y, width, height = (_number(value.get(k)) for k in ("x", "y", "width", "height"))
    if x is None or y is None or width is None or height is None:
        return None
    box = Box.spanning((x, y), (x + width, y + height), PERCENT)
    turn = _number(value.get("rotation")) or 0.0
    return box.around_turned(turn, image) if turn else box


def _span(value: Mapping[str, Any]) -> Box | None:
    """Return the frames of a range, both ends included; of several, of the first."""
    ranges = _mappings(value.get("ranges"))
    first, last = (_number(ranges[0].get(end)) if ranges else None for end in ("start", "end"))
    if first is None or last is None or last < first:
        return None
    return Box(first - 1, 0, last, 1, PERCENT)


def _track(value: Mapping[str, Any], image: Frame) -> Track | None:
    """Return a sequence of key frames in order; a key frame that says nothing else is enabled."""
    keys: dict[int, KeyFrame] = {}
    for key in _mappings(value.get("sequence")):
        frame, box = _number(key.get("frame")), _box(key, image)
        if frame is None or not 1 <= frame <= MAX_FRAMES or box is None:
            return None
        keys[int(frame)] = KeyFrame(int(frame), box, key.get("enabled") is not False)
    count = min(_number(value.get("framesCount")) or 0, MAX_FRAMES)
    ordered = tuple(keys[frame] for frame in sorted(keys))
    return Track(ordered, max(int(count), ordered[-1].frame)) if ordered else None


def _point(value: Mapping[str, Any]) -> Point | None:
    x, y = _number(value.get("x")), _number(value.get("y"))
    return None if x is None or y is None else Point(x, y, PERCENT)


def _read_value(entry: Mapping[str, Any]) -> Region | None:
    kind = _VALUES.get(str(entry.get("type")))
    if kind is None:
        return None
    return _region(entry, kind, text=_text(entry) if kind is Kind.TEXT else "")


def _region(entry: Mapping[str, Any], kind: Kind, **more: Any) -> Region:
    return Region(
        str(entry.get("id") or ""),
        str(entry.get("from_name") or ""),
        kind,
        names=_names(entry),
        score=_number(entry.get("score")),
        origin=str(entry.get("origin") or "manual"),
        **more,
    )


def _with(owner: Region, entry: Mapping[str, Any]) -> Region:
    """Return a place with what another result of its id adds: labels, or a value."""
    if entry.get("type") == "labels":
        return replace(owner, names=_names(entry))
    control = str(entry.get("from_name") or "")
    said = ", ".join(_names(entry)) or _text(entry)
    return replace(owner, beside={**owner.beside, control: said}) if said else owner


def _names(entry: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the labels or choices of a result, sorted: their order says nothing."""
    value, kind = entry.get("value"), str(entry.get("type"))
    key = "labels" if kind == "videorectangle" else kind
    listed = value.get(key) if isinstance(value, Mapping) else None
    if not isinstance(listed, list):
        return ()
    # A nested choice is the path to it.
    return tuple(sorted("/".join(map(str, w)) if isinstance(w, list) else str(w) for w in listed))


def _text(entry: Mapping[str, Any]) -> str:
    """Return the value of a result as text, "" where it has none; 3 and 3.0 are one."""
    value, kind = entry.get("value"), str(entry.get("type"))
    key = "text" if kind == "textarea" else kind
    found = value.get(key) if isinstance(value, Mapping) else None
    if isinstance(found, list):
        return "\n".join(map(str, found))
    number = _number(found)
    if number is not None and number.is_integer():
        return str(int(number))
    return "" if found is None else str(found)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
