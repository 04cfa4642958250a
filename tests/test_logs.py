"""Log lines."""

from __future__ import annotations

import logging

import pytest

from grounding.logs import OneLine


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "a\r\nb", "\x00", "\x9b31m"])
def test_an_event_is_one_line_without_control_characters(text: str) -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "said %s", (text,), None)
    line = OneLine("%(message)s").format(record)
    assert line.isprintable()
