"""When a server that fails is asked again."""

from __future__ import annotations

import time
from threading import Event, Timer

import pytest

from grounding.engines.remote.retry import Retry, retry_after

NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after-ms": "250", "retry-after": "3"}, 0.25),
        ({"retry-after": "Fri, 15 Jan 2027 08:01:30 GMT"}, 90.0),
        ({"retry-after": "Fri, 15 Jan 2027 07:00:00 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_what_a_response_asks_to_wait(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after(headers, now=lambda: NOW) == seconds


def test_a_pause_is_at_least_what_the_server_asks() -> None:
    begun = time.monotonic()
    assert Retry(60, Event()).pause(0.8)
    assert time.monotonic() - begun >= 0.8


def test_a_pause_beyond_the_end_is_not_begun() -> None:
    begun = time.monotonic()
    assert not Retry(60, Event()).pause(61)
    assert time.monotonic() - begun < 30


def test_pauses_grow_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    waited: list[float] = []
    stopped = Event()
    monkeypatch.setattr(stopped, "wait", lambda seconds: waited.append(seconds))
    patience = Retry(1e6, stopped)
    for _ in range(12):
        patience.pause(None)
    ceilings = [min(0.5 * 2**n, 30.0) for n in range(12)]
    assert all(c / 2 <= w <= c for w, c in zip(waited, ceilings, strict=True))


def test_closing_ends_a_pause() -> None:
    stopped = Event()
    Timer(0.1, stopped.set).start()
    assert not Retry(60, stopped).pause(20)
