"""Tests of the fault table with small numbers; `test_whole.py` has the full numbers."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

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
from tests.faults.scripted import Behavior, number_of

TASKS = 200
KILLS = 5
FEWER = 100


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    """Two workers; every test leaves two running."""
    with rig(tmp_path_factory.mktemp("rig"), seconds=0.1) as running:
        yield running


@pytest.fixture(scope="module")
def waiting_web(deployment: Rig) -> Web:
    """A web server that waits up to a minute."""
    return deployment.web(interactive_deadline=20)


@pytest.fixture(autouse=True)
def _nothing_left(deployment: Rig) -> Iterator[None]:
    """After each test there is no job, no lease, no count of a project and no dead worker left."""
    yield
    deployment.workers_ready(2)
    deployment.settle(30)
    until(lambda: deployment.store.leased() == {}, 5)
    assert deployment.store.unfinished_by_project() == {}


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(64) as threads:
        yield threads


Entries = Future[list[Any]]


def test_killed_workers_lose_and_duplicate_nothing(
    deployment: Rig, waiting_web: Web, pool: ThreadPoolExecutor
) -> None:
    """F1: every task gets its own answer."""
    numbers = range(TASKS)
    asked: Entries = pool.submit(waiting_web.predict, [task(n) for n in numbers])
    assert kill_workers(deployment, KILLS, random.Random(1)) == KILLS
    assert number_of_each(asked.result(90)) == list(numbers)


def test_the_jobs_of_killed_workers_are_finished_within_ten_seconds(
    deployment: Rig, waiting_web: Web, pool: ThreadPoolExecutor
) -> None:
    """F1; `test_whole.py` has it with the default lease."""
    asked: Entries = pool.submit(waiting_web.predict, [task(1000 + n) for n in range(16)])
    until(lambda: deployment.calls()[1000], 10)
    begun = time.monotonic()
    for part in deployment.workers:
        part.kill()
    assert number_of_each(asked.result(60)) == list(range(1000, 1016))
    assert time.monotonic() - begun < 10


def test_a_job_that_kills_workers_fails_after_three_and_the_others_finish(
    deployment: Rig, waiting_web: Web
) -> None:
    """F4."""
    poison = 1500
    tasks = [task(n, Behavior.DIE if n == poison else Behavior.ANSWER) for n in range(1490, 1520)]
    entries = waiting_web.predict(tasks)
    assert entries[10] == []
    others = [n for n in range(1490, 1520) if n != poison]
    assert number_of_each(entries[:10] + entries[11:]) == others
    assert deployment.calls()[poison] in (3, 4), "the first death may be blamed on another job"
    assert deployment.store.read_totals()[0]["failed:worker_died"] == 1


def test_redis_killed_and_restarted_loses_nothing(
    deployment: Rig, waiting_web: Web, pool: ThreadPoolExecutor
) -> None:
    """F8: the waiting request is answered, and one during the outage gets a 503."""
    numbers = range(2000, 2000 + FEWER)
    asked: Entries = pool.submit(waiting_web.predict, [task(n) for n in numbers])
    until(lambda: deployment.calls()[2010], 20)
    deployment.stop_redis()
    begun = time.monotonic()
    refused = waiting_web.post([task(3000)])
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "queue_unavailable")
    assert waiting_web.get("/ready").status_code == 503
    assert time.monotonic() - begun < 4
    deployment.start_redis()
    assert number_of_each(asked.result(90)) == list(numbers)


def test_a_killed_web_server_loses_no_accepted_job(
    deployment: Rig, waiting_web: Web, pool: ThreadPoolExecutor
) -> None:
    """F13: finished jobs are answered from the store, without the model."""
    numbers = range(4000, 4000 + FEWER)
    asked = pool.submit(waiting_web.post, [task(n) for n in numbers])
    until(lambda: len([n for n in deployment.calls() if n in numbers]) > FEWER // 4, 20)
    waiting_web.part.kill()
    assert asked.exception(20) is not None
    until(waiting_web.is_up, 20)
    assert number_of_each(waiting_web.predict([task(n) for n in numbers])) == list(numbers)
    assert {deployment.calls()[n] for n in numbers} == {1}


def test_a_batch_longer_than_the_deadline_is_answered_in_part_and_later_in_full(
    deployment: Rig,
) -> None:
    """F15."""
    hasty = deployment.web(bulk_deadline=1.2)
    count = 300  # two workers need at least 1.9 seconds
    numbers = range(5000, 5000 + count)
    tasks = [task(n) for n in numbers]
    begun = time.monotonic()
    first = hasty.predict(tasks)
    took = time.monotonic() - begun
    assert len(first) == count
    ready = {n: entry for n, entry in zip(numbers, first, strict=True) if entry}
    assert number_of_each(list(ready.values())) == list(ready)
    assert 0 < len(ready) < count
    assert 1.2 <= took < 5
    deployment.settle(60)
    calls = deployment.calls()
    assert number_of_each(hasty.predict(tasks)) == list(numbers)
    assert deployment.calls() == calls


def test_an_annotator_does_not_wait_for_the_bulk(
    deployment: Rig, waiting_web: Web, pool: ThreadPoolExecutor
) -> None:
    """F17."""
    numbers = range(6000, 6000 + 2 * TASKS)
    started = time.monotonic()
    bulk: Entries = pool.submit(waiting_web.predict, [task(n) for n in numbers])
    until(lambda: deployment.calls()[6000], 20)
    waits = []
    for n in range(7000, 7008):
        begun = time.monotonic()
        (entry,) = waiting_web.predict([task(n)], label_config=PROMPTED, params=typed())
        waits.append(time.monotonic() - begun)
        assert number_of(entry) == n
    still_running = not bulk.done()
    assert number_of_each(bulk.result(90)) == list(numbers)
    assert still_running, "the bulk ended too soon to prove anything"
    took = time.monotonic() - started
    assert sorted(waits)[-2] < max(1.5, took / 5), "even on a busy machine"


def test_fifty_equal_requests_at_once_are_one_model_call(
    deployment: Rig, waiting_web: Web, pool: ThreadPoolExecutor
) -> None:
    """F25: a double click, or two workers of Label Studio."""
    together = threading.Barrier(50)

    def ask() -> list[Any]:
        together.wait(20)
        return waiting_web.predict([task(8000), task(8001)])

    waiting = [pool.submit(ask) for _ in range(50)]
    answers = [one.result(90) for one in waiting]
    full = [number_of_each(entries) for entries in answers if all(entries)]
    assert full == [[8000, 8001]] * len(full)
    assert full
    assert (deployment.calls()[8000], deployment.calls()[8001]) == (1, 1)
    assert number_of_each(waiting_web.predict([task(8000), task(8001)])) == [8000, 8001]


def test_terminated_workers_hand_over_without_loss(
    deployment: Rig, waiting_web: Web, pool: ThreadPoolExecutor
) -> None:
    """F18 and F20: each worker is terminated in turn, and another replaces it."""
    expired = deployment.store.read_totals()[0].get("expired", 0)
    numbers = range(9000, 9000 + FEWER)
    asked: Entries = pool.submit(waiting_web.predict, [task(n) for n in numbers])
    until(lambda: deployment.calls()[9000], 20)
    for old in list(deployment.workers):
        old.terminate()
        deployment.worker()
        assert old.wait(20) == 0
    assert number_of_each(asked.result(90)) == list(numbers)
    assert {deployment.calls()[n] for n in numbers} == {1}
    assert deployment.store.read_totals()[0].get("expired", 0) == expired, "no lease may expire"
