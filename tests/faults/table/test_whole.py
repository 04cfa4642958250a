"""Tests of the fault table with full numbers, and of the faults that take long: `make faults`."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import psutil
import pytest

from grounding.settings import Settings
from tests.faults.processes import family, resident_bytes
from tests.faults.rig import (
    PROMPTED,
    Rig,
    Web,
    kill_workers,
    number_of_each,
    rig,
    task,
    typed,
    until,
)
from tests.faults.watch import HEALTH_P99_SECONDS

pytestmark = pytest.mark.faults

TASKS = 1000
Entries = Future[list[Any]]


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path, bulk_deadline=90) as running:
        yield running
        running.settle(60)
        running.check_watches(HEALTH_P99_SECONDS)


@pytest.fixture
def web(deployment: Rig) -> Web:
    return deployment.web()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as threads:
        yield threads


def tasks(count: int = TASKS) -> list[dict[str, Any]]:
    return [task(n) for n in range(count)]


def retrieve(web: Web, count: int = TASKS) -> list[int | None]:
    """Repeat the request, as a user who clicks again, until each task has its prediction."""
    for _ in range(3):
        entries = number_of_each(web.predict(tasks(count)))
        if None not in entries:
            break
    return entries


def test_twenty_kills_lose_and_duplicate_none_of_a_thousand_tasks(
    deployment: Rig, web: Web, pool: ThreadPoolExecutor
) -> None:
    """F1."""
    begun = time.monotonic()
    asked = pool.submit(retrieve, web)
    assert kill_workers(deployment, 20, random.Random(1)) == 20
    assert asked.result(280) == list(range(TASKS))
    assert time.monotonic() - begun < 60
    assert deployment.store.read_totals()[0]["done"] == TASKS


def test_the_jobs_of_killed_workers_are_finished_within_ten_seconds(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    """F1, with the default lease."""
    with rig(tmp_path, lease_ttl=Settings.load().lease_ttl, seconds=0.5) as deployment:
        web = deployment.web()
        asked: Entries = pool.submit(web.predict, tasks(2))
        until(lambda: len(deployment.store.leased()) == 2, 10)
        begun = time.monotonic()
        for part in deployment.workers:
            part.kill()
        assert number_of_each(asked.result(60)) == [0, 1]
        assert time.monotonic() - begun < 10


def test_three_outages_of_redis_lose_none_of_a_thousand_tasks(
    deployment: Rig, web: Web, pool: ThreadPoolExecutor
) -> None:
    """F8."""
    begun = time.monotonic()
    asked: Entries = pool.submit(web.predict, tasks())
    for part in (1, 2, 3):
        until(lambda part=part: len(deployment.calls()) > TASKS * part // 4, 60)  # type: ignore[misc]
        deployment.stop_redis()
        time.sleep(2)
        deployment.start_redis()
        seen = len(deployment.calls())
        until(lambda seen=seen: len(deployment.calls()) > seen, 5)  # type: ignore[misc]
    assert number_of_each(asked.result(100)) == list(range(TASKS))
    assert time.monotonic() - begun < 60


def test_a_stopped_redis_is_a_503_and_duplicates_nothing_when_it_continues(
    deployment: Rig, web: Web, pool: ThreadPoolExecutor
) -> None:
    """F9: it accepts connections and answers nothing; all leases expire meanwhile."""
    asked: Entries = pool.submit(web.predict, tasks(400))
    until(lambda: len(deployment.calls()) > 100, 20)
    redis = deployment.redis_pid
    os.kill(redis, signal.SIGSTOP)
    begun = time.monotonic()
    refused = web.post([task(2000)])
    took = time.monotonic() - begun
    time.sleep(max(0, 10 - took))
    os.kill(redis, signal.SIGCONT)
    assert refused.status_code == 503
    assert took < 2
    assert number_of_each(asked.result(100)) == list(range(400))
    until(lambda: not deployment.pending(), 20)
    assert deployment.store.read_totals()[0]["done"] in (400, 401), (
        "the refused one may be accepted"
    )


def test_a_wiped_redis_leaves_a_service_that_answers(
    deployment: Rig, web: Web, pool: ThreadPoolExecutor
) -> None:
    """F11: accepted jobs are lost, and the next request is served."""
    pool.submit(web.post, tasks(400))
    until(lambda: len(deployment.calls()) > 50, 20)
    deployment.redis.flushall()
    begun = time.monotonic()
    assert number_of_each(web.predict([task(n) for n in range(1000, 1010)])) == [*range(1000, 1010)]
    assert time.monotonic() - begun < 10


def test_of_twenty_thousand_tasks_at_once_the_limit_is_accepted_in_little_memory(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    """F16, with half the default limit: tasks above it are answered empty and counted."""
    bound = 5000
    with rig(tmp_path, seconds=0, bulk_deadline=20, max_pending=bound) as deployment:
        web = deployment.web()
        web.predict(tasks(1))
        highest = before = resident_bytes(web.part.pid)
        many = [one | {"data": one["data"] | {"note": "x" * 1000}} for one in tasks(20_000)]
        asked: Entries = pool.submit(web.predict, many)
        while not asked.done():
            highest = max(highest, resident_bytes(web.part.pid))
            time.sleep(0.1)
        entries = asked.result()
        deployment.settle(120)
        counters = deployment.store.read_totals()[0]
        assert len(entries) == 20_000
        assert 0 < sum(map(bool, entries)) <= counters["accepted"]
        assert counters["accepted"] + counters["refused"] == 20_001
        assert counters["accepted"] == counters["done"] >= bound
        assert (highest - before) / 2**20 < 150


def test_an_annotator_waits_for_one_model_call_at_most_and_hardly_slows_the_bulk(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    """F17: a bulk of a thousand tasks with twenty interactive requests, and one without.

    Apart from the model calls of these requests, the bulk takes hardly longer. A request that
    waited for two calls would take three times as long as one that has the worker to itself.
    """
    seconds, requests = 0.4, 20
    with rig(tmp_path, seconds=seconds, bulk_deadline=90) as deployment:
        web = deployment.web()

        def bulk(first: int) -> float:
            begun = time.monotonic()
            entries = web.predict([task(n) for n in range(first, first + TASKS)])
            assert number_of_each(entries) == list(range(first, first + TASKS))
            return time.monotonic() - begun

        def asking(first: int) -> list[float]:
            waits = []
            for number in range(first, first + requests):
                begun = time.monotonic()
                entries = web.predict([task(number)], label_config=PROMPTED, params=typed())
                waits.append(time.monotonic() - begun)
                assert number_of_each(entries) == [number]
            return sorted(waits)

        alone = bulk(0)
        undisturbed = median(asking(3000))
        running = pool.submit(bulk, 1000)
        until(lambda: deployment.calls()[1000], 20)
        waits = asking(4000)
        assert not running.done(), "the bulk ended too soon to prove anything"
        print(
            f"annotator p95 {waits[18]:.2f} s, without a bulk {undisturbed:.2f} s; "
            f"bulk {alone:.1f} s, {running.result():.1f} s"
        )
        assert waits[18] <= 2.5 * undisturbed
        assert running.result() - requests * seconds / 2 <= 1.1 * alone, (
            "two workers share the requests"
        )


def test_five_rolling_restarts_of_all_workers_lose_and_duplicate_nothing(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    """F20."""
    with rig(tmp_path, seconds=0.3, bulk_deadline=90) as deployment:
        asked: Entries = pool.submit(deployment.web().predict, tasks())
        until(lambda: deployment.calls(), 20)
        for _ in range(5):
            deployment.workers_ready(2)  # a worker that is still starting cannot finish jobs
            for old in deployment.workers:
                assert deployment.pending()
                old.terminate()
                deployment.worker()
                assert old.wait(20) == 0
        assert number_of_each(asked.result(90)) == list(range(TASKS))
        assert set(deployment.calls().values()) == {1}


def test_a_terminated_web_server_answers_running_requests_takes_no_more_and_exits_0(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    """F19: gunicorn lets a new request wait, and resets it when the others are answered."""
    with rig(tmp_path, seconds=2) as deployment:
        web = deployment.web()
        asked = [pool.submit(web.predict, [task(n), task(n + 10)]) for n in range(4)]
        until(lambda: deployment.store.read_totals()[0].get("accepted") == 8, 10)
        below = family(web.part.pid)
        web.part.terminate()
        time.sleep(0.3)
        assert not any(one.done() for one in asked)
        late = pool.submit(web.predict, [task(20)])
        assert [number_of_each(one.result(30)) for one in asked] == [[n, n + 10] for n in range(4)]
        assert isinstance(late.exception(5), httpx.TransportError)
        assert web.part.wait(30) == 0
        assert psutil.wait_procs(below, 10)[1] == []
        assert deployment.store.read_totals()[0]["accepted"] == 8
