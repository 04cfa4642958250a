"""Waits in short steps, between which whoever waits may learn that it is no longer wanted."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

WAKE_SECONDS = 1.0
"""How often who waits, reads or decodes looks whether it is still wanted."""

SHORTEST = 0.001

Check = Callable[[], None]
"""Raises where what is under way is no longer wanted: `Unwanted`, or `DeadlinePassed`."""


def step(left: float = math.inf) -> float:
    """Return how long to wait at once, of the seconds that are left.

    Never 0, which some read as no limit, or as not to wait at all.
    """
    return max(SHORTEST, min(left, WAKE_SECONDS))


class Unwanted(Exception):
    """Nobody wants what is under way: it ends, and is no failure."""


def no_check() -> None:
    """Want it to the end: the check of those who ask nobody."""


def now_and_then(check: Check) -> Check:
    """Return what makes a check only where `WAKE_SECONDS` have gone by since the last one."""
    last = time.monotonic()

    def look() -> None:
        nonlocal last
        if time.monotonic() - last >= WAKE_SECONDS:
            check()
            last = time.monotonic()

    return look


def sleep(seconds: float, check: Check = no_check) -> None:
    """Sleep in short steps; raises what `check` does."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        check()
        time.sleep(step(left))


def is_done(future: Future[Any], seconds: float, check: Check = no_check) -> bool:
    """Wait for an outcome in short steps; say whether it came. Raises what `check` does."""
    end = time.monotonic() + seconds
    while not wait((future,), step(end - time.monotonic())).done:
        check()
        if time.monotonic() >= end:
            return False
    return True
