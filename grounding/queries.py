"""The words between the two sides: what Label Studio's side asks, what the model's side found."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from grounding.geometry import Box, Point


class Shape(StrEnum):
    """What kind of place is asked for."""

    BOX = "box"
    POINT = "point"


Language = Literal["auto", "en", "zh"]
AnswerFormat = Literal["json", "plain", "xml"]


@dataclass(frozen=True, slots=True)
class PromptStyle:
    """How an ask is put into words; what is asked for stays the same.

    `language` is that of the question; "auto" is that of the names and phrase in it.
    `answer_format` is what the answer is to be written in. With `raw`, a phrase is the whole
    question, exactly as it was typed.
    """

    language: Language = "auto"
    answer_format: AnswerFormat = "json"
    raw: bool = False


@dataclass(frozen=True, slots=True)
class Meaning:
    """What `names`, which are one class to whoever asks, mean in that person's own words."""

    names: tuple[str, ...]
    text: str


@dataclass(frozen=True, slots=True)
class Locate:
    """One thing to find in one picture.

    `classes` are names to look for, as the model should hear them; `phrase` is free text that
    describes the wanted things. With both, the phrase says what to find and the classes which
    names an answer may carry. `around` is a place to look at, in the image or percent frame,
    and `manner` how to put it all into words. `meanings` tell what some of the classes mean.
    What lies at one of the `excluded` points is not meant; the model does not hear of them.
    """

    shape: Shape
    classes: tuple[str, ...] = ()
    phrase: str | None = None
    around: Point | Box | None = None
    manner: PromptStyle = PromptStyle()
    meanings: tuple[Meaning, ...] = ()
    excluded: tuple[Point, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing the model says it found.

    `place` is a box or a point in its own frame. `label` is the model's own word, or None where
    it gave none; `text` is content that came with the place (OCR, a description). `score` is a
    probability in 0..1, or None where none is known. `span` is the half-open character range of
    the answer that the detection was read from. `warnings` are words for what an annotator
    should look at twice.
    """

    place: Box | Point
    label: str | None = None
    text: str | None = None
    score: float | None = None
    span: tuple[int, int] = (0, 0)
    warnings: tuple[str, ...] = ()

    @property
    def shape(self) -> Shape:
        """Whether the place is a box or a point."""
        return Shape.BOX if isinstance(self.place, Box) else Shape.POINT
