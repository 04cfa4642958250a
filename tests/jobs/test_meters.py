"""The model's time, counted in a real Valkey."""

from __future__ import annotations

import time

import pytest
from PIL import Image
from redis import Redis

from grounding.engines.base import Question, Reply
from grounding.errors import ImageMissing, OutOfMemory
from grounding.jobs.connection import connect
from grounding.jobs.ledger import Ledger
from grounding.jobs.meters import Metered, MeteredFetcher
from grounding.jobs.reports import metrics
from grounding.qwen.profiles import PROFILES

QUESTION = Question(Image.new("RGB", (28, 28)), "x", 1)


class Slow:
    profile = PROFILES["qwen2.5-vl"]

    def __init__(self, seconds: float, *, full: bool = False) -> None:
        self._seconds = seconds
        self._full = full

    def ask(self, question: Question) -> Reply:
        time.sleep(self._seconds)
        if self._full:
            raise OutOfMemory("no room")
        return Reply("[]", complete=True)

    def close(self) -> None: ...


class Host:
    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def fetch(self, value: object, task_id: int | None = None) -> bytes:
        if self._error:
            raise self._error
        return b"bytes"


def values(ledger: Ledger) -> dict[str, float]:
    lines = [line for line in metrics(ledger).splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_answers_and_failures_are_counted_in_cumulative_buckets(redis: Redis) -> None:
    ledger = Ledger(redis)
    Metered(Slow(0), ledger).ask(QUESTION)
    with pytest.raises(OutOfMemory):
        Metered(Slow(0.3, full=True), ledger).ask(QUESTION)
    seen = values(ledger)
    assert seen['model_seconds_bucket{le="0.25"}'] == 1
    assert seen['model_seconds_bucket{le="60"}'] == seen['model_seconds_bucket{le="+Inf"}'] == 2
    assert seen["model_seconds_count"] == 2
    assert 0.3 <= seen["model_seconds_sum"] < 2
    assert seen["oom_total"] == 1


def test_fetches_are_counted_by_what_came_of_them(redis: Redis) -> None:
    ledger = Ledger(redis)
    assert MeteredFetcher(Host(), ledger).fetch("http://a/b") == b"bytes"
    assert MeteredFetcher(Host(), ledger).fetch("http://a/b") == b"bytes"
    with pytest.raises(ImageMissing):
        MeteredFetcher(Host(ImageMissing("gone")), ledger).fetch("http://a/c")
    with pytest.raises(ZeroDivisionError):
        MeteredFetcher(Host(ZeroDivisionError()), ledger).fetch("http://a/c")
    seen = values(ledger)
    assert seen['fetch_seconds_count{outcome="ok"}'] == 2
    assert seen['fetch_seconds_bucket{outcome="image_not_found",le="60"}'] == 1
    assert seen['fetch_seconds_count{outcome="fault"}'] == 1
    assert 0 < seen['fetch_seconds_sum{outcome="ok"}'] < 1


def test_an_answer_does_not_depend_on_its_being_counted() -> None:
    ledger = Ledger(connect("redis://127.0.0.1:1"))
    assert Metered(Slow(0), ledger).ask(QUESTION).complete
    assert MeteredFetcher(Host(), ledger).fetch("http://a/b") == b"bytes"
