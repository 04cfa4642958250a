"""What is asked about each region once it stands: its view, its query, and what joins it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import pytest
from hypothesis import given
from PIL import Image

from grounding.engines.base import Completion, ModelRequest
from grounding.geometry import CROP_ASPECT, Box, PixelBounds, Point, crop_frame, image_frame
from grounding.labelstudio.regions import MAX_ASKED
from grounding.media.views import around
from grounding.pipeline import VIEWS_AT_ONCE
from grounding.testing import make_completion
from tests.geometry.geometries import boxes
from tests.labelstudio.configs import (
    BOXES,
    LABELS,
    POINTS,
    RECTANGLE,
    area,
    config,
    having,
    refused,
    view,
)
from tests.pipeline.test_pipeline import InlineEngine, OnePicture, grounded

# The picture of 640×480 is seen at 644×476, so a box on the right is at 322 of 644 pixels.
CARS = json.dumps(
    [
        {"bbox_2d": [64, 48, 128, 96], "label": "Car"},
        {"bbox_2d": [322, 238, 483, 357], "label": "Car"},
    ]
)
DOG = json.dumps([{"bbox_2d": [10, 10, 60, 60], "label": "Dog"}])
NOSE = json.dumps([{"point_2d": [322, 238], "label": "Nose"}])
COLOUR = (
    '<Choices name="colour" toName="image" perRegion="true">'
    '<Choice value="red"/><Choice value="blue" alias="b"/></Choices>'
)
DOORS = '<Number name="doors" toName="image" perRegion="true"/>'
PLATE = area("plate", 'perRegion="true" model_prompt="What the plate says"')
SAID = {"colour": "blue", "doors": 4, "plate": "AB 12", "stars": 3}


class Garage(InlineEngine):
    """An engine that finds two cars, a dog and a nose, and says the same of each."""

    def __init__(self, **said: Any) -> None:
        super().__init__(self.say, probability=-0.1)
        self.said = SAID | said

    def say(self, text: str) -> str:
        """Return places to a query for places, and all values to any other."""
        if "JSON object" in text:
            return json.dumps(self.said)
        return CARS if "'Car'" in text else DOG if "'Dog'" in text else NOSE

    @property
    def about_regions(self) -> list[ModelRequest]:
        """The requests about one region."""
        return [one for one in self.requests if "JSON object" in one.text]


def test_each_region_is_asked_about_once_in_a_view_of_its_own() -> None:
    engine, picture = Garage(), OnePicture()
    grounded(engine, BOXES, COLOUR, DOORS, pictures=picture)
    assert len(engine.about_regions) == 3, "two cars and a dog"
    (view_,) = engine.about_regions[1].views
    left, top, width, height = view_.frame.extent
    assert (left, top) == (pytest.approx(0.4625, abs=0.01), pytest.approx(0.4625, abs=0.01))
    assert (width, height) == (pytest.approx(0.325, abs=0.01), pytest.approx(0.325, abs=0.01))
    assert '"colour" is one of "red", "blue".' in engine.about_regions[0].text
    assert '"doors" is a number' in engine.about_regions[0].text
    assert picture.fetched == 1, "the file is fetched once"


def test_an_area_that_answers_when_asked_takes_no_text_before() -> None:
    car = json.dumps([{"bbox_2d": [64, 48, 128, 96], "label": "Car", "text_content": "EXIT"}])
    parts = (BOXES, area("note", 'perRegion="true" model_answer="asked"'), area("prompt"))
    typed = {"type": "textarea", "from_name": "prompt", "value": {"text": ["the car"]}}
    for context, kinds in ((None, []), ({"result": [typed]}, ["textarea"])):
        engine = InlineEngine(lambda text: "[]" if "'Dog'" in text else car)
        first, *rest = grounded(engine, *parts, context=context).prediction["result"]
        assert [one["type"] for one in rest] == kinds
        assert ("meta" in first) is (context is None), "the text is said once"


class Street(InlineEngine):
    """An engine that finds forty cars, and says of each how far left it is."""

    most = 0
    """The most views that it was given at once."""

    def __init__(self) -> None:
        super().__init__(lambda text: "[]")

    def submit(self, requests: Sequence[ModelRequest]) -> list[Future[Completion]]:
        """Answer at once, and note how many views came together."""
        self.most = max(self.most, len({id(view) for one in requests for view in one.views}))
        return super().submit(requests)

    def answer(self, request: ModelRequest) -> Completion:
        """Return where the cars are, or what is asked of one."""
        if "JSON object" in request.text:
            left = request.views[0].frame.extent.left
            return make_completion(json.dumps({"doors": round(left * 644)}))
        cars = [{"bbox_2d": [n * 16, 200, n * 16 + 14, 214], "label": "Car"} for n in range(40)]
        return make_completion(json.dumps(cars) if "'Car'" in request.text else "[]")


def test_few_views_of_many_regions_are_in_memory_at_once() -> None:
    engine, picture = Street(), OnePicture()
    result = grounded(engine, BOXES, DOORS, pictures=picture).prediction["result"]
    assert engine.most == VIEWS_AT_ONCE
    assert picture.fetched == 1
    doors = [one for one in result if one["type"] == "number"]
    assert len(doors) == 40
    for one in doors:
        left = one["value"]["x"] / 100 * 644
        assert one["value"]["number"] == pytest.approx(left, abs=5), "its own answer"


def test_values_follow_their_region_with_its_id_and_whole_geometry() -> None:
    result = grounded(Garage(), BOXES, COLOUR, DOORS, PLATE).prediction["result"]
    kinds = [one["type"] for one in result]
    assert kinds == ["rectanglelabels", "choices", "number", "textarea"] * 3
    for region, *values in zip(*[iter(result)] * 4, strict=True):
        assert {one["id"] for one in values} == {region["id"]}
        geometry = {k: v for k, v in region["value"].items() if k != "rectanglelabels"}
        own = [{"choices": ["b"]}, {"number": 4}, {"text": ["AB 12"]}]
        assert [one["value"] for one in values] == [{**geometry, **value} for value in own]
        shared = ("to_name", "original_width", "original_height", "image_rotation")
        assert all(one[key] == region[key] for one in values for key in shared)
        assert all(one["score"] != region["score"] for one in values), "a score of its own"


def test_a_region_of_two_results_has_its_values_once_after_both() -> None:
    result = grounded(Garage(), RECTANGLE, LABELS, COLOUR).prediction["result"]
    assert [one["type"] for one in result] == ["rectangle", "labels", "choices"] * 3


def test_the_prediction_s_score_is_that_of_its_regions() -> None:
    plain = grounded(Garage(), BOXES).prediction
    asked = grounded(Garage(), BOXES, COLOUR).prediction
    assert asked["score"] == plain["score"]


def test_a_point_is_asked_about_in_a_view_around_it() -> None:
    engine = Garage()
    result = grounded(engine, POINTS, COLOUR).prediction["result"]
    assert [one["type"] for one in result] == ["keypointlabels", "choices"]
    (view_,) = engine.about_regions[0].views
    assert view_.frame.extent.width * 640 == pytest.approx(view_.frame.extent.height * 480, abs=2)
    assert result[1]["value"] == {**POINT_OF(result[0]), "choices": ["b"]}


def POINT_OF(region: dict[str, Any]) -> dict[str, float]:
    return {key: region["value"][key] for key in ("x", "y", "width")}


def test_a_control_of_some_labels_is_asked_about_their_regions_alone() -> None:
    engine = Garage()
    dogs = having(COLOUR, 'whenTagName="box" whenLabelValue="Dog,Cat"')
    result = grounded(engine, BOXES, dogs).prediction["result"]
    assert len(engine.about_regions) == 1
    (value,) = [one for one in result if one["type"] == "choices"]
    (dog,) = [one for one in result if one["value"].get("rectanglelabels") == ["d"]]
    assert value["id"] == dog["id"]


@pytest.mark.parametrize(("tag", "asked"), [("box", 3), ("kp", 1), ("other", 0)])
def test_a_control_of_one_tag_is_asked_about_its_regions_alone(tag: str, asked: int) -> None:
    engine = Garage()
    grounded(engine, BOXES, POINTS, having(COLOUR, f'whenTagName="{tag}"'))
    assert len(engine.about_regions) == asked


def test_what_is_no_value_leaves_the_region_alone_and_is_counted() -> None:
    done = grounded(Garage(colour="green", doors="many"), BOXES, COLOUR, DOORS)
    assert [one["type"] for one in done.prediction["result"]] == ["rectanglelabels"] * 3
    assert dict(done.dropped) == {"unknown_label": 3, "unusable_value": 3}


def test_an_answer_that_cannot_be_read_costs_its_region_no_more_than_the_value() -> None:
    engine = Garage()
    engine.says = lambda text: "Well, well." if "JSON object" in text else Garage().say(text)
    result = grounded(engine, BOXES, COLOUR).prediction["result"]
    assert [one["type"] for one in result] == ["rectanglelabels"] * 3


def test_a_value_for_annotators_alone_is_not_asked_for_before() -> None:
    engine = Garage()
    grounded(engine, BOXES, having(COLOUR, 'model_answer="asked"'))
    assert engine.about_regions == []


def test_a_loop_of_regions_is_not_asked_about_to_its_end() -> None:
    engine = Garage()
    many = [{"bbox_2d": [n, n, n + 20, n + 9], "label": "Car"} for n in range(0, 450, 2)]
    engine.says = lambda text: (
        json.dumps(SAID) if "JSON object" in text else json.dumps(many if "'Car'" in text else [])
    )
    done = grounded(engine, BOXES, COLOUR)
    assert len(engine.about_regions) == MAX_ASKED
    assert done.dropped["not_asked"] == len(many) - MAX_ASKED


def test_an_area_that_takes_what_came_with_a_place_asks_nothing() -> None:
    engine = Garage()
    grounded(engine, BOXES, area("text", 'perRegion="true"'))
    assert engine.about_regions == []


@pytest.mark.parametrize(
    ("parts", "tags"),
    [
        ((BOXES, area("t", 'perRegion="true"')), ("TextArea",)),
        ((BOXES, COLOUR), ("Choices", "Choices:region")),
        ((BOXES, PLATE), ("TextArea", "TextArea:region")),
    ],
)
def test_a_config_whose_regions_are_newly_asked_about_gets_another_version(
    parts: tuple[str, ...], tags: tuple[str, ...]
) -> None:
    assert config(*parts).later_tags == tags


@pytest.mark.parametrize(
    "condition",
    ['perItem="true"', 'visibleWhen="choice-selected"', 'whenChoiceValue="x"', 'whenRole="x"'],
)
def test_a_control_that_waits_for_an_annotator_is_left_to_people(condition: str) -> None:
    assert len(config(BOXES, having(COLOUR, condition)).controls) == 1


def test_a_wrong_attribute_of_a_per_region_control_is_refused() -> None:
    assert "model_task" in str(refused(view(BOXES, having(COLOUR, 'model_task="ocr"'))))


# The view of a region


@given(boxes())
def test_a_crop_holds_its_box_in_whole_pixels_and_no_thin_strip(box: Box) -> None:
    image = image_frame(640, 480)
    inside = box.to(image).clip()
    part, (x1, y1, x2, y2) = crop_frame(box, image)
    assert 0 <= x1 < x2 <= 640
    assert 0 <= y1 < y2 <= 480
    assert (part.width, part.height) == (x2 - x1, y2 - y1)
    assert x1 <= inside.x1 + 1e-6
    assert inside.x2 <= x2 + 1e-6
    assert y1 <= inside.y1 + 1e-6
    assert inside.y2 <= y2 + 1e-6
    # At an edge the crop has its margin on one side alone.
    long, short = max(part.width, part.height), min(part.width, part.height)
    assert long <= 2 * CROP_ASPECT * (short + 1)


def test_a_crop_shows_the_very_pixels_of_its_extent() -> None:
    picture = Image.new("RGB", (640, 480), "white")
    picture.paste("red", (320, 240, 480, 360))
    image = image_frame(640, 480)
    seen = around(picture, Box(320, 240, 480, 360, image), PixelBounds(28, 28 * 28, 10**6))
    inner = Box(320, 240, 480, 360, image).to(seen.frame)
    middle = (round(inner.x1) + 3, round(inner.y1) + 3)
    outer = (round(inner.x1) - 4, round(inner.y1) - 4)
    assert seen.pixels.getpixel(middle) == (255, 0, 0)
    assert seen.pixels.getpixel(outer) == (255, 255, 255)
    assert seen.image == image


def test_a_small_crop_is_enlarged_to_the_least_that_the_model_reads() -> None:
    picture = Image.new("RGB", (640, 480))
    image = image_frame(640, 480)
    for place in (Box(10, 10, 20, 14, image), Point(0, 0, image), Box(0, 0, 640, 1, image)):
        seen = around(picture, place, PixelBounds(28, 256 * 28 * 28, 1280 * 28 * 28))
        assert seen.pixels.width * seen.pixels.height >= 256 * 28 * 28
        assert seen.pixels.size == (seen.frame.width, seen.frame.height)
