"""Tests of counting in memory and Redis, and of what Prometheus reads."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from grounding.engines.base import Completion, ModelRequest
from grounding.errors import DeadlinePassed, ImageMissing, OutOfMemory
from grounding.jobs.connection import connect
from grounding.jobs.metrics import (
    CounterBuffer,
    MeteredEngine,
    MeteredFetcher,
    render_metrics,
)
from grounding.jobs.store import COUNTERS, PENDING, Job, JobStore, QueueName
from grounding.qwen.profiles import PROFILES
from grounding.waiting import Unwanted

PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
REQUEST = ModelRequest(("x",), 1)
COMPLETION = Completion("[]", complete=True)


class FakeEngine:
    """Its futures are the test's to complete."""

    profile = PROFILES["qwen2.5-vl"]

    def __init__(self) -> None:
        self.futures: list[Future[Completion]] = []

    def submit(self, requests: Sequence[ModelRequest]) -> list[Future[Completion]]:
        self.futures = [Future() for _ in requests]
        return self.futures

    def drain(self) -> None: ...

    def close(self) -> None: ...


class Host:
    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    def fetch(self, value: object, task_id: int | None = None, check: object = None) -> bytes:
        if self._error:
            raise self._error
        return b"bytes"


@pytest.fixture
def counters(redis: Redis) -> CounterBuffer:
    return CounterBuffer(redis)


def samples(redis: Redis) -> dict[Any, float]:
    """Return what Prometheus reads: values by name, or by name and the labels' values."""
    families = text_string_to_metric_families(render_metrics(JobStore(redis)).decode())
    return {
        (sample.name, *sample.labels.values()) if sample.labels else sample.name: sample.value
        for family in families
        for sample in family.samples
    }


def test_model_requests_are_counted_in_cumulative_buckets(
    redis: Redis, counters: CounterBuffer
) -> None:
    engine = FakeEngine()
    quick, slow, cancelled = MeteredEngine(engine, counters).submit([REQUEST] * 3)
    quick.set_result(COMPLETION)
    cancelled.cancel()
    time.sleep(0.3)
    slow.set_exception(OutOfMemory("no room"))
    counters.flush()
    seen = samples(redis)
    name = "grounding_model_request_seconds"
    assert seen[f"{name}_bucket", "0.25"] == 1
    assert seen[f"{name}_bucket", "60.0"] == seen[f"{name}_bucket", "+Inf"] == 2
    assert seen[f"{name}_count"] == 2
    assert 0.3 <= seen[f"{name}_sum"] < 60
    assert seen["grounding_out_of_memory_total"] == 1


def test_fetches_are_counted_by_outcome(redis: Redis, counters: CounterBuffer) -> None:
    assert MeteredFetcher(Host(), counters).fetch("http://a/b") == b"bytes"
    assert MeteredFetcher(Host(), counters).fetch("http://a/b") == b"bytes"
    with pytest.raises(ImageMissing):
        MeteredFetcher(Host(ImageMissing("gone")), counters).fetch("http://a/c")
    with pytest.raises(ZeroDivisionError):
        MeteredFetcher(Host(ZeroDivisionError()), counters).fetch("http://a/c")
    for unwanted in (Unwanted(), DeadlinePassed()):
        with pytest.raises(type(unwanted)):
            MeteredFetcher(Host(unwanted), counters).fetch("http://a/d")
    counters.flush()
    seen = samples(redis)
    name = "grounding_fetch_seconds"
    assert seen[f"{name}_count", "ok"] == 2
    assert seen[f"{name}_bucket", "60.0", "image_not_found"] == 1
    assert seen[f"{name}_count", "fault"] == 1
    fetches = (n for key, n in seen.items() if isinstance(key, tuple) and key[0] == f"{name}_count")
    assert sum(fetches) == 4, "what nobody wanted any more says nothing of its host"
    assert 0 < seen[f"{name}_sum", "ok"] < 60


def test_counting_reads_and_writes_nothing_and_a_flush_is_one_round_trip(
    redis: Redis, counters: CounterBuffer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    plain = redis.connection_pool.get_connection

    def counted(*args: Any, **kwargs: Any) -> Any:
        sent.append(1)
        return plain(*args, **kwargs)

    monkeypatch.setattr(redis.connection_pool, "get_connection", counted)
    engine = FakeEngine()
    for future in MeteredEngine(engine, counters).submit([REQUEST] * 32):
        future.set_result(COMPLETION)
    MeteredFetcher(Host(), counters).fetch("http://a/b")
    counters.add({"dropped:wrong_shape": 2, "noted:clipped": 1})
    assert sent == []
    counters.flush()
    counters.flush()
    assert sent == [1], "what is written is not written again"


def test_counts_wait_in_memory_while_redis_is_away(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    counters = CounterBuffer(connect("redis://127.0.0.1:1"))
    counters.add({"dropped:wrong_shape": 1})
    counters.flush()
    monkeypatch.setattr(counters, "_redis", redis)
    counters.add({"dropped:wrong_shape": 1})
    counters.flush()
    assert samples(redis)["grounding_findings_dropped_total", "wrong_shape"] == 2


def test_a_count_that_redis_does_not_take_is_added_once_when_it_does(
    redis: Redis, counters: CounterBuffer
) -> None:
    redis.hset(COUNTERS, "noted:clipped", "x")
    counters.add({"dropped:wrong_shape": 1, "noted:clipped": 2})
    for _ in range(3):
        counters.flush()
    redis.hdel(COUNTERS, "noted:clipped")
    counters.flush()
    seen = samples(redis)
    assert seen["grounding_findings_dropped_total", "wrong_shape"] == 1
    assert seen["grounding_answer_warnings_total", "clipped"] == 2


def test_the_oldest_task_is_the_one_that_no_worker_holds(redis: Redis) -> None:
    """A film may run for an hour, and nobody waits for a worker meanwhile."""
    store = JobStore(redis)
    for number, key in enumerate(("film", "a", "b")):
        store.accept([Job(key, QueueName.BULK, "1", {"id": number})])
        redis.zadd(PENDING, {key: time.time() - 1000 + 300 * number})
    waits = "grounding_oldest_pending_seconds"
    for key, age in (("film", 700), ("a", 400), ("b", 0)):
        assert store.claim(key, "w")
        assert samples(redis)[waits] == pytest.approx(age, abs=20)


def test_the_oldest_task_has_its_age_by_redis_clock_alone(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    JobStore(redis).accept([Job("a", QueueName.BULK, "1", {"id": 1})])
    ours = time.time() + 3600
    monkeypatch.setattr(time, "time", lambda: ours)
    assert samples(redis)["grounding_oldest_pending_seconds"] < 60


def test_every_metric_has_the_prefix_and_a_standard_name(redis: Redis) -> None:
    counters = JobStore(redis)
    for name in ("done:found", "failed:fault", "fetch:ok:1", "model:1", "dropped:a", "noted:b"):
        counters.count(name, 1)
    text = render_metrics(counters).decode()
    families = list(text_string_to_metric_families(text))
    assert families
    assert all(family.name.startswith("grounding_") for family in families)
    assert all(family.documentation for family in families)
    endings = {"histogram": "_seconds", "counter": "", "gauge": ""}
    assert all(family.name.endswith(endings[family.type]) for family in families)
    assert not {"dead", "owed", "lane", "lapsed", "troubles"} & set(re.split(r"[\W_]+", text))


def test_the_page_for_operators_names_metrics_that_exist(redis: Redis) -> None:
    table = re.search(r"\| metric \|.*?\n\n", PAGE.read_text(), re.DOTALL)
    assert table is not None
    named = re.findall(r"^\| `(\w+)`", table[0], re.MULTILINE)
    exposed = re.findall(r"^# TYPE (\w+)", render_metrics(JobStore(redis)).decode(), re.MULTILINE)
    assert named
    assert set(named) <= set(exposed)


def test_a_label_may_hold_any_text(redis: Redis) -> None:
    JobStore(redis).count('failed:a "quote"\n\\', 1)
    assert samples(redis)["grounding_tasks_failed_total", 'a "quote"\n\\'] == 1


def test_every_single_task_of_millions_is_counted(redis: Redis) -> None:
    JobStore(redis).count("done:found", 12_345_678)
    assert samples(redis)["grounding_tasks_done_total", "found"] == 12_345_678
