"""Rolling upgrades: parts of the previous release and of this one on one Redis lose nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.compat.releases import Releases, releases
from tests.faults.label_studio import Studio, label_studio
from tests.faults.rig import Web, task, until

SECONDS = 0.25
"""What the model takes for a batch of eight."""
COUNT = 40
HASTY = {"bulk_deadline": 0.6}
"""Shorter than `COUNT` tasks take."""


@pytest.fixture
def studio() -> Iterator[Studio]:
    with label_studio() as running:
        running.add(1, range(1000))
        yield running


@pytest.fixture
def deployment(tmp_path: Path, previous: Path, studio: Studio) -> Iterator[Releases]:
    with releases(tmp_path, previous, studio, seconds=SECONDS) as running:
        yield running


def retrieve(studio: Studio, web: Web, numbers: Sequence[int]) -> int:
    """Click on Retrieve predictions; return how many came at once, and are saved."""
    tasks = [task(n) for n in numbers]
    entries = web.predict(tasks)
    studio.save_answers(tasks, entries)
    return sum(map(bool, entries))


def stored_once(studio: Studio, numbers: Sequence[int]) -> bool:
    """Say whether each task has a prediction; fails where one has two."""
    counts = studio.counts()
    assert set(counts.values()) <= {1}, counts
    return set(numbers) <= set(counts)


def test_an_upgrade_loses_and_doubles_nothing_that_the_old_release_accepted(
    deployment: Releases, studio: Studio
) -> None:
    """Tasks are pending, leased, done and undelivered when the new processes start."""
    old_worker, old_web = deployment.old_worker(), deployment.old_web(**HASTY)
    first = range(COUNT)
    assert 0 < retrieve(studio, old_web, first) < COUNT
    worker, web = deployment.worker(), deployment.web(bulk_deadline=30)
    second = range(100, 100 + COUNT)
    assert retrieve(studio, old_web, second) < COUNT
    deployment.end(old_worker, old_web.part)
    until(lambda: stored_once(studio, [*first, *second]), 60)
    deployment.settle(10)
    calls = deployment.calls()
    assert {calls[n] for n in [*first, *second]} == {1}
    web.predict([task(n) for n in second])  # what was just pushed is not answered too
    assert sum(deployment.calls().values()) < 3 * COUNT, "what moved has kept its key"
    assert not deployment.redis.exists("g:pending", "g:projects", "rq:queue:bulk")
    deployment.end(worker, web.part)


def test_a_new_web_server_waits_for_a_new_worker_while_an_old_one_still_runs(
    deployment: Releases, studio: Studio
) -> None:
    old_worker, old_web = deployment.old_worker(), deployment.old_web(**HASTY)
    first = range(COUNT)
    retrieve(studio, old_web, first)
    web = deployment.web(**HASTY)
    deployment.end(old_web.part)
    second = range(100, 100 + COUNT)
    assert retrieve(studio, web, second) == 0, "no worker of its release runs"
    until(lambda: stored_once(studio, first), 30)
    assert len(deployment.calls()) == COUNT, "the old worker has taken none of the new tasks"
    deployment.end(old_worker)
    deployment.worker()
    until(lambda: stored_once(studio, [*first, *second]), 60)
    assert set(deployment.calls().values()) == {1}


@pytest.mark.faults
def test_a_downgrade_serves_and_a_later_upgrade_finds_everything(
    deployment: Releases, studio: Studio
) -> None:
    worker, web = deployment.worker(), deployment.web(**HASTY)
    deployment.workers_ready(1)
    first = range(COUNT)
    assert retrieve(studio, web, first) < COUNT
    deployment.end(worker, web.part)
    old_worker, old_web = deployment.old_worker(), deployment.old_web(bulk_deadline=30)
    answer: Any = old_web.get("/ready")
    assert answer.status_code == 200
    assert {old_web.get(path).status_code for path in ("/jobs", "/metrics")} == {200}
    second = range(100, 110)
    assert retrieve(studio, old_web, second) == len(second)
    deployment.end(old_worker, old_web.part)
    deployment.worker()
    until(lambda: stored_once(studio, [*first, *second]), 60)
    deployment.settle(10)


@pytest.mark.faults
def test_a_killed_old_release_leaves_its_tasks_to_the_new_one(
    deployment: Releases, studio: Studio
) -> None:
    """Its leases run out, and its workers are silent."""
    old_worker, old_web = deployment.old_worker(), deployment.old_web(**HASTY)
    first = range(COUNT)
    assert retrieve(studio, old_web, first) < COUNT
    for part in (old_worker, old_web.part):
        part.must_end = True
        part.kill()
    deployment.worker()
    until(lambda: stored_once(studio, first), 60)
    deployment.settle(10)
