"""Logging: one line per event, without control characters, and a line per outage of the queue."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import Lock

from redis.exceptions import ConnectionError, TimeoutError

log = logging.getLogger(__name__)

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
UNPRINTABLE = {
    code: f"\\x{code:02x}" for code in (*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0))
}
QUIET = ("httpx", "httpcore", "rq.worker")
"""Loggers that tell every request or job at level info."""


class OneLine(logging.Formatter):
    """Escapes control characters in messages; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the event's line."""
        line = super().formatMessage(record)
        return line.translate(UNPRINTABLE | {0x0A: "\\n"})


START_SECONDS = 10.0
"""How long a process looks for a queue that starts beside it before it says that none answers."""


class QueueOutage:
    """Whether this process reaches the queue; logs when that changes, and only then.

    Safe to share between threads. Every connection reports here, so that the many retries of an
    outage need no line of their own: `keeps` drops those.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._told_from = clock() + START_SECONDS
        self._away = False
        self._told = False
        self._changing = Lock()

    def begin(self, error: Exception) -> None:
        """Note that a command failed because the queue does not answer."""
        self._away = True
        if self._clock() >= self._told_from and self._tell(away=True):
            log.warning(
                "the queue does not answer; work goes on when it does (%s). The queue is the "
                "server at REDIS_URL or, without one, a part of `python -m grounding up`",
                error,
            )

    def end(self) -> None:
        """Note that a command was answered."""
        self._away, self._told_from = False, 0.0
        if self._told and self._tell(away=False):
            log.warning("the queue answers again")

    def keeps(self, record: logging.LogRecord) -> bool:
        """Say whether to log `record`: not if it is about the outage; a logging filter."""
        about: list[object] = [record.exc_info[1]] if record.exc_info else []
        about += record.args if isinstance(record.args, tuple) else ()
        if record.name == __name__ or not any(map(_is_outage, about)):
            return True
        return not self._away

    def _tell(self, *, away: bool) -> bool:
        """Say whether that is news, and note it as told."""
        with self._changing:
            changed = self._told is not away
            self._told = away
        return changed


QUEUE_OUTAGE = QueueOutage()
"""Of this process: it has one queue, however many connections."""


def _is_outage(error: object) -> bool:
    return isinstance(error, ConnectionError | TimeoutError)


def shorten_outage(record: logging.LogRecord) -> bool:
    """Replace the traceback of an outage of the queue by its message; a logging filter."""
    if record.exc_info and _is_outage(exc := record.exc_info[1]):
        record.msg, record.args = "%s: %s", (record.getMessage(), exc)
        record.exc_info = None
    return True


def set_up_logging(level: str) -> None:
    """Log events of `level` and above to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine(FORMAT))
    handler.addFilter(QUEUE_OUTAGE.keeps)
    handler.addFilter(shorten_outage)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
