"""Tests that what a request could not answer is delivered later, once (F13, F15, F22)."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

from tests.faults.delivering import (
    ENTRIES,
    PROJECT,
    deliveries,
    deployed,
    expire_holds,
    retrieve,
)
from tests.faults.label_studio import Mood, Studio, label_studio
from tests.faults.rig import Rig, Web, kill_workers, task, until

QUICK = 200
WHOLE = 1000


@pytest.fixture
def studio() -> Iterator[Studio]:
    with label_studio() as running:
        yield running


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def click(studio: Studio, web: Web, count: int) -> int:
    """Retrieve the missing predictions, as Label Studio does; return how many came at once."""
    have = studio.counts()
    return retrieve(studio, web, [task(n) for n in range(count) if n not in have])


def wait_for_all(deployment: Rig, studio: Studio, count: int, seconds: float) -> None:
    """Wait until everything is delivered; assert that each task has one prediction."""
    until(lambda: not deployment.redis.zcard(ENTRIES), seconds)
    deployment.settle(5)
    assert studio.counts() == dict.fromkeys(range(count), 1)


def marker(folder: Path) -> Path:
    """Return the file that exists once a process was killed at a step."""
    return folder / "calls.crashed"


def test_one_click_over_the_deadline_ends_with_one_prediction_each(
    tmp_path: Path, studio: Studio
) -> None:
    """F15: each is answered or pushed, and the model is asked once."""
    with deployed(tmp_path, studio, seconds=0.15, bulk_deadline=0.7) as deployment:
        web = deployment.web()
        at_once = click(studio, web, QUICK)
        wait_for_all(deployment, studio, QUICK, 30)
        assert 0 < at_once < QUICK
        assert deliveries(deployment) == {"answered": at_once, "pushed": QUICK - at_once}
        assert set(deployment.calls().values()) == {1}
        assert web.get("/jobs").json()["projects"][0]["undelivered"] == 0


def test_tasks_that_a_killed_web_server_accepted_are_delivered(
    tmp_path: Path, studio: Studio, pool: ThreadPoolExecutor
) -> None:
    """F13: without another click."""
    with deployed(tmp_path, studio, seconds=0.1, bulk_deadline=2) as deployment:
        web = deployment.web()
        asked = pool.submit(click, studio, web, QUICK)
        until(lambda: len(deployment.calls()) > QUICK // 4, 20)
        web.part.kill()
        assert asked.exception(20) is not None
        wait_for_all(deployment, studio, QUICK, 30)
        assert set(deployment.calls().values()) == {1}


@pytest.mark.faults
def test_a_thousand_tasks_survive_killed_workers_and_a_killed_web_server(
    tmp_path: Path, studio: Studio, pool: ThreadPoolExecutor
) -> None:
    """F1 and F13 at once: ten workers are killed, and the web server during /predict."""
    with deployed(tmp_path, studio, seconds=0.1, bulk_deadline=90) as deployment:
        web = deployment.web()
        asked = pool.submit(click, studio, web, WHOLE)
        assert kill_workers(deployment, 5, random.Random(2)) == 5
        assert deployment.pending(), "nothing can be answered yet"
        web.part.kill()
        assert isinstance(asked.exception(20), httpx.TransportError)
        assert not studio.counts()
        assert kill_workers(deployment, 5, random.Random(3)) == 5
        until(lambda: not deployment.pending(), 60)
        until(lambda: expire_holds(deployment) or not deployment.redis.zcard(ENTRIES), 60)
        wait_for_all(deployment, studio, WHOLE, 5)
        assert deployment.store.read_totals()[0]["done"] == WHOLE


@pytest.mark.faults
def test_a_thousand_tasks_that_take_longer_than_the_deadline_are_all_stored(
    tmp_path: Path, studio: Studio
) -> None:
    """F15: with the defaults, and a model that needs two minutes."""
    with deployed(tmp_path, studio, seconds=1.8, bulk_deadline=90) as deployment:
        web = deployment.web()
        begun = time.monotonic()
        at_once = click(studio, web, WHOLE)
        assert 90 <= time.monotonic() - begun < 95
        assert 0 < at_once < WHOLE
        wait_for_all(deployment, studio, WHOLE, 60)
        assert deliveries(deployment) == {"answered": at_once, "pushed": WHOLE - at_once}
        assert set(deployment.calls().values()) == {1}


@pytest.mark.faults
def test_after_ten_seconds_without_label_studio_all_is_delivered_within_thirty(
    tmp_path: Path, studio: Studio
) -> None:
    """F22."""
    with deployed(tmp_path, studio, bulk_deadline=0.5) as deployment:
        web = deployment.web()
        studio.mood = Mood.FAILS
        at_once = click(studio, web, QUICK)
        until(lambda: web.get("/jobs").json()["projects"][0]["undelivered_reason"], 30)
        time.sleep(10)
        studio.mood = Mood.WELL
        begun = time.monotonic()
        wait_for_all(deployment, studio, QUICK, 30)
        print(f"all delivered {time.monotonic() - begun:.1f} s after its return")
        assert at_once < QUICK


@pytest.mark.faults
def test_pushes_whose_response_is_lost_are_stored_once(tmp_path: Path, studio: Studio) -> None:
    """F22: saved, but the connection closes before the response."""
    with deployed(tmp_path, studio, bulk_deadline=0.3) as deployment:
        web = deployment.web()
        studio.mood = Mood.SAVES_AND_HANGS_UP
        click(studio, web, QUICK)
        until(lambda: len(studio.imports) >= 2, 60)
        studio.mood = Mood.WELL
        until(lambda: expire_holds(deployment) or not deployment.redis.zcard(ENTRIES), 60)
        wait_for_all(deployment, studio, QUICK, 5)
        assert deliveries(deployment)["found"] >= 100


@pytest.mark.faults
def test_predictions_are_stored_once_though_every_process_dies_during_a_push(
    tmp_path: Path, studio: Studio
) -> None:
    """Saved, not yet answered: no process knows of it."""
    with deployed(tmp_path, studio, bulk_deadline=0.3) as deployment:
        web = deployment.web()
        studio.stall = 3
        click(studio, web, QUICK)
        until(lambda: studio.imports, 30)
        for part in deployment.parts:
            part.kill()
        studio.stall = 0
        deployment.settle(30)
        until(web.is_up, 20)
        expire_holds(deployment)
        wait_for_all(deployment, studio, QUICK, 60)
        assert deliveries(deployment)["found"] > 0


@pytest.mark.faults
def test_an_answer_to_a_closed_connection_is_delivered(tmp_path: Path, studio: Studio) -> None:
    """F14: writing to a closed connection raises no error."""
    with deployed(tmp_path, studio, bulk_deadline=20) as deployment:
        web = deployment.web()
        studio.add(PROJECT, range(80))
        with pytest.raises(httpx.ReadTimeout):
            web.post([task(n) for n in range(80)], timeout=0.2)
        deployment.settle(20)
        until(lambda: web.get("/health"), 5)
        time.sleep(1)
        assert not studio.counts()
        expire_holds(deployment)
        wait_for_all(deployment, studio, 80, 20)


@pytest.mark.faults
@pytest.mark.parametrize(
    "point",
    ["after the answer is reserved", "after the answer is sent", "after the answer is recorded"],
)
def test_a_web_server_killed_around_its_answer_loses_and_duplicates_nothing(
    tmp_path: Path, studio: Studio, point: str
) -> None:
    with deployed(tmp_path, studio, bulk_deadline=20) as deployment:
        web = deployment.web(crash=point, label_studio_url="")  # it pushes nothing itself
        with suppress(httpx.TransportError):
            click(studio, web, 8)
        until(marker(tmp_path).exists, 10)
        expire_holds(deployment)
        wait_for_all(deployment, studio, 8, 20)


@pytest.mark.faults
@pytest.mark.parametrize(
    "point", ["before the push", "after the push", "after the push is recorded"]
)
def test_a_worker_killed_around_a_push_loses_and_duplicates_nothing(
    tmp_path: Path, studio: Studio, point: str
) -> None:
    with deployed(tmp_path, studio, bulk_deadline=0.1, seconds=0.5, crash=point) as deployment:
        web = deployment.web(label_studio_url="")
        click(studio, web, 8)
        until(marker(tmp_path).exists, 30)
        expire_holds(deployment)
        wait_for_all(deployment, studio, 8, 30)
