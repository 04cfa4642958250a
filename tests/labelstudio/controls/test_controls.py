"""Controls query for their own labels, and draw only what Label Studio can show."""

from __future__ import annotations

import json
import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grounding.geometry import PERCENT, Box, Frame, Point, image_frame
from grounding.labelstudio.config.interface import Control
from grounding.labelstudio.controls import CONTROLS, write_results
from grounding.labelstudio.controls.base import Results
from grounding.labelstudio.interactive.context import Intent
from grounding.queries import Finding, Locate, Shape
from tests.labelstudio.configs import (
    BOXES,
    CAR_DOG,
    KEY_POINT,
    LABELS,
    POINTS,
    PROMPT,
    RECTANGLE,
    config,
    control,
    having,
    queries_for,
)

IMAGE = image_frame(800, 600)
MODEL = Frame("model", 400, 300)
BOX = control(BOXES)
HERE = Point(50, 50, PERCENT)


def box(x1: float = 40, y1: float = 30, x2: float = 80, y2: float = 150) -> Box:
    """Return a box in the model's pixels."""
    return Box(x1, y1, x2, y2, MODEL)


def found(
    on: Control, *findings: Finding, query: Locate | None = None, image: Frame = IMAGE
) -> Results:
    """Return the results of findings that answer `query`, or the control's first."""
    answered = query or queries_for(on)[0]
    return write_results(on, [(finding, answered) for finding in findings], image)


def labels_of(drawn: Results) -> list[str]:
    """Return the labels of all results, in order."""
    values = [result["value"] for result in drawn.result]
    return [
        name for v in values for names in v.values() if isinstance(names, list) for name in names
    ]


@pytest.mark.parametrize("tag", CONTROLS)
def test_a_control_is_registered_under_its_own_tag(tag: str) -> None:
    assert CONTROLS[tag].tag == tag


def test_a_box_is_drawn_as_the_page_needs_it() -> None:
    (region,) = found(control(BOXES), Finding(box(), "car", score=0.75)).result
    assert len(region.pop("id")) >= 10
    assert region == {
        "from_name": "box",
        "to_name": "image",
        "type": "rectanglelabels",
        "original_width": 800,
        "original_height": 600,
        "image_rotation": 0,
        "value": {
            "x": 10.0,
            "y": 10.0,
            "width": 10.0,
            "height": 40.0,
            "rotation": 0,
            "rectanglelabels": ["Car"],
        },
        "score": 0.75,
    }


def test_a_point_is_drawn_with_the_width_without_which_the_page_spoils_other_points() -> None:
    (region,) = found(control(POINTS), Finding(Point(100, 30, MODEL), "nose")).result
    assert region["type"] == "keypointlabels"
    assert region["value"] == {"x": 25.0, "y": 10.0, "width": 0.75, "keypointlabels": ["Nose"]}


def test_a_point_s_width_can_be_set() -> None:
    wide = control(having(POINTS, 'model_point_width="2"'))
    (region,) = found(wide, Finding(Point(100, 30, MODEL))).result
    assert region["value"]["width"] == 2


@pytest.mark.parametrize(
    ("part", "kind", "place"),
    [(RECTANGLE, "rectangle", box()), (KEY_POINT, "keypoint", Point(100, 30, MODEL))],
)
def test_a_shape_and_its_label_are_two_results_of_one_region(
    part: str, kind: str, place: Box | Point
) -> None:
    on = control(part, LABELS)
    shape, label = found(on, Finding(place, "dog", score=0.5), query=queries_for(on)[1]).result
    assert shape["type"] == kind
    assert (label["type"], label["from_name"]) == ("labels", "label")
    assert label["value"] == {**shape["value"], "labels": ["d"]}
    common = shape.keys() - {"from_name", "type", "value"}
    assert {key: shape[key] for key in common} == {key: label[key] for key in common}


def test_a_shape_without_labels_is_drawn_alone() -> None:
    bare = control(RECTANGLE, PROMPT)
    (region,) = found(bare, Finding(box(), "cat"), query=Locate(Shape.BOX, (), "cats")).result
    assert (region["type"], "labels" in region["value"]) == ("rectangle", False)


def test_text_that_came_with_a_place_is_a_note_without_what_cannot_be_seen() -> None:
    text = "A\u202e\x00\x1b[2J\ud800\nB" + "x" * 2000
    (region,) = found(control(BOXES), Finding(box(), "car", text=text)).result
    (note,) = region["meta"]["text"]
    assert note.startswith("A[2J Bxx")
    assert len(note) == 1000


def test_warnings_stand_beside_the_region_behind_its_text() -> None:
    finding = Finding(box(), "car", text="AB 12", warnings=("Look twice", "And again"))
    (region,) = found(control(BOXES), finding).result
    assert region["meta"] == {"text": ["AB 12", "Look twice", "And again"]}


def test_nothing_unknown_is_invented() -> None:
    (region,) = found(control(BOXES), Finding(box())).result
    assert {"score", "meta"} & region.keys() == set()


@pytest.mark.parametrize(
    ("finding", "reason"),
    [
        (Finding(Point(10, 10, MODEL), "car"), "wrong_shape"),
        (Finding(box(), "zebra"), "unknown_label"),
        (Finding(box(), "red car"), "unknown_label"),
        (Finding(box(x2=math.nan), "car"), "not_finite"),
        (Finding(box(x2=math.inf), "car"), "not_finite"),
        (Finding(box(), "car", score=math.nan), "not_finite"),
        (Finding(box(x1=40, x2=40), "car"), "too_small"),
        (Finding(box(x1=-30, x2=-10), "car"), "too_small"),
        (Finding(box(x1=500, x2=600), "car"), "too_small"),
        (Finding(box(x1=40, x2=40.4), "car"), "too_small"),
    ],
)
def test_what_cannot_be_a_region_is_dropped_and_counted(finding: Finding, reason: str) -> None:
    drawn = found(control(BOXES), finding, Finding(box(), "car"))
    assert len(drawn.result) == 1
    assert drawn.dropped == Counter({reason: 1})


def test_the_words_that_name_no_label_are_counted_and_no_others() -> None:
    words = ["zebra", "zebra", "lion", None]
    drawn = found(BOX, *(Finding(box(), w) for w in words), query=Locate(Shape.BOX, ("Car", "Dog")))
    assert drawn.dropped == {"unknown_label": 4}
    assert drawn.unknown == {"zebra": 2, "lion": 1}
    assert found(BOX, Finding(box(x2=40), "car")).unknown == {}


def test_the_results_and_counts_of_two_controls_add_up() -> None:
    both = found(BOX, Finding(box(), "car"), Finding(box(), "zebra"))
    both.add(found(control(POINTS), Finding(Point(9, 9, MODEL)), Finding(box(), "zebra")))
    assert [region["from_name"] for region in both.result] == ["box", "kp"]
    assert both.dropped == {"unknown_label": 1, "wrong_shape": 1}
    assert both.unknown == {"zebra": 1}
    both.add(found(BOX, Finding(box(), "zebra")))
    assert (both.dropped["unknown_label"], both.unknown["zebra"]) == (2, 2)


def test_a_box_is_no_key_point() -> None:
    drawn = found(control(POINTS), Finding(box(), "nose"))
    assert (drawn.result, drawn.dropped) == ([], {"wrong_shape": 1})


def test_a_score_below_the_control_s_threshold_is_dropped_and_an_unknown_one_kept() -> None:
    on = control(having(BOXES, 'model_score_threshold="0.5"'))
    places = [box(x1=n, x2=n + 40) for n in (10, 60, 110)]
    scores = (0.49, 0.5, None)
    drawn = found(on, *(Finding(p, "car", score=s) for p, s in zip(places, scores, strict=True)))
    assert [region.get("score") for region in drawn.result] == [0.5, None]
    assert drawn.dropped == {"low_score": 1}


@pytest.mark.parametrize(
    ("query", "word", "label"),
    [
        (Locate(Shape.BOX, ("Car",)), None, "Car"),
        (Locate(Shape.BOX, ("Car",)), " ", "Car"),
        (Locate(Shape.BOX, ("Car",)), "dog", "d"),
        (Locate(Shape.BOX, ("Car",)), "vehicle", None),
        (Locate(Shape.BOX, ("Car", "Dog")), None, None),
        (Locate(Shape.BOX, ("Car", "Dog")), "dogs", "d"),
        (Locate(Shape.BOX, ("Car",), "the red car"), "vehicle", "Car"),
        (Locate(Shape.BOX, ("Car",), "the red car"), None, "Car"),
        (Locate(Shape.BOX, ("Car", "Dog"), "red things"), "car", "Car"),
        (Locate(Shape.BOX, ("Car", "Dog"), "red things"), "red thing", None),
        (Locate(Shape.BOX, ("Dog",), around=HERE), "animal", "d"),
        (Locate(Shape.BOX, ("Car", "Dog"), around=HERE), "animal", None),
    ],
)
def test_a_region_s_label_is_that_of_the_query_or_the_one_the_model_names(
    query: Locate, word: str | None, label: str | None
) -> None:
    drawn = found(control(BOXES), Finding(box(), word), query=query)
    assert labels_of(drawn) == ([label] if label else [])


def test_a_phrase_s_finds_all_take_the_only_label_of_a_control() -> None:
    on = control(POINTS)
    (query,) = queries_for(on, Intent("the left eye", controls=(on,)))
    assert labels_of(found(on, Finding(Point(9, 9, MODEL), "left eye"), query=query)) == ["Nose"]


def test_a_label_with_several_words_takes_the_findings_of_each_word() -> None:
    on = control(BOXES.replace(CAR_DOG, '<Label value="Auto" predicted_values="car,van"/>'))
    drawn = found(on, Finding(box(), "vans"), Finding(box(x1=0)))
    assert labels_of(drawn) == ["Auto", "Auto"]


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ([0.1, 0.9, 0.5, 0.7], [0.9, 0.7]),
        ([0.5, 0.5, 0.5], [0.5, 0.5]),
        ([None, None, None], [None, None]),
        ([0.1, None, 0.9], [0.1, None]),
        ([0.3, 0.2], [0.3, 0.2]),
    ],
)
def test_of_too_many_the_highest_scores_are_kept_in_order_and_the_first_without(
    scores: list[float | None], kept: list[float | None]
) -> None:
    on = control(having(POINTS, 'model_max_regions="2"'))
    points = [Finding(Point(9, 9 * y, MODEL), score=score) for y, score in enumerate(scores)]
    drawn = found(on, *points)
    assert [region.get("score") for region in drawn.result] == kept
    assert drawn.dropped.total() == len(scores) - len(kept)


def test_a_model_that_repeats_itself_draws_a_limited_number() -> None:
    on = control(POINTS)
    spots = [Point(x * 9, y * 9, MODEL) for x in range(40) for y in range(30)][:1003]
    drawn = found(on, *map(Finding, spots))
    assert len(drawn.result) == 1000
    assert drawn.dropped == {"too_many": 3}


SIDES = st.integers(1, 20_000)
NUMBERS = st.floats(-30_000, 30_000) | st.integers(-30_000, 30_000).map(float)


@given(size=st.tuples(SIDES, SIDES), corners=st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS))
def test_a_box_never_sticks_out_of_the_image(
    size: tuple[int, int], corners: tuple[float, float, float, float]
) -> None:
    model = Frame("model", *size)
    place = Box.spanning(corners[:2], corners[2:], model)
    drawn = found(control(BOXES), Finding(place, "car"))
    for value in (region["value"] for region in drawn.result):
        assert 0 <= value["x"] <= value["x"] + value["width"] <= 100
        assert 0 <= value["y"] <= value["y"] + value["height"] <= 100
        assert value["width"] > 0
        assert value["height"] > 0


@given(size=st.tuples(SIDES, SIDES), at=st.tuples(NUMBERS, NUMBERS))
def test_a_point_never_lies_outside_of_the_image(
    size: tuple[int, int], at: tuple[float, float]
) -> None:
    drawn = found(control(POINTS), Finding(Point(*at, Frame("model", *size))))
    (value,) = (region["value"] for region in drawn.result)
    assert 0 <= value["x"] <= 100
    assert 0 <= value["y"] <= 100


@given(
    size=st.tuples(SIDES, SIDES),
    corners=st.tuples(*[st.floats(0, 1)] * 4),
    image=st.tuples(SIDES, SIDES),
)
def test_a_region_leads_back_to_the_box_that_the_model_saw(
    size: tuple[int, int],
    corners: tuple[float, float, float, float],
    image: tuple[int, int],
) -> None:
    model = Frame("model", *size)
    x1, y1, x2, y2 = corners
    place = Box.spanning((x1 * size[0], y1 * size[1]), (x2 * size[0], y2 * size[1]), model)
    drawn = found(control(BOXES), Finding(place, "car"), image=image_frame(*image))
    for region in drawn.result:
        value = region["value"]
        x, y = value["x"], value["y"]
        back = Box(x, y, x + value["width"], y + value["height"], PERCENT).to(model)
        assert back.iou(place) > 1 - 1e-6
        assert (region["original_width"], region["original_height"]) == image


FINDINGS = st.lists(
    st.builds(
        Finding,
        st.builds(box, NUMBERS, NUMBERS, NUMBERS, NUMBERS)
        | st.builds(Point, st.floats(), st.floats(), st.just(MODEL)),
        st.none() | st.sampled_from(["car", "Dogs", "zebra", "d", ""]) | st.text(max_size=5),
        st.none() | st.text(),
        st.none() | st.floats(0, 1),
    ),
    max_size=20,
)


@pytest.mark.parametrize("parts", [BOXES, POINTS, RECTANGLE + LABELS, KEY_POINT + LABELS])
@given(findings=FINDINGS, phrase=st.sampled_from([None, "things", "a car and a dog"]))
def test_whatever_the_model_says_only_the_config_s_labels_come_out_and_all_is_counted(
    parts: str, findings: list[Finding], phrase: str | None
) -> None:
    (on,) = config(parts).controls
    intent = Intent(phrase, controls=(on,)) if phrase else None
    drawn = found(on, *findings, query=queries_for(on, intent)[0])
    assert set(labels_of(drawn)) <= {label.emitted for label in on.labels}
    assert {r["from_name"] for r in drawn.result} <= {on.from_name, on.labels_from}
    ids = [r["id"] for r in drawn.result if r["type"] != "labels"]
    assert len(ids) == len(set(ids))
    assert len(ids) + sum(drawn.dropped.values()) == len(findings)
    json.dumps(drawn.result, allow_nan=False).encode()


def test_ids_are_never_taken_twice() -> None:
    on = control(POINTS)
    points = [Finding(Point(x * 9, y * 9, MODEL)) for x in range(40) for y in range(25)]
    ids = {region["id"] for region in found(on, *points).result}
    assert len(ids) == 1000
    assert min(map(len, ids)) >= 10
