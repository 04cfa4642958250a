"""Log lines."""

from __future__ import annotations

import logging

import pytest
from redis.exceptions import ConnectionError

from grounding.logs import OneLine, in_one_line


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "a\r\nb", "\x00", "\x9b31m"])
def test_an_event_is_one_line_without_control_characters(text: str) -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "said %s", (text,), None)
    line = OneLine("%(message)s").format(record)
    assert line.isprintable()


@pytest.mark.parametrize(
    ("error", "lines"), [(ConnectionError("Error 111"), 1), (ValueError("a fault of ours"), 2)]
)
def test_an_outage_of_redis_is_told_without_a_traceback(error: Exception, lines: int) -> None:
    found = (type(error), error, None)
    record = logging.LogRecord("x", logging.ERROR, "", 0, "slot %d stops", (7,), found)
    assert in_one_line(record)
    told = OneLine("%(message)s").format(record)
    assert told.count("\n") + 1 == lines
    assert told.startswith("slot 7 stops")
    assert str(error) in told
