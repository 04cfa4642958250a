"""What every control tag declares: when it is served, what it asks, and how results are written."""

from __future__ import annotations

import math
import secrets
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from grounding.geometry import Box, Frame, Point
from grounding.labelstudio.config.attributes import Attributes
from grounding.labelstudio.config.interface import Control, Label, ModelTask
from grounding.labelstudio.config.xml import Element
from grounding.labelstudio.interactive.context import Intent
from grounding.queries import CHOICE, Finding, Query, Shape, ValueType

Region = dict[str, Any]
"""One entry of a prediction's `result`, as Label Studio's JSON has it."""

ID_BYTES = 12
"""Ids of 16 characters: a region whose id is taken would overwrite the one that has it."""


class Drop(StrEnum):
    """Why a finding became no result."""

    WRONG_SHAPE = "wrong_shape"
    NOT_FINITE = "not_finite"
    TOO_SMALL = "too_small"
    EXCLUDED = "excluded"
    UNKNOWN_LABEL = "unknown_label"
    UNUSABLE_VALUE = "unusable_value"
    LOW_SCORE = "low_score"
    DUPLICATE = "duplicate"
    TOO_MANY = "too_many"
    NOT_ASKED = "not_asked"
    UNSOUND = "unsound"
    NO_PLACE = "no_place"


@dataclass(frozen=True, slots=True)
class PromptDefaults:
    """What decides where no annotator asks for anything.

    `data` is the task's own data, `prompt` the project's stored prompt, and `labels_per_query`
    the deployment's setting, for controls that leave it open: 0 is all.
    """

    data: Mapping[str, Any] = field(default_factory=dict)
    prompt: str = ""
    labels_per_query: int = 1


NO_DEFAULTS = PromptDefaults()


@dataclass(frozen=True, slots=True)
class FilmSpec:
    """How densely a film is looked at; None leaves a number to the deployment."""

    fps: float | None = None
    max_frames: int | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ViewSpec:
    """Which view a query is about: the image under `data_key`, within these bounds of its area.

    The bounds are pixels of the model frame; None leaves one to the model. With `around`, the view
    is of what is around a place in the image. A `printed` one is read, which takes more pixels.
    With `film`, the query is about many views: frames of the film under `data_key`.
    """

    data_key: str
    min_pixels: int | None = None
    max_pixels: int | None = None
    around: Box | Point | None = None
    printed: bool = False
    film: FilmSpec | None = None

    @classmethod
    def of(cls, control: Control, around: Box | Point | None = None) -> ViewSpec:
        """Return the view that a control's queries are about."""
        options = control.options
        film = FilmSpec(options.fps, options.max_frames, options.max_tokens)
        return cls(
            control.data_key,
            options.min_pixels,
            options.max_pixels,
            around,
            printed=control.task in (ModelTask.OCR, ModelTask.DOCUMENT, ModelTask.GUI),
            film=film if control.on_film else None,
        )


@dataclass(frozen=True, slots=True)
class PlannedQuery:
    """One query, its view, and the controls that take its findings."""

    query: Query
    view: ViewSpec
    controls: tuple[Control, ...]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A region that a control draws: its place in percent, its label, and what its results share.

    A region of a film's time has no place. `region` is all of a result but its `from_name`, its
    type and its own value.
    """

    control: Control
    place: Box | Point | None
    label: Label | None
    region: Region


@dataclass(frozen=True, slots=True)
class Results:
    """Results for Label Studio, and how many findings became none, by reason.

    `unknown` counts the model's words for those whose label the control lacks. `drawn` are the
    regions among the results, and `links` the relations between them.
    """

    result: list[Region] = field(default_factory=list)
    drawn: list[Drawn] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    links: list[Region] = field(default_factory=list)

    def drop(self, reason: Drop, word: str | None) -> None:
        """Count a finding that the model calls `word` as dropped."""
        self.dropped[reason] += 1
        if reason is Drop.UNKNOWN_LABEL and word:
            self.unknown[word] += 1

    def add(self, other: Results) -> None:
        """Add the results and counts of another control."""
        self.result.extend(other.result)
        self.drawn.extend(other.drawn)
        self.dropped.update(other.dropped)
        self.unknown.update(other.unknown)
        self.links.extend(other.links)


Planner = Callable[[Sequence[Control], Intent | None, PromptDefaults], Iterable[PlannedQuery]]
"""Returns what some controls ask, together: one query may serve several of them."""

Companion = Callable[[Region, Finding], list[Region]]
"""Returns what a per-region control adds to a region that another control draws from a finding."""

Companions = Callable[[Label | None], Sequence[Companion]]
"""Returns what adds to each region with a label, or without one."""

Writer = Callable[[Control, Sequence[tuple[Finding, Query]], Frame, Companions], Results]
"""Returns a control's results from the findings for it, each with its query.

The frame is that of the upright image. The companions add to the regions that the control draws.
"""


Value = Mapping[str, Any]
"""The `value` of a result, without a region's geometry."""

ValueWriter = Callable[[Control, Sequence[Finding], Results], tuple[Value, float | None] | None]
"""Returns a control's value and its score from the findings for it, or None.

A finding that is no value is counted in the results.
"""


def _always(_: Element) -> bool:
    return True


def _never(_: Element) -> bool:
    return False


def _is_choice(_: Element) -> ValueType:
    return CHOICE


def _as_it_is(_: Element) -> str:
    return ""


def _plan_nothing(
    controls: Sequence[Control], intent: Intent | None, defaults: PromptDefaults
) -> Iterable[PlannedQuery]:
    return ()


def _write_nothing(
    control: Control,
    found: Sequence[tuple[Finding, Query]],
    image: Frame,
    companions: Companions,
) -> Results:
    return Results()


@dataclass(frozen=True, slots=True)
class ControlTag:
    """One kind of control tag.

    `attributes` are the `model_…` attributes that it takes: one of the tables in
    `config.attributes`. `labels` says where the labels, choices or other values stand that its
    results may carry: in children of the tag `label_tag`, in a `<Labels>` beside it on the same
    image, nowhere, or in whatever a function makes of its element. `allows_several` says of an
    element whether several of them may be chosen. `serves` says of an element with this tag whether
    it is served. A `required` control that cannot be served makes the config an error; any other is
    left alone. `objects` are the kinds of tags that it may be about. A wrong `model_…` attribute is
    an error either way. `draws` is the shape of its regions, None where it draws none. `accompany`
    adds the text that the model wrote with a place to the region of it. `value_type` and
    `value_format` say of an element what its value is and how it is written; `write_value` makes it
    of what was found, and `is_sound` says of the `value` of a result whether the page can read it.
    """

    tag: str
    attributes: Attributes
    plan: Planner = _plan_nothing
    write: Writer = _write_nothing
    draws: Shape | None = None
    accompany: Callable[[Control, Region, Finding], list[Region]] | None = None
    labels: Literal["own", "beside", "none"] | Callable[[Element], tuple[Label, ...]] = "own"
    label_tag: str = "label"
    allows_several: Callable[[Element], bool] = _never
    serves: Callable[[Element], bool] = _always
    required: bool = True
    value_type: Callable[[Element], ValueType] = _is_choice
    value_format: Callable[[Element], str] = _as_it_is
    write_value: ValueWriter | None = None
    objects: frozenset[str] = frozenset({"image"})
    is_sound: Callable[[Value], bool] | None = None


def is_number(value: object) -> bool:
    """Say whether the page can read a value as a number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def are_texts(value: object) -> bool:
    """Say whether the page can read a value as a list of texts, of one or more."""
    return isinstance(value, list) and bool(value) and all(isinstance(x, str) for x in value)


def new_id() -> str:
    """Return an id that no region has."""
    return secrets.token_urlsafe(ID_BYTES)


def complete(region: Region, from_name: str, kind: str, value: Mapping[str, Any]) -> Region:
    """Return the result of type `kind` that adds `value` to a region's geometry."""
    return {**region, "from_name": from_name, "type": kind, "value": {**region["value"], **value}}


def emitted_names(key: str, label: Label | None) -> dict[str, list[str]]:
    """Return the part of a result's value that names its label; empty without one."""
    return {} if label is None else {key: [label.emitted]}
