"""Per-region text areas: the text that came with a place, beside its region."""

from __future__ import annotations

import pytest

from grounding.geometry import Box, Frame, Point, image_frame
from grounding.labelstudio.controls import write_results
from grounding.labelstudio.controls.base import Region
from grounding.labelstudio.plan import plan
from grounding.queries import Finding, Locate
from tests.labelstudio.configs import (
    BOXES,
    CHOICES,
    KEY_POINT,
    LABELS,
    POINTS,
    RECTANGLE,
    area,
    config,
)

IMAGE = image_frame(800, 600)
MODEL = Frame("model", 400, 300)
TEXT = area("transcription", 'perRegion="true"')
NOTE = area("note", 'perRegion="true" smart="false"')


def results(*parts: str, text: str | None) -> list[Region]:
    """Return the results of the first control of these parts for one finding with `text`."""
    parsed = config(*parts)
    on = parsed.controls[0]
    planned = next(one for one in plan(parsed) if on in one.controls)
    assert isinstance(planned.query, Locate)
    box = planned.query.shape == "box"
    place = Box(40, 30, 80, 150, MODEL) if box else Point(40, 30, MODEL)
    finding = Finding(place, planned.query.classes[0], text, score=0.5)
    return write_results(on, [(finding, planned.query)], IMAGE, parsed.companions(on)).result


@pytest.mark.parametrize("parts", [(BOXES,), (RECTANGLE, LABELS), (POINTS,), (KEY_POINT, LABELS)])
def test_the_text_follows_its_region_with_its_id_and_whole_geometry(parts: tuple[str, ...]) -> None:
    *region, text = results(*parts, TEXT, text="RM 8.75\nnett")
    assert (text["type"], text["from_name"]) == ("textarea", "transcription")
    assert text["value"]["text"] == ["RM 8.75\nnett"]
    geometry = {k: v for k, v in region[0]["value"].items() if not isinstance(v, list)}
    assert {k: v for k, v in text["value"].items() if k != "text"} == geometry
    common = ("id", "to_name", "original_width", "original_height", "image_rotation", "score")
    assert {key: text[key] for key in common} == {key: region[0][key] for key in common}
    assert "meta" not in region[0], "the text is said once"


@pytest.mark.parametrize(
    ("names", "taker"),
    [
        (("transcription", "note"), "transcription"),
        (("note", "transcription"), "transcription"),
        (("note", "text"), "text"),
        (("text", "plate_ocr"), "plate_ocr"),
        (("context", "lineText"), "lineText"),
        (("备注", "文字"), "文字"),
        (("note", "remark"), "note"),
        (("text", "content"), "text"),
        (("lonely",), "lonely"),
    ],
)
def test_of_several_areas_one_gets_the_text(names: tuple[str, ...], taker: str) -> None:
    """The one whose name says that it is for print, else the first."""
    areas = [area(name, 'perRegion="true"') for name in names]
    made = results(BOXES, *areas, text="exit")
    assert [one["from_name"] for one in made] == ["box", taker]


def test_an_area_with_a_condition_for_a_region_takes_its_text_from_one_without() -> None:
    cars = area("b", 'perRegion="true" whenLabelValue="Car"')
    made = results(BOXES, area("a", 'perRegion="true"'), cars, text="exit")
    assert [one["from_name"] for one in made] == ["box", "b"]
    made = results(BOXES, TEXT, cars, text="exit")
    assert [one["from_name"] for one in made] == ["box", "transcription"]


@pytest.mark.parametrize(
    "attributes",
    [
        'whenLabelValue="Dog"',
        'whenTagName="kp"',
        'visibleWhen="choice-selected" whenTagName="c" whenChoiceValue="x"',
    ],
)
def test_an_area_of_other_regions_gets_no_text(attributes: str) -> None:
    other = area("other", f'perRegion="true" {attributes}')
    made = results(BOXES, POINTS, CHOICES, TEXT, other, text="exit")
    assert [one["from_name"] for one in made] == ["box", "transcription"]
    (region,) = results(BOXES, POINTS, CHOICES, other, text="exit")
    assert region["meta"] == {"text": ["exit"]}, "there is no other place for it"


@pytest.mark.parametrize("names", ["Car", "Dog,Car", "Dog, Car"])
def test_an_area_of_regions_with_a_label_gets_their_text(names: str) -> None:
    mine = area("mine", f'perRegion="true" whenTagName="box" whenLabelValue="{names}"')
    assert [one["from_name"] for one in results(BOXES, mine, text="exit")] == ["box", "mine"]


@pytest.mark.parametrize("text", [None, "", " \n", "\u200e"])
def test_a_finding_without_a_text_has_its_region_alone(text: str | None) -> None:
    assert [one["type"] for one in results(BOXES, TEXT, text=text)] == ["rectanglelabels"]


def test_without_an_area_the_text_is_a_note_of_the_region() -> None:
    (region,) = results(BOXES, text="exit")
    assert region["meta"] == {"text": ["exit"]}


@pytest.mark.parametrize(
    "parts", [(CHOICES, TEXT), (BOXES, TEXT.replace('toName="image"', 'toName="other"'))]
)
def test_an_area_where_nothing_is_drawn_is_left_alone(parts: tuple[str, ...]) -> None:
    assert [c.tag for c in config(*parts).controls if c.per_region] == []


def test_an_area_of_the_whole_image_is_for_prompts_and_gets_no_text() -> None:
    (region,) = results(BOXES, area("prompt"), text="exit")
    assert region["type"] == "rectanglelabels"
