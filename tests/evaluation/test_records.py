"""What is read from Label Studio's JSON."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from grounding.errors import InputError
from grounding.evaluation.matching import closeness
from grounding.evaluation.records import Kind, Region, read_regions, read_tasks
from grounding.geometry import Box, Point
from grounding.labelstudio.controls import CONTROLS
from tests.evaluation.making import annotation, box, choice, point, prediction, task, text


def regions(*result: dict[str, Any]) -> list[Region]:
    return read_regions(list(result), Counter())


def test_a_box_a_point_choices_and_a_text_are_read() -> None:
    found = regions(box(10, 20, 30, 40, score=0.5), point(1, 2), choice("b", "a"), text("hello"))
    assert [one.kind for one in found] == [Kind.BOX, Kind.POINT, Kind.CHOICE, Kind.TEXT]
    first, second, third, fourth = found
    assert isinstance(first.place, Box)
    assert (first.place.x1, first.place.y1, first.place.x2, first.place.y2) == (10, 20, 40, 60)
    assert (first.image.width, first.image.height, first.score) == (200, 100, 0.5)
    assert isinstance(second.place, Point)
    assert (second.place.x, second.place.y) == (1, 2)
    assert third.names == ("a", "b"), "the order of choices says nothing"
    assert fourth.text == "hello"


def test_a_shape_its_labels_and_its_text_are_one_region() -> None:
    """As `<Rectangle>` with `<Labels>` and a per-region text write them, in any order."""
    shape = box(1, 2, 3, 4, number="r") | {"type": "rectangle", "from_name": "shape"}
    words = shape | {"type": "labels", "from_name": "labels", "value": {"labels": ["cat"]}}
    said = shape | {"type": "textarea", "from_name": "note", "value": {"text": ["two", "lines"]}}
    for order in ([shape, words, said], [said, words, shape]):
        (one,) = regions(*order)
        assert (one.control, one.names, one.beside) == ("shape", ("cat",), {"note": "two\nlines"})


@pytest.mark.parametrize("kind", ["polygonlabels", "polygon", "brushlabels", "ellipse"])
def test_what_belongs_to_a_region_that_is_not_compared_is_no_value_of_the_image(kind: str) -> None:
    shape = box(1, 2, 3, 4, number="p") | {"type": kind, "value": {"points": [[1, 2], [3, 4]]}}
    said = text("HELLO", control="note") | {"id": "p"}
    unmeasured: Counter[str] = Counter()
    for order in ([shape, said], [said, shape]):
        found = read_regions([*order, text("all of it")], unmeasured)
        assert [one.text for one in found] == ["all of it"]
    assert unmeasured == {kind: 2}


@pytest.mark.parametrize("size", [0, 0.3, -5, None, "8"])
def test_a_size_that_is_none_leaves_a_place_in_percent(size: object) -> None:
    turned = box(50, 50, 20, 10, original_width=size)
    turned["value"]["rotation"] = 45
    (one,) = regions(turned)
    assert isinstance(one.place, Box)
    assert (one.image.width, one.image.height) == (100, 100)


VALUES = {
    "number": ("number", 3.0, "3"),
    "fraction": ("number", 2.5, "2.5"),
    "rating": ("rating", 4, "4"),
    "date": ("datetime", "2026-01-02", "2026-01-02"),
    "path": ("taxonomy", [["animal", "dog"], ["plant"]], "animal/dog, plant"),
}


@pytest.mark.parametrize(("kind", "value", "said"), VALUES.values(), ids=VALUES)
def test_every_value_that_we_write_is_read_of_the_image_and_of_a_region(
    kind: str, value: object, said: str
) -> None:
    shape = box(1, 2, 3, 4, number="r")
    with_shape = shape | {"type": kind, "from_name": "v", "value": {"x": 1, "y": 2, kind: value}}
    (one,) = regions(shape, with_shape)
    assert one.beside == {"v": said}
    (alone,) = regions({"id": "v", "type": kind, "from_name": "v", "value": {kind: value}})
    assert (alone.control, alone.text or ", ".join(alone.names)) == ("v", said)


@pytest.mark.parametrize("tag", sorted(CONTROLS))
def test_what_every_control_writes_is_compared(tag: str) -> None:
    unmeasured: Counter[str] = Counter()
    result = box(1, 2, 3, 4) | {"type": tag.lower()}
    result["value"]["ranges"] = [{"start": 1, "end": 9}]
    result["value"]["sequence"] = [{"frame": 1, "x": 1, "y": 2, "width": 3, "height": 4}]
    read_regions([result], unmeasured)
    assert unmeasured == {}


def test_spans_of_time_are_compared_by_their_frames() -> None:
    """Both ends are included: 11 to 20 and 16 to 25 share five of fifteen frames."""
    spans = [
        {
            "id": name,
            "type": "timelinelabels",
            "from_name": "when",
            "value": {"ranges": [{"start": start, "end": end}], "timelinelabels": ["cut"]},
        }
        for name, start, end in (("a", 11, 20), ("b", 16, 25))
    ]
    first, second = regions(*spans)
    assert (first.label, second.label) == ("cut", "cut")
    assert closeness(first, second) == pytest.approx(5 / 15)
    for ranges in ([], [{"start": 20, "end": 11}], [{"start": 1}], [{"start": "x", "end": 2}]):
        assert regions({**spans[0], "value": {"ranges": ranges}}) == []


def test_a_turned_box_is_the_upright_one_around_it() -> None:
    """It turns clockwise about its corner in pixels: the image is twice as wide as high."""
    turned = box(50, 50, 10, 10)
    turned["value"]["rotation"] = 90
    (one,) = regions(turned)
    assert isinstance(one.place, Box)
    sides = (one.place.x1, one.place.y1, one.place.x2, one.place.y2)
    assert sides == pytest.approx((45, 50, 50, 70))


def test_types_that_are_not_compared_are_counted() -> None:
    unmeasured: Counter[str] = Counter()
    polygon = {"id": "p", "type": "polygonlabels", "value": {"points": []}}
    read_regions([polygon, {"type": "relation", "from_id": "a", "to_id": "b"}], unmeasured)
    assert unmeasured == {"polygonlabels": 1}


BROKEN = {
    "no value": {"type": "rectanglelabels", "id": "a"},
    "words for numbers": box(1, 2, 3, 4) | {"value": {"x": "1", "y": 2, "width": 3, "height": 4}},
    "infinite": box(1, 2, float("inf"), 4),
    "beyond every number": box(1, 2, 10**400, 4),
}


@pytest.mark.parametrize("entry", BROKEN.values(), ids=BROKEN)
def test_a_place_that_is_none_is_counted_and_hides_no_other(entry: dict[str, Any]) -> None:
    unmeasured: Counter[str] = Counter()
    assert len(read_regions([entry, box(5, 5, 5, 5), "junk"], unmeasured)) == 1
    assert unmeasured == {"rectanglelabels": 1}


def test_regions_without_an_id_stay_apart() -> None:
    assert len(regions(box(1, 1, 2, 2) | {"id": ""}, box(5, 5, 5, 5) | {"id": None})) == 2


def test_the_annotation_that_counts_is_the_ground_truth_else_the_newest() -> None:
    old = annotation([box(1, 1, 1, 1)], updated_at="2026-01-01", id=1)
    new = annotation([], updated_at="2026-01-02", id=2)
    (one,) = read_tasks([task(1, [new, old])]).tasks
    assert one.reference
    assert one.reference.regions == ()
    (one,) = read_tasks([task(1, [new, old | {"ground_truth": True}])]).tasks
    assert one.reference
    assert len(one.reference.regions) == 1


def test_skipped_tasks_have_no_annotation() -> None:
    (one,) = read_tasks([task(1, [annotation([], was_cancelled=True)])]).tasks
    assert one.reference is None


def test_of_one_version_the_newest_prediction_counts() -> None:
    old = prediction([box(1, 1, 1, 1)], created_at="2026-01-01")
    new = prediction([], created_at="2026-01-02")
    other = prediction([], "v2", created_at="2026-01-01")
    records = read_tasks([task(1, [], [new, old, other])])
    found = records.tasks[0].prediction("v1")
    assert found
    assert found.regions == ()
    assert records.versions == ["v1", "v2"], "that of the newest prediction goes first"


@pytest.mark.parametrize("origin", ["prediction", "prediction-changed"])
def test_an_annotation_with_a_region_of_a_prediction_began_as_one(origin: str) -> None:
    result = [box(1, 1, 1, 1), box(5, 5, 1, 1, origin=origin)]
    (one,) = read_tasks([task(1, [annotation(result)])]).tasks
    assert one.annotations[0].prelabelled


@pytest.mark.parametrize(("parent", "began"), [(7, True), (None, False)])
def test_an_annotation_with_a_parent_prediction_began_as_one(parent: Any, began: bool) -> None:
    (one,) = read_tasks([task(1, [annotation([], parent_prediction=parent)])]).tasks
    assert one.annotations[0].prelabelled == began


def test_the_predictions_of_an_export_are_numbers_and_left_out() -> None:
    exported = task(1, [annotation([])]) | {"predictions": [1, 2]}
    assert read_tasks([exported]).tasks[0].predictions == ()


def test_another_files_predictions_are_joined_by_id_or_by_data() -> None:
    ours = read_tasks([task(1, [annotation([])]), task(2, [annotation([])])])
    by_id = task(2, [], [prediction([], "a")]) | {"data": {"other": 1}}
    by_data = {**task(1, [], [prediction([], "b")]), "id": None}
    stranger = task(9, [], [prediction([], "c")])
    joined = ours.joined(read_tasks([by_id, by_data, stranger]).tasks)
    assert [[p.version for p in one.predictions] for one in joined.tasks] == [["b"], ["a"]]


def test_a_version_without_a_name_has_that_of_its_file() -> None:
    (one,) = read_tasks([task(1, [], [{"result": []}])], name="new prompt").tasks
    assert one.predictions[0].version == "new prompt"


def test_files_without_a_common_task_are_refused() -> None:
    ours = read_tasks([task(1, [annotation([])])])
    with pytest.raises(InputError, match="no task of the predictions"):
        ours.joined(read_tasks([task(2, [], [prediction([])])]).tasks)


FOREIGN = {
    "an object": {"a": 1},
    "a list of numbers": [1, 2],
    "JSON-MIN": [{"id": 1, "image": "a.png", "box": [], "annotator": 1}],
    "words": "text",
}


@pytest.mark.parametrize("document", FOREIGN.values(), ids=FOREIGN)
def test_what_is_no_list_of_tasks_is_refused_with_the_cure(document: Any) -> None:
    with pytest.raises(InputError, match="JSON export"):
        read_tasks(document)
