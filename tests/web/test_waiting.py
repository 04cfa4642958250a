"""Many requests at once, at a real web server with a real worker behind it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from grounding.web.submission import Progress
from tests.faults.rig import PROMPTED, Rig, Web, number_of_each, rig, task, typed, until
from tests.faults.watch import HEALTH_SECONDS
from tests.serving import STATUS, predict, said

PEOPLE = 40
TALKING = PROMPTED.replace("</View>", f"{STATUS}</View>")


@pytest.fixture
def seconds() -> float:
    """What the model takes for a batch."""
    return 0.5


@pytest.fixture
def deployment(tmp_path: Path, seconds: float) -> Iterator[Rig]:
    """One worker; health is watched throughout."""
    with rig(tmp_path, workers=1, seconds=seconds) as running:
        yield running


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(PEOPLE) as threads:
        yield threads


def ask(web: Web, number: int) -> dict[str, Any]:
    """Return the entry for a prompt typed on the task of this number."""
    (entry,) = web.predict([task(number)], label_config=TALKING, params=typed())
    return dict(entry)


@pytest.mark.parametrize("seconds", [0.2])
def test_forty_annotators_who_ask_at_once_are_all_answered(
    deployment: Rig, pool: ThreadPoolExecutor
) -> None:
    """With the settings' defaults; the slots of one worker take twenty turns for them."""
    web = deployment.web()
    entries = list(pool.map(lambda number: ask(web, number), range(PEOPLE)))
    assert [said(entry) for entry in entries] == [["1 found"]] * PEOPLE
    boxes = [{**e, "result": [r for r in e["result"] if r["from_name"] == "box"]} for e in entries]
    assert number_of_each(boxes) == list(range(PEOPLE))
    (watch,) = deployment.watches
    print(f"/health: p99 {watch.p99 * 1000:.0f} ms of {len(watch.seconds)} looks")
    deployment.check_watches(HEALTH_SECONDS)


def test_an_annotator_beyond_the_bound_reads_that_the_server_is_full(
    deployment: Rig, pool: ThreadPoolExecutor
) -> None:
    """Nobody else is kept out, and what was asked is answered when it is asked again."""
    web = deployment.web(max_interactive_requests=2)
    waiting = [pool.submit(ask, web, number) for number in (1, 2)]
    until(lambda: deployment.pending() == 2, 10)
    entry = ask(web, 3)
    assert said(entry) == [
        "the server is full: 2 requests of annotators wait. Ask again in a moment"
    ]
    assert number_of_each(web.predict([task(n) for n in (4, 5)])) == [4, 5]
    assert [said(future.result(30)) for future in waiting] == [["1 found"]] * 2
    until(lambda: said(ask(web, 3)) == ["1 found"], 10)
    assert 'requests_full_total{kind="interactive"} 1' in web.get("/metrics").text


def test_tasks_being_opened_and_bulk_have_places_of_their_own(
    deployment: Rig, pool: ThreadPoolExecutor
) -> None:
    """What finds none is answered with what is ready, and does not wait."""
    web = deployment.web(max_page_requests=1, max_bulk_requests=1)
    bulk = pool.submit(web.predict, [task(n) for n in (10, 11)])
    page = pool.submit(web.predict, [task(12)])
    until(lambda: deployment.pending() == 3, 10)
    assert web.predict([task(n) for n in (13, 14)]) == [[], []]
    assert web.predict([task(15)]) == [[]]
    assert said(ask(web, 16)) == ["1 found"]
    assert number_of_each(bulk.result(30)) == [10, 11]
    assert number_of_each(page.result(30)) == [12]


def test_what_is_ready_is_answered_while_all_places_are_taken(
    deployment: Rig, pool: ThreadPoolExecutor
) -> None:
    web = deployment.web(max_interactive_requests=1)
    assert said(ask(web, 20)) == ["1 found"]
    waiting = pool.submit(ask, web, 21)
    until(lambda: deployment.pending() == 1, 10)
    assert said(ask(web, 20)) == ["1 found"]
    assert said(waiting.result(30)) == ["1 found"]


def test_a_bulk_request_says_every_few_seconds_how_far_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    clock = iter([0.0, 0.0, 2.0, 5.5, 7.0, 11.0])
    progress = Progress("1.1", 400, clock=lambda: next(clock))
    for unfinished in (400, 380, 350, 340, 300):
        progress.report(unfinished)
    assert [record.getMessage() for record in caplog.records] == [
        "project 1.1: 50 of 400 tasks done, about 38 s left",
        "project 1.1: 100 of 400 tasks done, about 33 s left",
    ]


def test_only_a_bulk_request_tells_its_progress(
    client: FlaskClient,
    worker: list[int],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr("grounding.web.submission.PROGRESS_SECONDS", 0)
    predict(client, 4)
    assert "tasks done" not in caplog.text
    predict(client, 5, 6)
    assert "of 2 tasks done" in caplog.text
