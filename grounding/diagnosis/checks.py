"""What the checks of `doctor` look at, and what one of them finds: a line, with the cure if due."""

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
class CheckResult:
    """One thing that was looked at: what it is, how it stands, what was seen, and the cure."""

    what: str
    level: Level
    seen: str
    cure: str = ""


@dataclass(frozen=True, slots=True)
class Deployment:
    """What is looked at: the settings of this machine, and the number of a project, if any."""

    settings: Settings
    project: int | None = None


Check = Callable[[Deployment], Iterator[CheckResult]]
"""Yields what it finds; a `GroundingError` becomes a fault."""


def well(what: str, seen: str) -> CheckResult:
    """Return that a thing is as it should be."""
    return CheckResult(what, Level.WELL, seen)


def warning(what: str, seen: str, cure: str) -> CheckResult:
    """Return that a thing works and something else will not."""
    return CheckResult(what, Level.WARNING, seen, cure)


def fault(what: str, seen: str, cure: str) -> CheckResult:
    """Return that a thing does not work."""
    return CheckResult(what, Level.FAULT, seen, cure)


def of_error(what: str, error: GroundingError) -> CheckResult:
    """Return the fault that an error of ours tells."""
    return fault(what, error.cause, error.hint)
