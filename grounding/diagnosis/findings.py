"""What `doctor` finds: one line for each thing that it looks at, with the cure where one is due."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from grounding.errors import GroundingError
from grounding.settings import Settings


class Level(StrEnum):
    """How it stands."""

    WELL = "well"
    WARNING = "warning"
    """It works, and something will not."""
    FAULT = "fault"


@dataclass(frozen=True, slots=True)
class Found:
    """One thing that was looked at: what it is, how it stands, what was seen, and the cure."""

    what: str
    level: Level
    seen: str
    cure: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """What is looked at: the settings, and the number of a project in Label Studio, if any."""

    settings: Settings
    project: int | None = None


Check = Callable[[Patient], Iterator[Found]]
"""Yields what it finds; a `GroundingError` becomes a fault."""


def well(what: str, seen: str) -> Found:
    """Return that a thing is as it should be."""
    return Found(what, Level.WELL, seen)


def warning(what: str, seen: str, cure: str) -> Found:
    """Return that a thing works and something else will not."""
    return Found(what, Level.WARNING, seen, cure)


def fault(what: str, seen: str, cure: str) -> Found:
    """Return that a thing does not work."""
    return Found(what, Level.FAULT, seen, cure)


def of_error(what: str, error: GroundingError) -> Found:
    """Return the fault that an error of ours tells."""
    return fault(what, error.cause, error.hint)
