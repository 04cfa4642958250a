"""`prelabel` against our real web server and queue, and a Label Studio that keeps what it gets."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from werkzeug.serving import make_server

from grounding.web.app import create_app
from tests import loopback
from tests.cli.running import Commands
from tests.cli.studio import Studio
from tests.labelstudio.configs import BOXES, view

WORDS = ("prelabel", "--project", 7, "--json")


@contextmanager
def serving(env: pytest.MonkeyPatch, studio: Studio) -> Iterator[dict[str, str]]:
    """Run a web server around the block; yields the settings that lead to it."""
    studio.label_config = view(BOXES)
    for name, value in {**studio.environment, "GROUNDING_BULK_DEADLINE": "1"}.items():
        env.setenv(name, value)
    app = create_app()
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield {"PORT": str(server.server_port)}
    server.shutdown()
    thread.join()
    server.server_close()
    app.extensions["grounding"].close()


@pytest.fixture
def backend(env: pytest.MonkeyPatch, worker: list[int], studio: Studio) -> Iterator[dict[str, str]]:
    """The settings of a running web server; tasks from 4 on have no region."""
    env.setattr("grounding.web.submission.OUTBOX_SECONDS", 0.5)
    env.setattr("grounding.cli.prelabel.POLL_SECONDS", 0.2)
    with serving(env, studio) as settings:
        yield settings


@pytest.fixture
def small_backend(
    env: pytest.MonkeyPatch, worker: list[int], studio: Studio
) -> Iterator[dict[str, str]]:
    """The same of one that takes two unfinished tasks of a project, and 4 KiB in a request."""
    env.setenv("GROUNDING_MAX_PENDING", "2")
    env.setenv("GROUNDING_MAX_REQUEST_BYTES", "4096")
    with serving(env, studio) as settings:
        yield settings


@pytest.fixture
def idle_backend(env: pytest.MonkeyPatch, studio: Studio) -> Iterator[dict[str, str]]:
    """The same of one that no worker works for."""
    with serving(env, studio) as settings:
        yield settings


def tasks(*numbers: int) -> list[dict[str, Any]]:
    return [
        {"id": n, "data": {"image": f"http://h/{n}.png"}, "annotations": [], "predictions": []}
        for n in numbers
    ]


def counts(studio: Studio) -> list[int]:
    return [len(task["predictions"]) for task in studio.tasks]


def run(command: Commands, backend: dict[str, str], *more: object) -> tuple[int, dict[str, Any]]:
    done = command(*WORDS, *more, **backend)
    return done.status, json.loads(done.out)


def test_every_task_gets_one_prediction_and_a_second_run_asks_for_none(
    command: Commands, backend: dict[str, str], studio: Studio, worker: list[int]
) -> None:
    studio.tasks = tasks(*range(3, 253))
    status, found = run(command, backend)
    assert (status, found["stored"] + found["late"]) == (0, 250)
    assert counts(studio) == [1] * 250
    assert studio.tasks[0]["predictions"][0]["model_version"] == found["version"]
    worker.clear()
    status, found = run(command, backend)
    assert (status, found["had"], found["wanted"], worker) == (0, 250, 0, [])


def test_what_comes_late_is_delivered_once_and_waited_for(
    command: Commands, backend: dict[str, str], studio: Studio
) -> None:
    studio.tasks = tasks(2, 3, 4)
    status, found = run(command, backend)
    assert (status, found["stored"], found["late"]) == (0, 2, 1)
    assert counts(studio) == [1, 1, 1]


def test_a_task_that_fails_is_named_with_its_reason_and_status_1(
    command: Commands, backend: dict[str, str], studio: Studio
) -> None:
    studio.tasks = tasks(1, 3)
    status, found = run(command, backend)
    assert (status, found["stored"], counts(studio)) == (1, 1, [0, 1])
    assert found["failed"] == [
        {"task": 1, "code": "image_not_found", "reason": found["failed"][0]["reason"]}
    ]
    assert "the picture is not there" in found["failed"][0]["reason"]


def test_only_the_tasks_that_are_wanted_are_asked_for(
    command: Commands, backend: dict[str, str], studio: Studio, worker: list[int]
) -> None:
    studio.tasks = tasks(3, 4, 5, 6)
    studio.tasks[0]["annotations"] = [{"id": 1, "result": []}]
    _, found = run(command, backend, "--unannotated", "--limit", 2)
    assert (found["tasks"], sorted(worker)) == (3, [4, 5])


def test_a_dry_run_asks_for_nothing(
    command: Commands, backend: dict[str, str], studio: Studio, worker: list[int]
) -> None:
    studio.tasks = tasks(3, 4)
    status, found = run(command, backend, "--dry-run")
    assert (status, found["wanted"], worker, counts(studio)) == (0, 2, [], [0, 0])


def test_a_backend_that_is_away_is_told_with_the_cure(command: Commands, studio: Studio) -> None:
    studio.label_config = view(BOXES)
    done = command(*WORDS, "--backend", "http://127.0.0.1:1", **studio.environment)
    assert (done.status, "grounding up" in done.err) == (1, True)


def test_a_password_that_is_missing_is_told_with_the_cure(
    env: pytest.MonkeyPatch, command: Commands, studio: Studio
) -> None:
    env.setenv("BASIC_AUTH_USER", "me")
    env.setenv("BASIC_AUTH_PASS", "secret")
    with serving(env, studio) as backend:
        done = command(*WORDS, **backend, BASIC_AUTH_USER="", BASIC_AUTH_PASS="")
    assert (done.status, "401 user and password are needed" in done.err) == (1, True)
    assert "Set them for this command" in done.err


def test_a_refused_config_is_told(
    command: Commands, backend: dict[str, str], studio: Studio
) -> None:
    studio.label_config = "<View"
    done = command(*WORDS, **backend)
    assert (done.status, "not XML" in done.err) == (1, True)


def test_it_asks_for_no_more_than_the_queue_takes(
    command: Commands, small_backend: dict[str, str], studio: Studio
) -> None:
    studio.tasks = tasks(2, *range(12, 20))
    status, found = run(command, small_backend)
    assert (status, found["stored"] + found["late"]) == (0, 9)
    assert counts(studio) == [1] * 9


def test_a_task_too_large_for_a_request_costs_its_own_answer(
    command: Commands, small_backend: dict[str, str], studio: Studio
) -> None:
    studio.tasks = tasks(*range(3, 9))
    studio.tasks[1]["data"]["note"] = "x" * 5000
    for one in studio.tasks[2:]:
        one["data"]["note"] = "x" * 1500
    status, found = run(command, small_backend)
    assert (status, counts(studio)) == (1, [1, 0, 1, 1, 1, 1])
    assert [one["task"] for one in found["failed"]] == [4]
    assert "413" in found["failed"][0]["reason"]


def test_tasks_that_somebody_cancels_are_counted_and_a_missing_worker_is_named(
    command: Commands, idle_backend: dict[str, str], studio: Studio
) -> None:
    studio.tasks = tasks(3, 4, 5)
    words = [sys.executable, "-m", "grounding", "prelabel", "--project", "7"]
    with subprocess.Popen(
        words, env={**os.environ, **idle_backend}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        dropped: list[int] = []
        until = time.monotonic() + 30
        while sum(dropped) < 3 and time.monotonic() < until:
            done = command(*WORDS, "--cancel", **idle_backend)
            assert done.status == 0
            dropped.append(json.loads(done.out)["cancelled"])
        out, err = process.communicate(timeout=20)
    assert (process.returncode, sum(dropped)) == (1, 3)
    assert b"3 tasks have none" in out
    assert b"no worker is running" in err


def test_who_ends_it_reads_how_to_drop_what_waits(
    idle_backend: dict[str, str], studio: Studio
) -> None:
    url = f"http://127.0.0.1:{idle_backend['PORT']}"
    studio.tasks = tasks(3)
    with subprocess.Popen(
        [sys.executable, "-m", "grounding", "prelabel", "--project", "7", "--backend", url],
        env={**os.environ, "PORT": "1"},
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        assert process.stderr is not None
        assert b"wait until there is a worker" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=5)
    assert process.returncode == 1
    assert f"prelabel --project 7 --backend {url} --cancel".encode() in err
    assert b"Traceback" not in err


@pytest.mark.parametrize("other", ["--dry-run", "--unannotated", "--limit=3"])
def test_cancel_is_given_alone(
    command: Commands, idle_backend: dict[str, str], studio: Studio, other: str
) -> None:
    done = command(*WORDS, "--cancel", other, **idle_backend)
    assert (done.status, "give it alone" in done.err, studio.asked) == (2, True, [])


def test_cancel_says_how_many_it_dropped(
    command: Commands, backend: dict[str, str], studio: Studio, worker: list[int]
) -> None:
    studio.tasks = tasks(3)
    done = command("prelabel", "--project", 7, "--cancel", **backend)
    assert (done.status, done.out) == (0, "Dropped 0 waiting tasks of project 7, Cats.\n")
    assert (worker, counts(studio)) == ([], [0])


OTHERS = [(200, body) for body in (b"<html>", b"[1]", b"{}", b'{"model_version": 3}', b"")]


@pytest.mark.parametrize(("status", "body"), [*OTHERS, (404, b'{"detail": "Not found."}')])
def test_what_is_not_the_backend_is_told_with_the_cure(
    command: Commands, studio: Studio, status: int, body: bytes
) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    studio.label_config, studio.tasks = view(BOXES), tasks(3)
    with loopback.serving(Other) as url:
        done = command(*WORDS, "--backend", url, **studio.environment)
    assert (done.status, "is not the backend" in done.err) == (1, True)
    assert "Traceback" not in done.err


@pytest.mark.parametrize("address", ["http://localhost:abc", "http://[::1", "localhost:9090"])
def test_an_address_that_is_none_is_told(command: Commands, studio: Studio, address: str) -> None:
    done = command(*WORDS, "--backend", address, **studio.environment)
    assert (done.status, "--backend" in done.err) == (2, True)


def test_ctrl_c_ends_it_within_5_seconds_even_while_the_backend_is_silent(studio: Studio) -> None:
    studio.label_config = view(BOXES)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        words = [*map(str, WORDS), "--backend", f"http://127.0.0.1:{silent.getsockname()[1]}"]
        process = subprocess.Popen(
            [sys.executable, "-m", "grounding", *words],
            env=os.environ | studio.environment,
            stderr=subprocess.PIPE,
            # Tests that run in a shell's background inherit that it is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        )
        connection, _ = silent.accept()
        with connection:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=5)
    assert process.returncode == 1
    assert b"Traceback" not in err
