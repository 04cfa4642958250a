"""What the readers hand over: places as numbers, and what they noticed on the way."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

MAX_FINDS = 2_500
"""Places beyond which a text is no answer to one picture, and is left unread."""


class Note(StrEnum):
    """What happened while an answer was read."""

    TRUNCATED = "truncated"
    REPAIRED = "repaired"
    DUP_REMOVED = "dup_removed"
    CLIPPED = "clipped"
    LOOP = "loop"
    DROPPED_INVALID = "dropped_invalid"
    SWAPPED = "swapped"
    XYWH = "xywh"
    WHOLE_IMAGE = "whole_image"


Place = tuple[tuple[float, ...], tuple[int, int]]
"""Four numbers or two, and where they stand."""


class Match(NamedTuple):
    """Four numbers for a box, two for a point, as the model wrote them."""

    numbers: tuple[float, ...]
    label: str | None
    text: str | None
    score: float | None
    span: tuple[int, int]


@dataclass(slots=True)
class Matches:
    """The finds of one answer in order, and what was noticed.

    `empty` says that something in the answer means "none"; `cut`, that the text ends inside.
    """

    items: list[Match] = field(default_factory=list)
    warnings: set[Note] = field(default_factory=set)
    empty: bool = False
    cut: bool = False

    def add(
        self,
        numbers: tuple[float, ...],
        span: tuple[int, int],
        *,
        label: str | None = None,
        text: str | None = None,
        score: float | None = None,
    ) -> None:
        """Take a box (4 numbers), a scored box (5) or a point (2); note anything else as bad."""
        if len(numbers) == 5 and 0 <= numbers[4] <= 1:
            *corners, score = numbers
            numbers = tuple(corners)
        if len(numbers) in (2, 4):
            self.items.append(Match(numbers, label or None, text, score, span))
        else:
            self.drop()

    @property
    def full(self) -> bool:
        """Whether there are so many finds that the rest is not worth reading."""
        return len(self.items) >= MAX_FINDS

    def drop(self) -> None:
        """Note that something meant as a place cannot be one."""
        self.warnings.add(Note.DROPPED_INVALID)

    def merge(self, other: Matches) -> None:
        """Take all that `other` found and noticed."""
        self.items += other.items
        self.warnings |= other.warnings
        self.empty |= other.empty
        self.cut |= other.cut

    def take(self, other: Matches, span: tuple[int, int]) -> None:
        """Take what `other` found as if it stood at `span`."""
        self.items += [find._replace(span=span) for find in other.items]
        self.warnings |= other.warnings


def hull(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """Return the smallest span that holds both."""
    return min(a[0], b[0]), max(a[1], b[1])
