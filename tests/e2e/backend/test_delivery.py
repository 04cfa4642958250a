"""A click that outlasts its deadline, against the real Label Studio: one prediction a task, once.

The model is scripted, since it must be slow in a known way; all else is the product.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.e2e.client import Client
from tests.faults.rig import CONFIG, Rig, Web, rig, until
from tests.faults.scripted import picture

pytestmark = pytest.mark.e2e

TASKS = 300
BATCH_SECONDS = 0.6
"""Two workers with batches of eight: some eleven seconds for all."""
DEADLINE = 5
DELIVERED_WITHIN_S = 240
OPENED_WITHIN_S = 10
ADDED_AT_MOST_S = 1.5
PROBES = 3
FEW = 20

Tables = dict[str, list[tuple[str, str]]]


@pytest.fixture(scope="module")
def slow(output: Path, studio: Client) -> Iterator[Rig]:
    """Two slow workers that can deliver to the real Label Studio."""
    settings = {
        "bulk_deadline": DEADLINE,
        "log_level": "info",
        "label_studio_url": studio.url,
        "label_studio_api_key": studio.personal_access_token(),
    }
    folder = output / "slow"
    folder.mkdir()
    with rig(folder, seconds=BATCH_SECONDS, **settings) as running:
        yield running


@pytest.fixture(scope="module")
def web(slow: Rig) -> Web:
    return slow.web()


def project(
    studio: Client, title: str, count: int, web: Web | None = None
) -> tuple[int, list[int]]:
    """Return a new project and its tasks, with our backend connected unless there is none."""
    number = studio.create_project(title, CONFIG)
    if web is not None:
        studio.connect(number, web.url)
    return number, studio.import_tasks(number, [{"image": picture(n)} for n in range(count)])


def seconds_to_open(studio: Client, task: int) -> float:
    begun = time.monotonic()
    studio.open_task(task)
    return time.monotonic() - begun


def test_one_click_over_the_deadline_ends_with_exactly_one_prediction_each(
    studio: Client, slow: Rig, web: Web, figures: Tables
) -> None:
    """A worker is killed on the way, and annotators open tasks."""
    number, tasks = project(studio, "over the deadline", TASKS, web)
    with ThreadPoolExecutor(1) as pool:
        begun = time.monotonic()
        click = pool.submit(studio.retrieve_predictions, number)
        until(lambda: len(slow.calls()) > TASKS // 8, 60)
        slow.workers[0].kill()
        opened = [seconds_to_open(studio, task) for task in tasks[-PROBES:]]
        clicked = not click.done()
        click.result(120)
    answered = time.monotonic() - begun
    at_once = len(studio.predictions(number))
    studio.wait_for_predictions(number, TASKS, DELIVERED_WITHIN_S)
    whole = time.monotonic() - begun
    until(lambda: not undelivered(web), 60)
    saved = studio.predictions(number)
    figures["one click on 300 tasks, a worker killed"] = [
        ("saved when Label Studio said so", f"{at_once}"),
        ("seconds until it said so", f"{answered:.1f}"),
        ("seconds until all were saved", f"{whole:.1f}"),
        ("predictions in the end", f"{len(saved)}"),
        *((f"of which {how}", f"{count}") for how, count in deliveries(web, number).items()),
        ("slowest task opened meanwhile, s", f"{max(opened):.1f}"),
    ]
    assert Counter(found.task for found in saved) == dict.fromkeys(tasks, 1)
    assert at_once < TASKS, "the deadline did not fall in the middle"
    assert clicked, "no task was opened during the run"
    assert max(opened) < OPENED_WITHIN_S
    slow.settle(10)


def test_opening_a_task_takes_little_longer_than_without_a_backend(
    studio: Client, slow: Rig, web: Web, figures: Tables
) -> None:
    """On an idle backend; the model's own time is part of it."""
    _, plain = project(studio, "no backend", PROBES)
    number, tasks = project(studio, "idle backend", PROBES, web)
    without = [seconds_to_open(studio, task) for task in plain]
    having = [seconds_to_open(studio, task) for task in tasks]
    figures["opening a task"] = [
        ("seconds without a backend", f"{min(without):.2f} to {max(without):.2f}"),
        ("seconds with an idle one", f"{min(having):.2f} to {max(having):.2f}"),
        ("of which the model", f"{BATCH_SECONDS:.2f}"),
    ]
    assert max(having) - min(without) < ADDED_AT_MOST_S
    assert len(studio.predictions(number)) == PROBES, "it was the backend that was opened"


def test_a_task_deleted_before_its_delivery_costs_no_other(
    studio: Client, slow: Rig, web: Web
) -> None:
    """Label Studio refuses the whole batch for it."""
    number, tasks = project(studio, "deleted meanwhile", FEW, web)
    workers = slow.workers
    for part in workers:
        part.process.send_signal(signal.SIGSTOP)
    studio.retrieve_predictions(number)
    studio.delete_task(tasks[5])
    for part in workers:
        part.process.send_signal(signal.SIGCONT)
    studio.wait_for_predictions(number, FEW - 1, DELIVERED_WITHIN_S)
    until(lambda: not undelivered(web), 60)
    left = [task for task in tasks if task != tasks[5]]
    saved = Counter(found.task for found in studio.predictions(number))
    assert saved == dict.fromkeys(left, 1)


def undelivered(web: Web) -> int:
    return sum(int(shown["undelivered"]) for shown in web.get("/jobs").json()["projects"])


def deliveries(web: Web, number: int) -> dict[str, int]:
    """Return how the debts of project `number` were paid."""
    projects = web.get("/jobs").json()["projects"]
    (shown,) = (one for one in projects if one["project"].startswith(f"{number}."))
    return dict(shown["deliveries"])
