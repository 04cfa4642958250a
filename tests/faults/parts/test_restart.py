"""A rolling restart, as Kubernetes does it: each part gets SIGTERM in turn, and nothing is lost."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.faults.processes import Process
from tests.faults.rig import Rig, number_of_each, rig, task, until

SECONDS = 0.3
"""What the model takes for a batch of eight: a restart finds work at every part."""
COUNT = 160
ENDING = 30


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path, seconds=SECONDS, bulk_deadline=60) as running:
        yield running
        running.settle(30)


def replace_worker(deployment: Rig, old: Process) -> None:
    """Start a worker, and end `old` once the new one is ready."""
    deployment.worker()
    deployment.workers_ready(3)
    old.terminate()
    assert old.wait(ENDING) == 0


def test_a_rolling_restart_of_every_part_loses_and_repeats_nothing(deployment: Rig) -> None:
    first, second = deployment.web(), deployment.web()
    with ThreadPoolExecutor(2) as pool:
        asked = [
            pool.submit(web.predict, [task(n) for n in range(start, start + COUNT)])
            for web, start in ((first, 0), (second, COUNT))
        ]
        until(lambda: len(deployment.calls()) > 8, 20)
        for old in list(deployment.workers):
            replace_worker(deployment, old)
        for web in (first, second):
            # Service to it has ended (preStop) before it is told to end; what has begun goes on.
            web.part.terminate()
        for web in (first, second):
            assert web.part.wait(60) == 0
        answers = [number_of_each(one.result(60)) for one in asked]
    assert answers == [list(range(COUNT)), list(range(COUNT, 2 * COUNT))]
    assert set(deployment.calls().values()) == {1}, "no task was asked twice"
    assert deployment.store.read_totals()[0].get("expired", 0) == 0, "no lease had to expire"


def test_a_web_server_that_was_told_to_end_takes_nobody_new(deployment: Rig) -> None:
    web = deployment.web()
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(web.predict, [task(n) for n in range(COUNT)])
        until(deployment.pending, 20)
        time.sleep(SECONDS)
        web.part.terminate()
        until(lambda: not web.is_up(), 20)
        assert not asked.done(), "it is still answering"
        assert number_of_each(asked.result(60)) == list(range(COUNT))
    assert web.part.wait(ENDING) == 0
