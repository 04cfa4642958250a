"""A film that nobody wants any more is fetched and decoded no further."""

from __future__ import annotations

import time
from itertools import count
from typing import BinaryIO

import pytest

from grounding.media.films import reader as reader_module
from grounding.media.films.reader import CHILDREN, FilmReader, read_frames
from tests.media.films.making import film
from tests.media.films.test_reader import BOUNDS, Held

LONG = film(frames=40, fps=1)


class Unwanted(Exception):
    """A film that nobody wants any more."""


class Endless(Held):
    """Fetches blocks without an end, for ten seconds."""

    def fetch_into(self, sink: BinaryIO, value: str, task_id: int | None = None) -> None:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            sink.write(bytes(1000))
            time.sleep(0.01)


def refuse() -> None:
    raise Unwanted


def test_a_film_that_nobody_wants_is_fetched_no_further() -> None:
    started = time.monotonic()
    with pytest.raises(Unwanted), FilmReader(Endless(b"")).open("a film", check=refuse):
        pass
    assert time.monotonic() - started < 5


def test_a_film_that_nobody_wants_waits_for_no_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "WAKE_SECONDS", 0.1)
    reader = FilmReader(Held(LONG))
    for _ in range(CHILDREN):
        assert reader._turns.acquire(blocking=False)
    started = time.monotonic()
    with pytest.raises(Unwanted), reader.open("a film", check=refuse):
        pass
    assert time.monotonic() - started < 5
    reader._turns.release()
    with reader.open("a film") as found:
        assert len(read_frames(found, [1, 2], BOUNDS)) == 2, "a turn that is given back serves"
    assert reader._turns.acquire(timeout=1), "and comes back again"


def test_a_film_that_nobody_wants_is_decoded_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "WAKE_SECONDS", 0)
    checks = count()

    def check() -> None:
        if next(checks) > 5:
            raise Unwanted

    reader = FilmReader(Held(LONG))
    with reader.open("a film", check=check) as found:
        with pytest.raises(Unwanted):
            read_frames(found, range(30), BOUNDS)
        assert next(checks) < 15, "not after the last of them"
    assert all(reader._turns.acquire(blocking=False) for _ in range(CHILDREN))
