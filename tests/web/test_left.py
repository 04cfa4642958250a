"""What happens to a question whose caller hangs up, at a real web server and a real worker."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator, Mapping
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import pytest

from tests.faults.rig import CONFIG, Rig, Web, number_of_each, rig, task, typed, until
from tests.serving import said
from tests.web.test_waiting import TALKING

SECONDS = 3.0
"""What the model takes for a batch."""
NOTICED = 2.0
"""Seconds from the hang-up within which a question has ended, on a busy machine."""


@pytest.fixture
def deployment(tmp_path: Path) -> Iterator[Rig]:
    with rig(tmp_path, workers=1, seconds=SECONDS) as running:
        yield running


def call(web: Web, *numbers: int, user: str = "", **changes: Any) -> socket.socket:
    """Send a predict request, and return the connection on which its answer would come."""
    tasks: list[Mapping[str, Any]] = [task(number) for number in numbers]
    if user:
        tasks = [{**one, "drafts": [{"user": user, "result": []}]} for one in tasks]
    asked = {"tasks": tasks, "project": "1.1", "label_config": CONFIG, "params": {}} | changes
    body = json.dumps(asked).encode()
    host, port = web.url.removeprefix("http://").split(":")
    head = f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    return connection


def ask(web: Web, number: int, user: str = "") -> socket.socket:
    """Send what an annotator asks."""
    return call(web, number, user=user, label_config=TALKING, params=typed())


def answer(connection: socket.socket) -> Any:
    """Return the entries that come on a connection."""
    with connection:
        response = HTTPResponse(connection)
        response.begin()
        return json.load(response)["results"]


def withdrawn(deployment: Rig) -> int:
    """Return how many questions were dropped since nobody waits for them."""
    return deployment.store.read_totals()[0].get("failed:nobody_waits", 0)


@pytest.mark.parametrize("runs", [True, False], ids=["it runs", "it waits for a slot"])
def test_the_question_of_an_annotator_who_hangs_up_ends_at_once(
    deployment: Rig, runs: bool
) -> None:
    web = deployment.web(interactive_deadline=60)
    if not runs:
        deployment.workers[0].terminate()
    connection = ask(web, 1)
    until(lambda: len(deployment.store.leased()) == runs and deployment.pending() == 1, 10)
    time.sleep(0.3)
    begun = time.monotonic()
    connection.close()
    until(lambda: withdrawn(deployment) == 1, NOTICED)
    seconds = time.monotonic() - begun
    print(f"a question ended {seconds:.2f} s after its caller hung up")
    assert deployment.pending() == 0
    deployment.check_counters()


def test_the_slot_of_a_question_that_was_left_takes_the_next_one(deployment: Rig) -> None:
    web = deployment.web()
    deployment.workers[0].terminate()
    deployment.worker(interactive_slots=1)
    deployment.workers_ready(1)
    connection = ask(web, 1)
    until(deployment.store.leased, 10)
    waiting = ask(web, 2)
    until(lambda: deployment.pending() == 2, 10)
    (first,) = deployment.store.leased()
    begun = time.monotonic()
    connection.close()
    until(lambda: set(deployment.store.leased()) - {first}, NOTICED)
    print(f"its slot had the next question after {time.monotonic() - begun:.2f} s")
    assert [said(entry) for entry in answer(waiting)] == [["1 found"]]


@pytest.mark.parametrize("numbers", [(3, 4), (3,)], ids=["bulk", "page"])
def test_what_label_studio_asked_and_left_is_worked_on_and_kept(
    deployment: Rig, numbers: tuple[int, ...]
) -> None:
    """Label Studio hangs up after 100 seconds, and gets what comes later by delivery."""
    web = deployment.web()
    connection = call(web, *numbers)
    until(lambda: deployment.pending() == len(numbers), 10)
    connection.close()
    until(lambda: not deployment.pending(), 4 * SECONDS)
    assert withdrawn(deployment) == 0
    assert web.get("/jobs").json()["projects"][0]["undelivered"] == len(numbers)
    assert number_of_each(web.predict([task(n) for n in numbers])) == list(numbers)


@pytest.mark.parametrize("users", [("a@b.co", "c@d.co"), ("a@b.co", "a@b.co"), ("", "")])
def test_who_asks_the_same_and_waits_is_answered(deployment: Rig, users: tuple[str, str]) -> None:
    """Of another annotator, of the same one in another page, and of two whose names are unknown."""
    web = deployment.web()
    leaving = ask(web, 5, users[0])
    until(deployment.store.leased, 10)
    waiting = ask(web, 5, users[1])
    time.sleep(0.3)
    leaving.close()
    assert [said(entry) for entry in answer(waiting)] == [["1 found"]]
    assert withdrawn(deployment) == 0
    assert deployment.calls()[5] == 1
