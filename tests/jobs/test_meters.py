"""The model's time, counted in a real Valkey."""

from __future__ import annotations

import time

import pytest
from PIL import Image
from redis import Redis

from grounding.engines.base import Completion, ModelRequest
from grounding.errors import ImageMissing, OutOfMemory
from grounding.jobs.connection import connect
from grounding.jobs.metrics import MeteredEngine, MeteredFetcher
from grounding.jobs.overview import metrics
from grounding.jobs.store import JobStore
from grounding.testing import ScriptedEngine, answer_each, ask_one, make_view

REQUEST = ModelRequest((make_view(Image.new("RGB", (28, 28))), "x"), 1)


def metered(store: JobStore, seconds: float, *, full: bool = False) -> MeteredEngine:
    """Return an engine that takes `seconds` for an answer, or for saying that it has no room."""

    def answer(request: ModelRequest) -> Completion:
        time.sleep(seconds)
        if full:
            raise OutOfMemory("no room")
        return Completion("[]", complete=True)

    return MeteredEngine(ScriptedEngine(answer_each(answer)), store)


class Host:
    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def fetch(self, value: object, task_id: int | None = None) -> bytes:
        if self._error:
            raise self._error
        return b"bytes"


def values(store: JobStore) -> dict[str, float]:
    lines = [line for line in metrics(store).splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_answers_and_failures_are_counted_in_cumulative_buckets(redis: Redis) -> None:
    store = JobStore(redis)
    quick, full = metered(store, 0), metered(store, 0.3, full=True)
    ask_one(quick, REQUEST)
    with pytest.raises(OutOfMemory):
        ask_one(full, REQUEST)
    quick.close()
    full.close()
    seen = values(store)
    assert seen['model_seconds_bucket{le="0.25"}'] == 1
    assert seen['model_seconds_bucket{le="60"}'] == seen['model_seconds_bucket{le="+Inf"}'] == 2
    assert seen["model_seconds_count"] == 2
    assert 0.3 <= seen["model_seconds_sum"] < 2
    assert seen["oom_total"] == 1


def test_fetches_are_counted_by_what_came_of_them(redis: Redis) -> None:
    store = JobStore(redis)
    assert MeteredFetcher(Host(), store).fetch("http://a/b") == b"bytes"
    assert MeteredFetcher(Host(), store).fetch("http://a/b") == b"bytes"
    with pytest.raises(ImageMissing):
        MeteredFetcher(Host(ImageMissing("gone")), store).fetch("http://a/c")
    with pytest.raises(ZeroDivisionError):
        MeteredFetcher(Host(ZeroDivisionError()), store).fetch("http://a/c")
    seen = values(store)
    assert seen['fetch_seconds_count{outcome="ok"}'] == 2
    assert seen['fetch_seconds_bucket{outcome="image_not_found",le="60"}'] == 1
    assert seen['fetch_seconds_count{outcome="fault"}'] == 1
    assert 0 < seen['fetch_seconds_sum{outcome="ok"}'] < 1


def test_an_answer_does_not_depend_on_its_being_counted() -> None:
    store = JobStore(connect("redis://127.0.0.1:1"))
    engine = metered(store, 0)
    assert ask_one(engine, REQUEST).complete
    engine.close()
    assert MeteredFetcher(Host(), store).fetch("http://a/b") == b"bytes"
