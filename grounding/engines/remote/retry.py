"""How long, and at what intervals, a server that is away, busy or failing is asked again."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from random import SystemRandom
from threading import Event

FIRST_SECONDS = 0.5
LONGEST_SECONDS = 30.0
SPREAD = 0.25
"""Part of a server's own `Retry-After` added by chance, lest all come back at one moment."""


class Retry:
    """The pauses of one question: growing, by chance, and over `seconds` after it began.

    Half of each pause is by chance, so that questions that failed together do not come together.
    A longer pause that the server itself asks for is kept.
    """

    def __init__(self, seconds: float, stopped: Event) -> None:
        self._end = time.monotonic() + seconds
        self._stopped = stopped
        self._next = FIRST_SECONDS

    def pause(self, asked: float | None) -> bool:
        """Wait before the next try, at least the `asked` seconds; False where time is up.

        It is up as well where the wait would outlast it, or when the engine is closed.
        """
        usual = self._next * SystemRandom().uniform(0.5, 1.0)
        wanted = 0.0 if asked is None else asked * SystemRandom().uniform(1.0, 1.0 + SPREAD)
        self._next = min(self._next * 2, LONGEST_SECONDS)
        wait = max(usual, wanted)
        if time.monotonic() + wait > self._end:
            return False
        return not self._stopped.wait(wait)


def retry_after(headers: Mapping[str, str], now: Callable[[], float] = time.time) -> float | None:
    """Return how many seconds the response asks to wait, None where it does not say.

    `Retry-After` is seconds or a date (RFC 9110, 10.2.3); OpenAI's `retry-after-ms` is finer.
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
    try:
        return float(text) if text else None
    except ValueError:
        return None
