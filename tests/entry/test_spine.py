"""The whole way for real: HTTP, Valkey, RQ, a worker process and the shapes checkpoint."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from benchmarks.accuracy.shapes import Scores, config, measure
from benchmarks.accuracy.trials import Trial, trial
from grounding.demo.backend import BackendClient, data_uri, free_port, local_backend
from tests.faults.rig import until
from tools.shapes.scenes import encode, scene

PICTURES = 40
ROOM_FOR_CHANCE = 0.07
"""Forty pictures scatter more than the three hundred of `make accuracy`."""


@pytest.fixture(scope="module")
def backend() -> Iterator[BackendClient]:
    """Everything, started as `make serve` starts it."""
    dead = f"http://127.0.0.1:{free_port()}"
    with local_backend(model="", allowed_origins=frozenset({dead})) as running:
        running.dead_host = dead  # type: ignore[attr-defined]
        running.wait_ready(lambda _: None)
        yield running


@pytest.fixture(scope="module")
def scores(backend: BackendClient) -> Scores:
    trials = [trial(70_000_000 + n) for n in range(PICTURES)]
    measured = Scores()
    for name in sorted({name for one in trials for name in (one.present.name, one.absent)}):
        measure(backend, name, trials, measured)
    return measured


def share(flags: list[bool]) -> float:
    return sum(flags) / len(flags)


def test_boxes_are_where_the_truth_is_in_all_orientations(scores: Scores) -> None:
    assert len(scores.ious) == PICTURES
    assert sum(scores.ious) / PICTURES >= 0.75 - ROOM_FOR_CHANCE
    assert share([iou > 0.5 for iou in scores.ious]) >= 0.85 - ROOM_FOR_CHANCE


def test_points_are_inside_their_things(scores: Scores) -> None:
    assert share(scores.inside) >= 0.85 - ROOM_FOR_CHANCE


def test_what_is_not_there_is_answered_with_an_empty_prediction(scores: Scores) -> None:
    assert share(scores.empty) >= 0.90 - ROOM_FOR_CHANCE


def test_the_worker_of_this_machine_reads_the_sample_pictures(backend: BackendClient) -> None:
    """Though it reads nothing else from a private address that nobody has opened."""
    port = backend.url.rpartition(":")[2]
    images = [f"http://{host}:{port}/examples/shapes-1.png" for host in ("localhost", "127.0.0.1")]
    tasks = [task(n, image) for n, image in enumerate(images, 1)]
    for entry in backend.predict(tasks, config("yellow star")):
        assert entry["result"]


def task(number: int, image: object) -> dict[str, Any]:
    return {"id": number, "data": {"image": image}}


def good(number: int) -> dict[str, Any]:
    return task(number, data_uri(encode(scene(number).draw(), "PNG"), ".png"))


BAD_IMAGES = {
    "no picture": "data:image/png;base64,aGVsbG8=",
    "no base64": "data:image/png;base64,%%%",
    "forbidden address": "http://169.254.169.254/latest/meta-data",
    "file": "file:///etc/passwd",
    "list": ["a.png", "b.png"],
    "null": None,
    "upload without a Label Studio": "/data/upload/1/a.png",
}


def test_bad_pictures_and_a_dead_host_harm_no_other_task(backend: BackendClient) -> None:
    bad = [*BAD_IMAGES.values(), f"{backend.dead_host}/a.png"]  # type: ignore[attr-defined]
    tasks = [task(n, image) for n, image in enumerate(bad)]
    pairs = zip(tasks, map(good, range(100, 100 + len(bad))), strict=True)
    mixed = [one for pair in pairs for one in pair]
    entries = backend.predict(mixed, config("red circle"))
    assert entries[0::2] == [[]] * len(bad)
    assert all(entry["model_version"] for entry in entries[1::2])


def test_regions_are_what_the_page_needs(backend: BackendClient) -> None:
    asked: Trial = trial(70_000_000)
    both = (
        '<View><Image name="image" value="$image"/>'
        '<Rectangle name="rect" toName="image"/><KeyPoint name="spot" toName="image"/>'
        f'<Labels name="tag" toName="image"><Label value="{asked.present.name}"/></Labels></View>'
    )
    (entry,) = backend.predict([asked.task] * 2, both)[:1]
    assert entry["model_version"] == backend.setup(both)
    kinds = {region["type"] for region in entry["result"]}
    assert kinds <= {"rectangle", "keypoint", "labels"}
    for region in entry["result"]:
        assert len(region["id"]) >= 10
        size = (region["original_width"], region["original_height"], region["image_rotation"])
        assert size == (asked.picture.width, asked.picture.height, 0)
        assert region["to_name"] == "image"
        assert "width" in region["value"]


def test_a_killed_worker_loses_nothing() -> None:
    """Its jobs lapse, its successor takes them, and the request that waits gets them."""
    with local_backend(model="", lease_ttl=2) as backend:
        backend.wait_ready(lambda _: None)
        worker = worker_pid(backend)
        entries: list[Any] = []
        tasks = [good(n) for n in range(200, 224)]
        asking = threading.Thread(
            target=lambda: entries.extend(backend.predict(tasks, config("blue star")))
        )
        asking.start()
        time.sleep(0.6)
        os.kill(worker, signal.SIGKILL)
        asking.join(90)
        assert len(entries) == len(tasks)
        assert all(entries)
        # The record of the dead one stays until it expires.
        until(lambda: worker_pid(backend) != worker, 30)


def worker_pid(backend: BackendClient) -> int:
    workers = httpx.get(f"{backend.url}/ready", trust_env=False).json()["workers"]
    return int(workers[-1]["worker"].split("-")[-2])
