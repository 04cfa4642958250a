"""A film that nobody wants any more is fetched and decoded no further."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from grounding import waiting
from grounding.errors import FilmTooLarge
from grounding.media.fetch import Fetcher
from grounding.media.films.reader import CHILDREN, FilmLimits, FilmReader, read_frames
from grounding.waiting import Unwanted
from tests.media.films.holding import heavy_film
from tests.media.films.making import film
from tests.media.films.test_reader import BOUNDS, Held
from tests.media.hosts import LONGEST_SECONDS, answer, dripping, host, rules

LONG = film(frames=40, fps=1)


@pytest.fixture(autouse=True)
def _short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "WAKE_SECONDS", 0.1)


def refuse() -> None:
    raise Unwanted


def after(seconds: float) -> Callable[[], None]:
    """Return a check that raises so many seconds from now."""
    end = time.monotonic() + seconds

    def check() -> None:
        if time.monotonic() > end:
            raise Unwanted

    return check


def leftovers() -> list[str]:
    """Return the temporary films that this process holds open, and its children."""
    links = [os.readlink(one) for one in Path("/proc/self/fd").iterdir() if one.is_symlink()]
    held = [link for link in links if link.startswith(f"{tempfile.gettempdir()}/film-")]
    tasks = Path("/proc/self/task").glob("*/children")
    return held + " ".join(one.read_text() for one in tasks).split()


def test_a_film_that_nobody_wants_is_fetched_no_further() -> None:
    before = leftovers()
    silent = dripping(answer(200, "Content-Length: 1000000"), b"", 0.1)
    started = time.monotonic()
    with (
        host(silent) as server,
        pytest.raises(Unwanted),
        FilmReader(Fetcher(rules(server))).open(server.origin, check=refuse),
    ):
        pass
    assert time.monotonic() - started < LONGEST_SECONDS / 3
    assert leftovers() == before


def test_a_film_that_nobody_wants_waits_for_no_decoder() -> None:
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


@pytest.fixture(scope="module")
def heavy() -> bytes:
    """A film whose last frame takes some ten seconds to decode."""
    return heavy_film(700)


def test_a_film_that_nobody_wants_is_decoded_no_further(heavy: bytes) -> None:
    """Though its decoder is silent, on its way to the last frame."""
    before, reader = leftovers(), FilmReader(Held(heavy))
    started = time.monotonic()
    with pytest.raises(Unwanted), reader.open("a film", check=after(1.5)) as found:
        read_frames(found, [found.info.duration], BOUNDS)
    assert 1.5 < time.monotonic() - started < 4
    assert all(reader._turns.acquire(blocking=False) for _ in range(CHILDREN))
    assert leftovers() == before


def test_a_decoder_that_is_silent_for_too_long_is_ended(heavy: bytes) -> None:
    before = leftovers()
    with FilmReader(Held(heavy)).open("a film") as found:
        hasty = replace(found, _reader=FilmReader(Held(heavy), FilmLimits(timeout=1)))
        started = time.monotonic()
        with pytest.raises(FilmTooLarge) as failure:
            read_frames(hasty, [found.info.duration], BOUNDS)
        assert 1 < time.monotonic() - started < 4
    assert failure.value.code == "film_timeout"
    assert leftovers() == before
