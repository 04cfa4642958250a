"""Logging: one line per event, and nothing in it that could be a second line or a colour code."""

from __future__ import annotations

import logging

from redis.exceptions import ConnectionError, TimeoutError

FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"
UNPRINTABLE = {
    code: f"\\x{code:02x}" for code in (*range(0x09), *range(0x0B, 0x20), *range(0x7F, 0xA0))
}


class OneLine(logging.Formatter):
    """Escapes control characters in messages; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        """Return the event's line."""
        line = super().formatMessage(record)
        return line.translate(UNPRINTABLE | {0x0A: "\\n"})


def in_one_line(record: logging.LogRecord) -> bool:
    """Say an outage of Redis in one line instead of a traceback for each slot; a logging filter."""
    if record.exc_info and isinstance(exc := record.exc_info[1], ConnectionError | TimeoutError):
        record.msg, record.args = "%s: %s", (record.getMessage(), exc)
        record.exc_info = None
    return True


def set_up_logging(level: str) -> None:
    """Log events of `level` and above to standard error."""
    handler = logging.StreamHandler()
    handler.setFormatter(OneLine(FORMAT))
    handler.addFilter(in_one_line)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for chatty in ("httpx", "httpcore", "rq.worker"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))
