"""The fault table at its full numbers, and the faults that take long: `make faults`."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from grounding.settings import Settings
from tests.faults.rig import Rig, Web, kill_workers, number_of_each, rig, task, until

pytestmark = pytest.mark.faults

TASKS = 1000
Asked = Future[list[Any]]


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path, bulk_deadline=90) as running:
        yield running
        running.settle(60)


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
    """Ask again, as someone does who clicks again, until each task has its prediction."""
    for _ in range(3):
        entries = number_of_each(web.predict(tasks(count)))
        if None not in entries:
            break
    return entries


def test_twenty_kills_lose_none_of_a_thousand_tasks_and_double_none(
    deployment: Rig, web: Web, pool: ThreadPoolExecutor
) -> None:
    """F1."""
    asked = pool.submit(retrieve, web)
    kill_workers(deployment, 20, random.Random(1), asked.done)
    assert asked.result(280) == list(range(TASKS))
    assert deployment.ledger.counters()["done"] == TASKS


def test_a_task_is_taken_up_within_ten_seconds_under_the_default_lease(
    tmp_path: Path, pool: ThreadPoolExecutor
) -> None:
    """F1."""
    with rig(tmp_path, lease_ttl=Settings.load().lease_ttl, seconds=0.5) as deployment:
        web = deployment.web()
        asked: Asked = pool.submit(web.predict, tasks(2))
        until(lambda: len(deployment.ledger.leased()) == 2, 10)
        begun = time.monotonic()
        for part in deployment.workers:
            part.kill()
        assert number_of_each(asked.result(60)) == [0, 1]
        assert time.monotonic() - begun < 10


def test_three_outages_of_redis_lose_none_of_a_thousand_tasks(
    deployment: Rig, web: Web, pool: ThreadPoolExecutor
) -> None:
    """F8."""
    asked: Asked = pool.submit(web.predict, tasks())
    for part in (1, 2, 3):
        until(lambda part=part: len(deployment.calls()) > TASKS * part // 4, 60)  # type: ignore[misc]
        deployment.stop_redis()
        time.sleep(2)
        deployment.start_redis()
    assert number_of_each(asked.result(100)) == list(range(TASKS))


def test_a_stopped_redis_is_a_503_and_doubles_nothing_when_it_goes_on(
    deployment: Rig, web: Web, pool: ThreadPoolExecutor
) -> None:
    """F9: it takes connections and answers nothing; all leases lapse meanwhile."""
    asked: Asked = pool.submit(web.predict, tasks(400))
    until(lambda: len(deployment.calls()) > 100, 20)
    redis = deployment.redis_pid
    os.kill(redis, signal.SIGSTOP)
    begun = time.monotonic()
    refused = web.post([task(2000)])
    took = time.monotonic() - begun
    time.sleep(5)
    os.kill(redis, signal.SIGCONT)
    assert refused.status_code == 503
    assert took < 5
    assert number_of_each(asked.result(100)) == list(range(400))
    until(lambda: not deployment.ledger.pending(), 20)
    assert deployment.ledger.counters()["done"] in (400, 401), "the refused one may have got in"


def test_a_wiped_redis_leaves_a_service_that_answers(
    deployment: Rig, web: Web, pool: ThreadPoolExecutor
) -> None:
    """F11: what was asked is gone, and the next request is served."""
    pool.submit(web.post, tasks(400))
    until(lambda: len(deployment.calls()) > 50, 20)
    deployment.redis.flushall()
    begun = time.monotonic()
    assert number_of_each(web.predict([task(n) for n in range(1000, 1010)])) == [*range(1000, 1010)]
    assert time.monotonic() - begun < 10


def test_more_than_the_bound_is_answered_empty_and_counted(tmp_path: Path) -> None:
    """F16."""
    with rig(tmp_path, seconds=0, bulk_deadline=60, max_pending=1000) as deployment:
        web = deployment.web()
        entries = web.predict(tasks(20_000))
        deployment.settle(60)
        counters = deployment.ledger.counters()
        assert len(entries) == 20_000
        assert counters["accepted"] + counters["refused"] == 20_000
        assert counters["accepted"] >= 1000
        assert counters["accepted"] == sum(map(bool, entries)) == counters["done"]


def test_a_terminated_web_server_answers_what_is_in_flight_and_exits_0(
    deployment: Rig, web: Web, pool: ThreadPoolExecutor
) -> None:
    """F19."""
    asked = [pool.submit(web.predict, [task(n), task(n + 10)]) for n in range(4)]
    until(lambda: len(deployment.calls()) > 0, 10)
    web.part.terminate()
    assert [number_of_each(one.result(30)) for one in asked] == [[n, n + 10] for n in range(4)]
    assert web.part.wait(30) == 0
