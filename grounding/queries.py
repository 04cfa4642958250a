"""What is asked of the model, and what it says: the words that all rooms share.

A `Query` is one thing to ask about a view. Its kinds are the classes below; how each is worded and
read is in `grounding.qwen.queries`. A `Finding` is one thing that the model says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import ClassVar, Literal

from grounding.geometry import Box, Point


class Shape(StrEnum):
    """The kind of place that is asked for."""

    BOX = "box"
    POINT = "point"
    SPAN = "span"
    """A span of a film's time."""


Language = Literal["auto", "en", "zh"]
AnswerFormat = Literal["json", "plain", "xml"]


@dataclass(frozen=True, slots=True)
class PromptStyle:
    """How a query is put into words; what is asked for stays the same.

    `language` is that of the prompt; "auto" takes the language of the names and the phrase in it.
    `answer_format` is the format of the answer. With `raw`, a phrase is the whole prompt, exactly
    as the user wrote it.
    """

    language: Language = "auto"
    answer_format: AnswerFormat = "json"
    raw: bool = False


@dataclass(frozen=True, slots=True)
class Meaning:
    """What `names`, all of one class, mean, in the words of the project's author."""

    names: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Locate:
    """Find every place of one shape.

    `classes` are the names to look for, as the model reads them; `phrase` is free text that
    describes what to find. With both, the phrase says what to find and the classes say which names
    an answer may have. `around` is a place to look at, in the image or percent frame. `meanings`
    explain some of the classes. Findings at one of the `excluded` points are left out; the model
    does not read them. In a film, `at` is the time in seconds at which the thing is `around`.
    """

    shape: Shape
    classes: tuple[str, ...] = ()
    phrase: str | None = None
    around: Point | Box | None = None
    style: PromptStyle = PromptStyle()
    meanings: tuple[Meaning, ...] = ()
    excluded: tuple[Point, ...] = ()
    at: float | None = None


class ValueKind(StrEnum):
    """What a value is."""

    CHOICE = "choice"
    """One of a closed list."""
    PATH = "path"
    """One of a closed tree, written as the names from its root on."""
    TEXT = "text"
    NUMBER = "number"
    DATE = "date"


@dataclass(frozen=True, slots=True)
class ValueType:
    """The type of a field's value.

    A number is from `low` to `high`, where they are set, and `whole` where it has no fraction. A
    date, or a time of day, is written in the form that `form` shows, such as YYYY-MM-DD.
    """

    kind: ValueKind = ValueKind.CHOICE
    low: float | None = None
    high: float | None = None
    whole: bool = False
    form: str = ""


CHOICE = ValueType()

PATH_SIGN = " / "
"""Stands between the names of a path, as Label Studio shows it."""

MANY_PATHS = 100
"""A tree of more paths is asked about level by level."""


def find_branches(paths: Sequence[str]) -> tuple[str, ...]:
    """Return the beginnings of many paths up to their first fork; none of few or a flat list.

    The prompt that lists 900 paths in full has 12,000 tokens.
    """
    names = [path.split(PATH_SIGN) for path in paths]
    for depth in range(1, max(map(len, names), default=0) if len(paths) > MANY_PATHS else 0):
        branches = dict.fromkeys(PATH_SIGN.join(some[:depth]) for some in names)
        if 1 < len(branches) < len(paths):
            return tuple(branches)
    return ()


def list_words(words: Iterable[str]) -> str:
    """Return words as a prompt of a project's author lists them."""
    return ", ".join(words)


@dataclass(frozen=True, slots=True)
class Field:
    """One value to fill in: `name` is its key in the answer.

    `choices` are the values it may have, where it is one of a list. With `multiple` it may have
    several values. `prompt` says in the words of the project's author what is asked for; empty
    where the name says it.
    """

    name: str
    choices: tuple[str, ...] = ()
    multiple: bool = False
    prompt: str = ""
    type: ValueType = CHOICE

    def narrowed(self, choices: Sequence[str]) -> Field:
        """Return this field with fewer choices; where its prompt lists them, it lists these."""
        every = list_words(self.choices)
        prompt = self.prompt.replace(every, list_words(choices)) if every else self.prompt
        return replace(self, choices=tuple(choices), prompt=prompt)


@dataclass(frozen=True, slots=True)
class Fill:
    """Fill in all `fields` about a view, or a `film`, in one answer; a field may stay empty."""

    fields: tuple[Field, ...]
    style: PromptStyle = PromptStyle()
    film: bool = False


class TextUnit(StrEnum):
    """How print is read."""

    LINE = "line"
    """Line by line, each with its place."""
    WORD = "word"
    """Word by word, each with its place."""
    WHOLE = "whole"
    """All of it as one text, without places."""


@dataclass(frozen=True, slots=True)
class Transcribe:
    """Read the print in a view, in `unit`s.

    `classes` are the names that the findings may have. With `named` they are what to read, such as
    the fields of a form, each where it stands; without, all print is read and has the one class.
    `around` is the box that the view is about, in the image or percent frame: a whole text has its
    place. Nobody types a `phrase` here, and nothing is `excluded`.
    """

    unit: TextUnit = TextUnit.LINE
    classes: tuple[str, ...] = ()
    named: bool = False
    around: Box | None = None
    style: PromptStyle = PromptStyle()
    meanings: tuple[Meaning, ...] = ()
    phrase: ClassVar[None] = None
    excluded: ClassVar[tuple[Point, ...]] = ()


@dataclass(frozen=True, slots=True)
class ParseDocument:
    """Take a page apart: its headings, paragraphs, tables and pictures, in reading order.

    Findings have the format's own names of elements, such as h1 and table; `classes` are the names
    that they become.
    """

    classes: tuple[str, ...] = ()
    style: PromptStyle = PromptStyle()
    around: ClassVar[None] = None
    phrase: ClassVar[None] = None
    excluded: ClassVar[tuple[Point, ...]] = ()


@dataclass(frozen=True, slots=True)
class Count:
    """Count what `phrase` says: point to each, so that people can check, and say how many."""

    phrase: str
    style: PromptStyle = PromptStyle()


class Screen(StrEnum):
    """The kind of device whose screen a picture shows."""

    MOBILE = "mobile"
    COMPUTER = "computer"


ACTIONS: dict[Screen, tuple[str, ...]] = {
    Screen.MOBILE: (
        "click",
        "long_press",
        "swipe",
        "type",
        "key",
        "system_button",
        "open",
        "wait",
        "answer",
        "terminate",
    ),
    Screen.COMPUTER: (
        "left_click",
        "right_click",
        "middle_click",
        "double_click",
        "triple_click",
        "left_click_drag",
        "mouse_move",
        "scroll",
        "hscroll",
        "type",
        "key",
        "wait",
        "answer",
        "terminate",
    ),
}
"""What Qwen's agents can do on each kind of screen, by the names that they were taught."""

PLACELESS = frozenset({"type", "key", "system_button", "open", "wait", "answer", "terminate"})
"""Actions that need no place."""


@dataclass(frozen=True, slots=True)
class Act:
    """Say what to do next on a screen to follow the instruction in `phrase`, and where.

    `classes` are the actions that an answer may have, of those of its `screen`. `around` is the
    place that the view is about, in the image or percent frame. Findings have the action as their
    label.
    """

    phrase: str
    classes: tuple[str, ...]
    screen: Screen = Screen.MOBILE
    around: Box | Point | None = None
    style: PromptStyle = PromptStyle()
    excluded: ClassVar[tuple[Point, ...]] = ()


Span = tuple[float, float]
"""A span of a film's time, in seconds from its start."""


@dataclass(frozen=True, slots=True)
class FindSpans:
    """Find every span of a film's time in which something happens.

    `classes`, `phrase`, `meanings` and `style` are as in `Locate`. With `described`, each finding
    has a text about what happens. `within` is the part of the film that the views show; findings
    are clipped to it.
    """

    classes: tuple[str, ...] = ()
    phrase: str | None = None
    style: PromptStyle = PromptStyle()
    meanings: tuple[Meaning, ...] = ()
    described: bool = False
    within: Span = (0.0, math.inf)


Placing = Locate | Transcribe | ParseDocument | Act
"""A query whose findings have places."""

Query = Locate | Fill | Transcribe | ParseDocument | Count | Act | FindSpans
"""One thing to ask of the model; a new kind is a class here and a file in `qwen/queries`."""


@dataclass(frozen=True, slots=True)
class Moment:
    """Where a thing is at a time of a film; without `stays`, it is not seen after it."""

    time: float
    box: Box
    stays: bool = True


@dataclass(frozen=True, slots=True)
class Track:
    """Where a thing is in the course of a film of `duration` seconds: its moments, in order.

    What is not seen for a while has a moment without `stays`, and the next one where it is back.
    """

    moments: tuple[Moment, ...]
    duration: float


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that the model says.

    `place` is in its own frame, and None for what has none. `label` is the model's own word for it
    (the field's name in a `Fill`), None where it gave none. `text` is what came with a place, such
    as print or a description; `value` is a field's value. `time` is a span of a film in seconds.
    `score` is a probability from 0 to 1, None where none is known. `span` is the half-open range
    of characters of the answer that the finding was read from. `warnings` are notes for the
    annotator.
    """

    place: Box | Point | None = None
    label: str | None = None
    text: str | None = None
    score: float | None = None
    span: tuple[int, int] = (0, 0)
    warnings: tuple[str, ...] = ()
    value: str | None = None
    time: Span | None = None
    end: Point | None = None
    track: Track | None = None

    @property
    def shape(self) -> Shape | None:
        """The shape of the place; a time without a place is a span, and None is neither."""
        if self.track is not None:
            return Shape.BOX
        if self.place is None:
            return None if self.time is None else Shape.SPAN
        return Shape.BOX if isinstance(self.place, Box) else Shape.POINT
