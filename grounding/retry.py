"""How long to wait before something is tried again: the one rule of every retry.

Some callers sleep, some schedule the next try, one keeps its time in Redis. So this module
computes delays and leaves the waiting to them.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from random import SystemRandom

SPREAD = 0.25
"""Share of a server's own `Retry-After` that is added at random, so that clients spread out."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with jitter; `first` and `longest` are seconds.

    The delay doubles from `first` up to `longest`. Half of it is random, so that callers that
    failed together do not return together.
    """

    first: float
    longest: float

    def delay(self, attempt: int, retry_after: float | None = None) -> float:
        """Return the seconds to wait after failed try number `attempt`, counted from 0.

        A longer `retry_after`, what the server asked for, wins, with up to a quarter added.
        """
        doubled = self.ceiling(attempt) * SystemRandom().uniform(0.5, 1.0)
        asked = (retry_after or 0.0) * SystemRandom().uniform(1.0, 1.0 + SPREAD)
        return max(doubled, asked)

    def ceiling(self, attempt: int) -> float:
        """Return the longest delay after try number `attempt`, without jitter."""
        return min(self.longest, self.first * 2.0 ** min(attempt, 60))


def retry_after(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """Return how many seconds a response asks to wait, or None where it does not say.

    `headers` has lower-case names. `Retry-After` is in seconds or a date (RFC 9110, section
    10.2.3); OpenAI's `retry-after-ms` is finer and goes first. `now` is in Unix seconds.
    """
    fine, coarse = headers.get("retry-after-ms"), headers.get("retry-after")
    for text, scale in ((fine, 1e-3), (coarse, 1.0)):
        if (seconds := _number(text)) is not None:
            return max(0.0, seconds * scale)
    try:
        return max(0.0, parsedate_to_datetime(coarse).timestamp() - now()) if coarse else None
    except ValueError:
        return None


def _number(text: str | None) -> float | None:
    """Return the finite number that `text` is; None for anything else."""
    try:
        number = float(text[:40]) if text else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
