"""Boxes that move: each frame is asked about, and the page shows them where they are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from PIL import Image

from grounding.engines.base import Completion, ModelRequest
from grounding.errors import AnswerError, RequestError
from grounding.geometry import PERCENT, Box, image_frame, seen_at
from grounding.labelstudio.config.parse import parse
from grounding.labelstudio.interactive.context import read_request
from grounding.testing import ScriptedEngine, answer_each, make_completion
from tests.films.test_predicting import ask
from tests.films.truth import keys_of, overlaps
from tests.films.watching import uri
from tools.shapes.films import Film, Way, film

MOVING = film(3, ("red circle", "blue square"), seconds=6)
RATE = 30
VIDEO = f'<Video name="video" value="$video" frameRate="{RATE}"/>'
LABELS = '<Labels name="what" toName="video">{}</Labels>'
NAMES = ("red circle", "blue square")
TAG = '<VideoRectangle name="box" toName="video"/>'


def config(*names: str, tag: str = TAG) -> str:
    labels = "".join(f'<Label value="{name}"/>' for name in names or NAMES)
    return VIDEO + LABELS.format(labels) + tag


def box_of(picture: Image.Image, colour: str) -> tuple[int, int, int, int] | None:
    """Return the box of a colour in a frame: red and blue are told apart by their channels."""
    r, _, b = picture.convert("RGB").split()
    strong, weak = (r, b) if colour == "red" else (b, r)
    mask = Image.eval(strong, lambda v: 255 * (v > 150))
    off = Image.eval(weak, lambda v: 255 * (v > 130))
    mask.paste(0, mask=off)
    return mask.getbbox()


def watch(request: ModelRequest) -> Completion:
    """Answer where the things that are asked for are in the only frame."""
    (view,) = request.views
    found = []
    for name in NAMES:
        if f"'{name}'" in request.text and (box := box_of(view.pixels, name.split()[0])):
            found.append({"bbox_2d": list(box), "label": name})
    return make_completion(json.dumps(found), -0.1)


@pytest.fixture
def engine() -> Iterator[ScriptedEngine]:
    made = ScriptedEngine(answer_each(watch))
    yield made
    made.close()


def test_a_thing_is_one_region_whose_boxes_lie_on_it_and_end_where_it_is_away(
    engine: ScriptedEngine,
) -> None:
    found = ask(engine, config(), uri(MOVING.encode()))
    assert [r["value"]["labels"] for r in found.prediction["result"]] == [[n] for n in NAMES]
    assert min(overlaps(found.prediction["result"], MOVING, RATE).values()) > 0.8
    circle, square = found.prediction["result"]
    assert [key.enabled for key in keys_of(circle)][-1:] == [False]
    ends = [key for key in keys_of(square) if not key.enabled]
    assert len(ends) == 2, "where it leaves, and at the end"
    away = [frame / MOVING.fps for frame in (60, 97)]
    assert seen_at(keys_of(square), round(sum(away) / 2 * RATE)) is None


def test_all_that_the_page_needs_is_there(engine: ScriptedEngine) -> None:
    region = ask(engine, config(), uri(MOVING.encode())).prediction["result"][0]
    value = region["value"]
    assert (region["type"], region["from_name"], region["to_name"]) == (
        "videorectangle", "box", "video"
    )  # fmt: skip
    assert value["framesCount"] == 6 * RATE
    assert value["duration"] == pytest.approx(6)
    frames = [key["frame"] for key in value["sequence"]]
    assert frames == sorted(set(frames))
    assert frames[0] >= 1
    assert frames[-1] <= value["framesCount"]
    for key in value["sequence"]:
        assert type(key["frame"]) is int
        assert key["time"] == pytest.approx(key["frame"] / RATE)
        assert key["rotation"] == 0
        assert key["x"] + key["width"] <= 100
    assert 0 < region["score"] < 1


def test_fewer_key_frames_than_frames_are_written(engine: ScriptedEngine) -> None:
    straight = Film((Way("red", "circle", 150, (0, 60), (1.2, 0), ((0, 150),)),), 150)
    (region,) = ask(engine, config("red circle"), uri(straight.encode())).prediction["result"]
    assert len(engine.requests) == 12
    assert len(region["value"]["sequence"]) < 6


@pytest.mark.parametrize(("attributes", "frames"), [("", 12), ('model_fps="4"', 24),
                                                    ('model_max_frames="6"', 6)])  # fmt: skip
def test_the_step_is_settable(engine: ScriptedEngine, attributes: str, frames: int) -> None:
    tag = TAG.replace("/>", f" {attributes}/>")
    ask(engine, config("red circle", tag=tag), uri(MOVING.encode()))
    assert len(engine.requests) == frames


def test_each_frame_is_asked_about_by_itself_as_a_picture_is(engine: ScriptedEngine) -> None:
    ask(engine, config("red circle"), uri(MOVING.encode()))
    assert all(len(request.views) == 1 for request in engine.requests)
    assert len({request.text for request in engine.requests}) == 1
    assert "seconds" not in engine.requests[0].text


def scripted(says: Callable[[int], str]) -> ScriptedEngine:
    """Return an engine that answers by the number of the request."""
    asked = iter(range(1000))
    return ScriptedEngine(answer_each(lambda _: make_completion(says(next(asked)), -0.1)))


BOX = '[{"bbox_2d": [10, 10, 90, 90], "label": "red circle"}]'


@pytest.mark.parametrize(
    ("says", "ends"),
    [
        (lambda n: BOX, 1),
        (lambda n: "[]" if n in (4, 5) else BOX, 2),
        (lambda n: "Well." if n in (4, 8) else BOX, 2),
        (lambda n: BOX if n == 5 else "[]", 1),
    ],
)
def test_a_gap_is_closed_and_the_thing_that_comes_back_is_the_same(
    says: Callable[[int], str], ends: int
) -> None:
    engine = scripted(says)
    (region,) = ask(engine, config("red circle"), uri(MOVING.encode())).prediction["result"]
    engine.close()
    assert [key.enabled for key in keys_of(region)].count(False) == ends
    assert not keys_of(region)[-1].enabled


def test_nothing_in_any_frame_is_nothing_and_what_cannot_be_read_is_an_error() -> None:
    engine = scripted(lambda n: "[]")
    assert ask(engine, config("red circle"), uri(MOVING.encode())).prediction["result"] == []
    engine.close()
    engine = scripted(lambda n: "Well, well.")
    with pytest.raises(AnswerError):
        ask(engine, config("red circle"), uri(MOVING.encode()))
    engine.close()


def drawn(box: list[float], frame: int, label: str | None = "red circle") -> dict[str, Any]:
    """Return the context of a box that an annotator draws in a film, as the page sends it."""
    x, y, width, height = box
    key = {"frame": frame, "enabled": True, "rotation": 0, "time": frame / RATE}
    named = {"labels": [label]} if label else {}
    sequence = [{**key, "x": x, "y": y, "width": width, "height": height}]
    value = {"framesCount": 180, "duration": 6.0, "sequence": sequence, **named}
    return {
        "result": [
            {"id": "a", "type": "videorectangle", "from_name": "box", "to_name": "video",
             "value": value}
        ]
    }  # fmt: skip


def percent_box(frame: int, way: Way) -> list[float]:
    """Return the true box of a thing in a frame of the page, in percent, a little off."""
    truth = way.box(int((frame - 1) / RATE * MOVING.fps), MOVING.size)
    assert truth
    box = Box(*truth, image_frame(*MOVING.size)).to(PERCENT)
    return [box.x1 + 0.5, box.y1, box.width, box.height]


@pytest.mark.parametrize("label", ["red circle", None])
def test_a_key_frame_that_an_annotator_draws_starts_a_track(
    engine: ScriptedEngine, label: str | None
) -> None:
    circle = MOVING.ways[0]
    box = percent_box(91, circle)
    context = drawn(box, 91, label)
    (region,) = ask(engine, config(), uri(MOVING.encode()), context=context).prediction["result"]
    assert region["value"]["labels"] == ["red circle"]
    first = keys_of(region)[0]
    assert first.frame == 91
    assert [first.box.x1, first.box.y1] == pytest.approx(box[:2], abs=0.01), "as it was drawn"
    assert len(engine.requests) == 6, "from there to the end"
    for frame in (120, 150, 180):
        there = seen_at(keys_of(region), frame)
        truth = percent_box(frame, circle)
        assert there is not None
        assert there.x1 == pytest.approx(truth[0], abs=3)


def test_a_box_drawn_where_nothing_is_starts_no_track(engine: ScriptedEngine) -> None:
    context = drawn([0.5, 88, 5, 5], 91)
    assert ask(engine, config(), uri(MOVING.encode()), context=context).prediction["result"] == []


@pytest.mark.parametrize(
    "sequence",
    [
        [],
        None,
        [{"frame": 0}],
        [{"frame": 1.5}],
        [{"frame": 10**400, "x": 10, "y": 10, "width": 10, "height": 10}],
        [{"x": 1}],
        "x",
    ],
)
def test_a_drawn_track_without_a_key_frame_is_a_wrong_context(
    engine: ScriptedEngine, sequence: object
) -> None:
    context = drawn([10, 10, 10, 10], 1)
    context["result"][0]["value"]["sequence"] = sequence
    with pytest.raises(RequestError):
        ask(engine, config(), uri(MOVING.encode()), context=context)


def test_the_same_drawn_box_is_the_same_request() -> None:
    parsed = parse(f"<View>{config()}</View>")
    one, other = drawn([10, 10, 10, 10], 7), drawn([10, 10, 10, 10], 7)
    other["result"][0]["id"] = "b"
    other["result"][0]["value"]["duration"] = 5.9
    assert read_request(one, parsed).reduced == read_request(other, parsed).reduced
    later = drawn([10, 10, 10, 10], 8)
    assert read_request(one, parsed).reduced != read_request(later, parsed).reduced
    again = read_request(read_request(one, parsed).reduced, parsed)
    assert again.intent == read_request(one, parsed).intent
