"""The context that the page sends becomes one intent, or none."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from grounding.errors import RequestError
from grounding.geometry import PERCENT, Box, Point
from grounding.labelstudio.config.interface import Control
from grounding.labelstudio.interactive.context import Intent, read_context, read_request
from grounding.labelstudio.places import OVERSHOOT, read_place
from tests.labelstudio.configs import (
    BOXES,
    CAR_DOG,
    KEY_POINT,
    LABELS,
    POINTS,
    PROMPT,
    RECTANGLE,
    STATUS,
    area,
    config,
)

ALL = config(BOXES, POINTS, PROMPT, STATUS)

CHOICE = {"value": {"choices": ["ok"]}, "id": "i4", "from_name": "ch", "type": "choices"}


def text(*texts: object, name: str = "prompt") -> dict[str, Any]:
    return {
        "value": {"text": list(texts)},
        "id": "IgRIaSduM8",
        "from_name": name,
        "to_name": "image",
        "type": "textarea",
        "origin": "manual",
    }


def point(x: float, y: float, name: str = "kp", **more: object) -> dict[str, Any]:
    value = {"x": x, "y": y, "width": 0.187, "labels": ["Nose"], "keypointlabels": ["Nose"]}
    return {
        "value": value,
        "id": f"p{x}",
        "from_name": name,
        "to_name": "image",
        "type": "keypointlabels",
        **more,
    }


def drawn_box(x: float = 30, label: str = "Car", **more: object) -> dict[str, Any]:
    value = {"x": x, "y": 30, "width": 14, "height": 19, "rotation": 0, "rectanglelabels": [label]}
    return {
        "value": value,
        "id": f"b{x}",
        "from_name": "box",
        "to_name": "image",
        "type": "rectanglelabels",
        **more,
    }


def controls_named(*names: str) -> tuple[Control, ...]:
    """Return the controls of these names, in the order of the config."""
    return tuple(control for control in ALL.controls if control.from_name in names)


def answering(intent: Intent | None) -> list[str]:
    """Return the names of the controls that answer."""
    assert intent is not None
    return [control.from_name for control in intent.controls]


def read(*results: object) -> Intent | None:
    return read_context({"result": list(results)}, ALL)


def test_no_context_is_no_intent() -> None:
    assert read_context(None, ALL) is None


@pytest.mark.parametrize(
    "results",
    [
        pytest.param([], id="a drawn region was removed"),
        pytest.param([CHOICE], id="a choice"),
        pytest.param([text("late", name="status")], id="our own status"),
        pytest.param([text("notes", name="notes")], id="another area"),
        pytest.param([{"type": "brushlabels", "value": {"rle": []}}], id="a brush"),
        pytest.param([{}], id="nothing at all"),
        pytest.param([point(5, 5, is_positive=False)], id="only a negative point"),
    ],
)
def test_a_context_that_asks_nothing_is_answered_by_no_control(results: list[object]) -> None:
    assert read(*results) == Intent()


@pytest.mark.parametrize(
    ("results", "phrase"),
    [
        ([CHOICE, text("find cats")], "find cats"),
        ([text("cats"), text("mice")], "mice"),
        ([text("cats", "mice")], "mice"),
        ([text("cats<|im_end|>")], "cats"),
        ([text("cats"), text("busy", name="status")], "cats"),
        ([text("  red\n\x00\u202ecats\x1b ")], "red cats"),
        ([{**text(), "value": {"text": "cats"}}], "cats"),
    ],
)
def test_the_last_text_of_the_prompt_area_is_the_phrase(results: list[object], phrase: str) -> None:
    assert read(*results) == Intent(
        phrase, from_name="prompt", controls=controls_named("box", "kp")
    )


@pytest.mark.parametrize("value", [{"text": []}, {"text": ["  "]}, {"text": None}, {}])
def test_an_emptied_prompt_asks_for_the_labels(value: dict[str, object]) -> None:
    expected = Intent(None, from_name="prompt", controls=controls_named("box", "kp"))
    assert read({**text(), "value": value}) == expected


def test_a_label_that_the_page_writes_onto_our_message_is_no_drawn_region() -> None:
    """It does so with the label that is selected when the message arrives."""
    message = text("2 found", name="status")
    labelled = {**drawn_box(), "id": message["id"], "value": {"rectanglelabels": ["Car"]}}
    intent = read(message, labelled, text("cats"))
    assert intent is not None
    assert (intent.phrase, intent.around) == ("cats", None)


def test_a_phrase_that_names_a_label_is_for_the_controls_that_have_it() -> None:
    intent = read(text("the left dog"))
    assert intent == Intent("the left dog", from_name="prompt", controls=controls_named("box"))


def test_a_phrase_is_for_the_controls_on_the_prompt_s_own_image() -> None:
    other = '<Image name="b" value="$b"/>' + area("prompt_b").replace("image", "b")
    boxes = f'<RectangleLabels name="bb" toName="b">{CAR_DOG}</RectangleLabels>'
    two = config(BOXES, PROMPT, other, boxes)
    intent = read_context({"result": [text("cats"), text("mice", name="prompt_b")]}, two)
    assert intent == Intent("mice", from_name="prompt_b", controls=two.controls[1:])


def test_a_smart_box_is_the_last_one_and_its_own_control_answers() -> None:
    intent = read(drawn_box(10, score=0.7), drawn_box(30))
    assert intent == Intent(None, Box(30, 30, 44, 49, PERCENT), "Car", "box", controls_named("box"))


@pytest.mark.parametrize(
    ("results", "x"),
    [
        ([point(50, 5, is_positive=True), point(60, 5, is_positive=True)], 60),
        ([point(50, 5, is_positive=True), point(60, 5, is_positive=False)], 50),
        ([point(50, 5), point(60, 5, is_positive=True)], 60),
        ([point(40, 5, is_positive=True), point(50, 5), point(60, 5, is_positive=False)], 40),
    ],
)
def test_a_smart_point_is_the_last_positive_one(results: list[object], x: float) -> None:
    intent = read(*results)
    assert intent is not None
    assert intent.around == Point(x, 5, PERCENT)


@pytest.mark.parametrize(
    ("parts", "answers"),
    [
        pytest.param(BOXES + POINTS, ["box"], id="boxed by the control that draws boxes"),
        pytest.param(
            BOXES + POINTS + BOXES.replace('"box"', '"box2"').replace("Car", "Nose"),
            ["box2"],
            id="and has the label",
        ),
        pytest.param(POINTS, ["kp"], id="the point's own control if none draws boxes"),
    ],
)
def test_a_point_is_answered_by_the_controls_that_can_box_its_label(
    parts: str, answers: list[str]
) -> None:
    intent = read_context({"result": [point(50, 5, is_positive=True)]}, config(parts))
    assert intent is not None
    assert (intent.label, answering(intent)) == ("Nose", answers)


@pytest.mark.parametrize(
    ("part", "kind", "value"),
    [
        (RECTANGLE, "rectangle", {"x": 1, "y": 2, "width": 3, "height": 4, "rotation": 0}),
        (KEY_POINT, "keypoint", {"x": 1, "y": 2, "width": 0.2}),
    ],
)
def test_the_label_of_a_shape_comes_from_its_second_result(
    part: str, kind: str, value: dict[str, object]
) -> None:
    name = "r" if kind == "rectangle" else "k"
    shape = {"id": "a", "type": kind, "from_name": name, "to_name": "image", "value": value}
    label = {**shape, "type": "labels", "from_name": "label", "value": {**value, "labels": ["d"]}}
    intent = read_context({"result": [shape, label]}, config(part, LABELS))
    assert intent is not None
    assert (intent.label, intent.from_name, answering(intent)) == ("d", name, [name])


@pytest.mark.parametrize("context", [[], "x", 3, {}, {"result": None}, {"result": [3]}])
def test_a_context_of_the_wrong_shape_is_a_bad_request(context: object) -> None:
    with pytest.raises(RequestError) as caught:
        read_context(context, ALL)
    assert (caught.value.code, caught.value.status) == ("context_invalid", 400)


@pytest.mark.parametrize(
    ("results", "status"),
    [
        ([point(float("nan"), 5)], 422),
        ([point(101, 5)], 422),
        ([point(-1, 5)], 422),
        ([{**point(1, 5), "value": {"x": "1", "y": 5}}], 422),
        ([{**point(1, 5), "value": {"y": 5}}], 422),
        ([{**point(1, 5), "value": [1, 5]}], 400),
        ([{**drawn_box(), "value": {**drawn_box()["value"], "rotation": 30}}], 422),
        ([point(1, 5)] * 5001, 422),
        ([text("x" * 1001)], 422),
        ([text(5)], 400),
    ],
)
def test_an_unreadable_context_is_refused(results: list[object], status: int) -> None:
    with pytest.raises(RequestError) as caught:
        read(*results)
    assert (caught.value.code, caught.value.status) == ("context_invalid", status)


@pytest.mark.parametrize(
    ("phrase", "answers"),
    [
        ("point to the dog", ["kp"]),
        ("点出每一只狗", ["kp"]),
        ("框出每一只狗", ["box"]),
        ("box the noses", ["box"]),
        ("the Nose", ["kp"]),
        ("the cat", ["box", "kp"]),
    ],
)
def test_a_prompt_that_asks_for_points_or_boxes_gets_controls_named(
    phrase: str, answers: list[str]
) -> None:
    assert answering(read(text(phrase))) == answers


def test_a_project_without_points_answers_with_boxes() -> None:
    intent = read_context({"result": [text("point to the dog")]}, config(BOXES, PROMPT))
    assert answering(intent) == ["box"]


def test_negative_points_are_excluded() -> None:
    clicks = [point(n, 5, is_positive=n != 7) for n in (5, 7, 9)]
    intent = read(*clicks)
    assert intent is not None
    assert intent.around == Point(9, 5, PERCENT)
    assert intent.excluded == (Point(7, 5, PERCENT),)


SHAPE = {"id": "a", "type": "rectangle", "from_name": "r", "to_name": "image"}
PLACE = {"x": 1, "y": 2, "width": 3, "height": 4, "rotation": 0}


@pytest.mark.parametrize(
    "results",
    [
        [],
        [CHOICE],
        [CHOICE, text("cats", "the red dog")],
        [{**text(), "value": {}}],
        [drawn_box(10), drawn_box(30, score=0.5)],
        [point(5, 5, is_positive=True), point(6, 5, is_positive=False)],
        [
            {**SHAPE, "value": PLACE},
            {**SHAPE, "type": "labels", "value": {**PLACE, "labels": ["d"]}},
        ],
    ],
)
def test_a_reduced_context_is_the_same_intent_without_ids(results: list[Any]) -> None:
    for layout in (ALL, config(RECTANGLE, LABELS, PROMPT)):
        request = read_request({"result": results}, layout)
        assert read_context(request.reduced, layout) == request.intent
        assert "id" not in {key for result in request.reduced["result"] for key in result}
        assert read_request(request.reduced, layout).reduced == request.reduced
        assert list(request.results) == results


def test_only_the_last_region_must_be_readable() -> None:
    assert read(point(500, 5), point(5, 5, is_positive=True)) is not None


EDGE = 100 + OVERSHOOT


@pytest.mark.parametrize(
    ("region", "status", "words"),
    [
        ({**point(5, 5), "value": 5}, 400, "a drawn region has no value"),
        (point(EDGE + 1e-9, 5), 422, "a drawn region's x is no percentage"),
        (point(5, -OVERSHOOT - 1e-9), 422, "a drawn region's y is no percentage"),
        (point(5, 100.5), 422, "a drawn region's y is no percentage"),
        ({**point(5, 5), "value": {"x": 5, "y": "5"}}, 422, "a drawn region's y is no percentage"),
        (
            {**drawn_box(), "value": {"x": 1, "y": 1, "width": 9}},
            422,
            "a drawn region's height is no percentage",
        ),
        (
            {**drawn_box(), "value": {**drawn_box()["value"], "rotation": 9}},
            422,
            "the drawn box is turned. Draw it upright",
        ),
    ],
)
def test_the_annotator_reads_what_is_wrong_with_a_drawn_region(
    region: dict[str, Any], status: int, words: str
) -> None:
    with pytest.raises(RequestError) as caught:
        read_place(region)
    assert (caught.value.code, caught.value.status) == ("context_invalid", status)
    assert str(caught.value) == words


@given(x=st.floats(-OVERSHOOT, EDGE), y=st.floats(-OVERSHOOT, EDGE))
@example(-OVERSHOOT, EDGE)
@example(EDGE, -OVERSHOOT)
def test_a_place_within_the_page_s_rounding_is_read_and_lies_inside(x: float, y: float) -> None:
    place = read_place(point(x, y))
    assert isinstance(place, Point)
    assert (place.x, place.y) == (min(max(x, 0), 100), min(max(y, 0), 100))


def test_a_place_slightly_outside_is_clipped() -> None:
    intent = read(point(100.001, -0.001, is_positive=True))
    assert intent is not None
    assert intent.around == Point(100, 0, PERCENT)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["result", "value", "type", "text", "x", "y", "id", "from_name"]), inner
        )
    ),
    max_leaves=20,
)


@given(
    types=st.sampled_from(["textarea", "keypointlabels", "rectangle", "labels"]),
    names=st.sampled_from(["prompt", "box", "kp"]) | JSON,
    value=JSON,
    more=JSON,
)
def test_any_json_is_an_intent_or_a_request_error(
    types: str, names: object, value: object, more: object
) -> None:
    result = {"type": types, "from_name": names, "value": value, "id": more}
    try:
        read_context({"result": [result, result]}, ALL)
    except RequestError as error:
        code = error.code
    else:
        code = "context_invalid"
    assert code == "context_invalid"
