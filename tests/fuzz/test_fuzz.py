"""`make fuzz`: whatever comes in, no crash and no traceback; FUZZ_MINUTES for all targets together.

Each target takes Hypothesis's inputs in rounds, each of another seed, until its time is over.
"""

from __future__ import annotations

import io
import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from grounding.errors import ConfigError, GroundingError, ImageError, RequestError
from grounding.geometry import Frame
from grounding.labelstudio.config.parse import parse
from grounding.labelstudio.interactive.context import read_request
from grounding.labelstudio.interactive.existing import read_page
from grounding.queries import Locate, Shape
from grounding.qwen.queries import read_answer
from tests.media.pictures import upright
from tests.serving import CONFIG, TALKING, Start

TARGETS = 6
SECONDS = float(os.environ.get("FUZZ_MINUTES", "10")) * 60 / TARGETS
ROUND = 200
FRAME = Frame("model", 1000, 800)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(10**17, 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=30)
    | st.sampled_from(["$image", "\ud800", "\0", "<View/>", "__class__", "1.1", "a" * 5000])
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=20,
)
DEEP = st.builds(
    lambda pair, depth: pair[0] * depth + "1" + pair[1] * depth,
    st.sampled_from([("[", "]"), ('{"a":', "}"), ("[[", "]]"), ("[", "")]),
    st.sampled_from([50, 99, 101, 490, 980, 1010, 5000, 50_000]),
)


@pytest.fixture(autouse=True)
def _no_traceback(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Let no record with a traceback be logged."""
    yield
    faults = [record.getMessage() for record in caplog.records if record.exc_info]
    assert faults == []


def fuzz(target: Callable[[Any], None], inputs: st.SearchStrategy[Any]) -> None:
    """Call `target` with inputs until the time is over; print how many there were."""
    logging.getLogger("grounding").setLevel(logging.ERROR)
    until, count = time.monotonic() + SECONDS, 0
    while time.monotonic() < until:

        @seed(count)
        @settings(
            max_examples=ROUND, deadline=None, database=None, suppress_health_check=[*HealthCheck]
        )
        @given(inputs)
        def one_round(value: Any) -> None:
            target(value)

        one_round()
        count += ROUND
    print(f"{count} inputs in {SECONDS:.0f} s")


def nearly(whole: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Return objects that are like `whole`, but for some of their values."""
    return st.fixed_dictionaries({}, optional={n: st.just(v) | JSON for n, v in whole.items()})


TASK = nearly({"id": 1, "data": {"image": "a.png"}, "annotations": [], "drafts": []})
RESULT = nearly(
    {
        "id": "a",
        "type": "rectanglelabels",
        "from_name": "box",
        "to_name": "image",
        "value": {"x": 1, "y": 2, "width": 3, "height": 4, "rectanglelabels": ["cat"]},
        "is_positive": True,
        "original_width": 10,
    }
)
TYPED = nearly(
    {"type": "textarea", "from_name": "prompt", "to_name": "image", "value": {"text": ["cat"]}}
)
CONTEXT = st.fixed_dictionaries({"result": st.lists(RESULT | TYPED | JSON, max_size=3)}) | JSON
BODY = st.builds(
    lambda body, tasks, context: {
        **body,
        **({"tasks": tasks} if tasks is not None else {}),
        "params": {"context": context},
    },
    nearly({"project": "1.1", "label_config": TALKING, "extra": 1}),
    st.none() | st.lists(TASK | JSON, max_size=3),
    CONTEXT,
)
RAW = (
    st.builds(lambda body: json.dumps(body).encode(), BODY | JSON)
    | st.binary(max_size=200)
    | DEEP.map(str.encode)
    | st.builds(
        lambda deep, config: (
            json.dumps({"tasks": [{"id": 1, "data": {"image": "HERE"}}], "label_config": config})
            .replace('"HERE"', deep)
            .encode()
        ),
        DEEP,
        st.sampled_from([CONFIG, TALKING]),
    )
)


@pytest.fixture
def client(env: pytest.MonkeyPatch, start: Start) -> FlaskClient:
    for name in ("INTERACTIVE", "BULK", "PAGE"):
        env.setenv(f"GROUNDING_{name}_DEADLINE", "0.001")
    return start()


def checked(client: FlaskClient, path: str) -> Callable[[bytes], None]:
    """Return what posts bytes to `path` and looks at the answer."""

    def post(raw: bytes) -> None:
        answer = client.post(path, data=raw, content_type="application/json")
        assert answer.status_code < 500, answer.text
        assert "Traceback" not in answer.text
        shape = {"results"} if path == "/predict" else {"model_version"}
        assert set(answer.json or {}) == (shape if answer.status_code == 200 else {"error"})

    return post


@pytest.mark.fuzz
def test_predict(client: FlaskClient) -> None:
    fuzz(checked(client, "/predict"), RAW)


@pytest.mark.fuzz
def test_setup(client: FlaskClient) -> None:
    body = nearly({"project": "1.1", "schema": CONFIG, "extra_params": {"max_regions": 3}})
    deep = st.builds(
        lambda text: b'{"project": "1", "schema": "<View/>", "extra_params": ' + text + b"}",
        DEEP.map(str.encode),
    )
    fuzz(checked(client, "/setup"), st.builds(lambda b: json.dumps(b).encode(), body) | RAW | deep)


PIECES = st.sampled_from(
    [
        *[
            "<View>",
            "</View>",
            "<Image",
            "name='i'",
            "value='$i'/>",
            "<Image/>",
            "<Label",
            "value='a'/>",
            "</RectangleLabels>",
        ],
        "<RectangleLabels name='b' toName='i'>",
        "<Choices name='c' toName='i'>",
        "</Choices>",
        "<TextArea name='t' toName='i'/>",
        "<!DOCTYPE x>",
        "<?xml version='1.0' encoding='utf-16'?>",
        "<Label value='$x'/>",
        " model_prompt='x'",
        "&#0;",
        "&#x110000;",
        "]]>",
        "<a>" * 200,
    ]
)


@pytest.mark.fuzz
def test_configs() -> None:
    def read(xml: str) -> None:
        with suppress(ConfigError):
            parse(xml)

    fuzz(read, st.lists(PIECES | st.text(max_size=10), max_size=30).map("".join))


WORDS = [
    "[",
    "]",
    "{",
    "}",
    ",",
    '"bbox_2d":',
    '"label":"a"',
    "[10,20,30,40]",
    "[0.1,0.2,0.3,0.4]",
    "```json",
    "```",
    "1e400",
    "-0.0",
    "<|box_start|>",
    "(1,2)",
    "None",
    "'",
    '"',
    "\\",
    "<think>",
    "</think>",
    "x1=",
    "<points",
    "/>",
]
ANSWERS = st.lists(
    st.sampled_from([*WORDS, "\n", "[" * 5000, "9" * 5000]) | st.text(max_size=10), max_size=40
).map("".join)


@pytest.mark.fuzz
def test_answers() -> None:
    def read(text: str) -> None:
        for shape in (Shape.BOX, Shape.POINT):
            for complete in (True, False):
                query = Locate(shape, ("a",))
                answer = read_answer(query, text, FRAME, complete=complete)
                json.dumps([repr(one) for one in answer.findings])

    fuzz(read, ANSWERS)


def pictures() -> list[bytes]:
    """Return small pictures of each format that is read."""
    found = []
    for mode, kind in (
        ("RGB", "JPEG"),
        ("RGBA", "PNG"),
        ("P", "GIF"),
        ("RGB", "WEBP"),
        ("1", "BMP"),
    ):
        out = io.BytesIO()
        Image.new(mode, (9, 7)).save(out, kind)
        found.append(out.getvalue())
    return found


@pytest.mark.fuzz
def test_pictures() -> None:
    def change(raw: bytes, places: list[tuple[int, int]], cut: int) -> bytes:
        changed = bytearray(raw)
        for at, value in places:
            changed[at % len(raw)] = value
        return bytes(changed[: len(raw) - cut % len(raw)])

    def decode(raw: bytes) -> None:
        with suppress(ImageError):
            assert upright(raw, 10**6).mode == "RGB"

    places = st.lists(st.tuples(st.integers(0, 10**4), st.integers(0, 255)), max_size=6)
    cuts = st.just(0) | st.integers(0, 10**4)
    fuzz(decode, st.builds(change, st.sampled_from(pictures()), places, cuts))


@pytest.mark.fuzz
def test_contexts() -> None:
    config = parse(TALKING)

    def read(given: tuple[Any, Any]) -> None:
        context, task = given
        try:
            request = read_request(context, config)
        except (RequestError, GroundingError):
            return
        read_page(task if isinstance(task, dict) else {}, request.results, "v")

    fuzz(read, st.tuples(CONTEXT, TASK | JSON))
