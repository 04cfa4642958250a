"""Controls that read: which ones do, what they ask, and what becomes of print and pages."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from grounding.engines.base import ModelRequest
from grounding.geometry import PERCENT, Box, Point
from grounding.labelstudio.config.interface import Label, ModelTask
from grounding.labelstudio.interactive.context import Intent
from grounding.labelstudio.plan import PlannedQuery, PromptDefaults, plan
from grounding.labelstudio.reading import match_element
from grounding.queries import Fill, Locate, Meaning, ParseDocument, TextUnit, Transcribe
from tests.labelstudio.configs import BOXES, POINTS, RECTANGLE, area, config, having, refused, view
from tests.pipeline.test_pipeline import InlineEngine, OnePicture, grounded

TEXT = area("text", 'perRegion="true"')
NOTES = area("notes")


def boxes(*labels: str, attributes: str = "") -> str:
    """Return a tag that draws boxes with these labels."""
    inside = "".join(f'<Label value="{label}"/>' for label in labels)
    return f'<RectangleLabels name="box" toName="image" {attributes}>{inside}</RectangleLabels>'


PRINT = boxes("Text")
PAGE = boxes("Title", "Text", "Table", "Picture", "Section-header")
FORM = boxes("total", "date", attributes='model_task="ocr"')
OCR = 'model_task="ocr"'


def asked(*parts: str, intent: Intent | None = None, data: dict[str, Any] | None = None) -> Any:
    """Return the only query of a config with these parts."""
    (planned,) = plan(config(*parts), intent, PromptDefaults(data or {}))
    return planned.query


@pytest.mark.parametrize(
    ("parts", "task"),
    [
        ((PRINT, TEXT), ModelTask.OCR),
        ((boxes("line"), TEXT), ModelTask.OCR),
        ((boxes("Text", "Word"), TEXT), ModelTask.OCR),
        ((boxes("文字"), TEXT), ModelTask.OCR),
        ((RECTANGLE, '<Labels name="l" toName="image"><Label value="Text"/></Labels>', TEXT),
         ModelTask.OCR),
        ((boxes("Text", "Logo"), TEXT), None),
        ((PRINT,), None),
        ((PRINT, having(TEXT, 'model_prompt="What it means"')), None),
        ((PAGE, TEXT), ModelTask.DOCUMENT),
        ((boxes("text", "list_item", "page_header", "stamp"), TEXT), ModelTask.DOCUMENT),
        ((PAGE,), None),
        ((boxes("Table", "Chair", "Text"), TEXT), None),
        ((BOXES, TEXT), None),
        ((having(BOXES, OCR),), ModelTask.OCR),
        ((having(BOXES, 'model_task="document"'),), ModelTask.DOCUMENT),
        ((having(RECTANGLE, OCR), TEXT), ModelTask.OCR),
        ((NOTES,), ModelTask.OCR),
        ((NOTES, area("more")), None),
        ((having(NOTES, 'model_prompt="A caption"'),), None),
        ((having(NOTES, 'model_task="fill"'),), ModelTask.FILL),
    ],
)  # fmt: skip
def test_labels_and_neighbours_say_what_reads(
    parts: tuple[str, ...], task: ModelTask | None
) -> None:
    assert config(*parts).controls[0].task is task


@pytest.mark.parametrize(
    ("parts", "query"),
    [
        ((PRINT, TEXT), Transcribe(TextUnit.LINE, ("Text",))),
        ((boxes("Word"), TEXT), Transcribe(TextUnit.WORD, ("Word",))),
        ((boxes("Word", "Line"), TEXT), Transcribe(TextUnit.LINE, ("Line",))),
        ((having(RECTANGLE, OCR), TEXT), Transcribe()),
        ((FORM, TEXT), Transcribe(classes=("total", "date"), named=True)),
        (
            (
                FORM.replace('value="total"', 'value="total" model_description="to pay"'),
                TEXT,
            ),
            Transcribe(
                classes=("total", "date"), named=True, meanings=(Meaning(("total",), "to pay"),)
            ),
        ),
        ((PAGE, TEXT), ParseDocument(("Title", "Text", "Table", "Picture", "Section-header"))),
        ((NOTES,), Transcribe(TextUnit.WHOLE)),
    ],
)
def test_a_control_that_reads_asks_one_query(
    parts: tuple[str, ...], query: Transcribe | ParseDocument
) -> None:
    assert asked(*parts) == query


def test_a_whole_text_is_asked_for_beside_the_other_values() -> None:
    one, other = plan(
        config(having(NOTES, OCR), area("total"), '<Rating name="r" toName="image"/>')
    )
    assert one.query == Transcribe(TextUnit.WHOLE)
    assert isinstance(other.query, Fill)
    assert [field.name for field in other.query.fields] == ["total", "r"]


def test_print_is_looked_at_in_more_pixels_than_things_are() -> None:
    engine = InlineEngine(lambda text: "[]")
    grounded(engine, BOXES, pictures=OnePicture(2000, 3000))
    plain = engine.requests[0].views[0].pixels.size
    grounded(engine, PRINT, TEXT, pictures=OnePicture(2000, 3000))
    read = engine.requests[-1].views[0].pixels.size
    assert plain[0] * plain[1] <= 1280 * 28 * 28 < read[0] * read[1] <= 2560 * 28 * 28


def test_a_prompt_still_asks_for_places() -> None:
    assert isinstance(asked(PRINT, TEXT, data={"prompt": "the stamp"}), Locate)
    assert isinstance(asked(having(PRINT, 'model_prompt="the stamp"'), TEXT), Locate)
    parsed = config(PRINT, TEXT)
    typed = plan(parsed, Intent("the stamp", controls=parsed.controls[:1]))
    assert isinstance(typed[0].query, Locate)


# What an annotator draws


def drawn(*parts: str, around: Box | Point, label: str | None = None) -> PlannedQuery:
    parsed = config(*parts)
    (planned,) = plan(parsed, Intent(None, around, label, "box", parsed.controls[:1]))
    return planned


DRAWN = Box(10, 20, 50, 30, PERCENT)


def test_a_drawn_box_is_read_in_a_view_of_its_own() -> None:
    planned = drawn(PRINT, TEXT, around=DRAWN)
    assert planned.query == Transcribe(TextUnit.WHOLE, ("Text",), around=DRAWN)
    assert planned.view.around == DRAWN
    form = drawn(FORM, TEXT, around=DRAWN, label="date")
    assert form.query == Transcribe(TextUnit.WHOLE, ("date",), around=DRAWN)


def test_a_click_asks_for_a_box_as_anywhere() -> None:
    assert isinstance(drawn(PRINT, TEXT, around=Point(10, 10, PERCENT)).query, Locate)


def test_the_text_of_a_drawn_box_comes_back_at_its_very_place() -> None:
    box = {"x": 10, "y": 20, "width": 40, "height": 10, "rotation": 0, "rectanglelabels": ["date"]}
    result = {"id": "r", "type": "rectanglelabels", "from_name": "box", "to_name": "image"}
    engine = InlineEngine(lambda text: "01 Jun\n2018", probability=-0.1)
    context = {"result": [{**result, "value": box}]}
    prediction = grounded(engine, FORM, TEXT, context=context).prediction["result"]
    assert [(one["type"], one["value"].get("text")) for one in prediction] == [
        ("rectanglelabels", None),
        ("textarea", ["01 Jun\n2018"]),
    ]
    assert prediction[0]["value"].pop("rectanglelabels") == ["date"]
    assert prediction[0]["value"] == pytest.approx({k: box[k] for k in prediction[0]["value"]})
    (request,) = engine.requests
    assert request.views[0].frame.extent.width < 0.6


# Results


LINES = json.dumps(
    [
        {"bbox_2d": [64, 48, 300, 70], "text_content": "UNIHAKKA SDN BHD"},
        {"bbox_2d": [64, 80, 300, 102], "text_content": "01 Jun 2018"},
    ]
)


@pytest.mark.parametrize(
    ("parts", "kinds"),
    [
        ((PRINT, TEXT), ["rectanglelabels", "textarea"]),
        ((RECTANGLE, '<Labels name="l" toName="image"><Label value="Text"/></Labels>', TEXT),
         ["rectangle", "labels", "textarea"]),
        ((having(RECTANGLE, OCR), TEXT), ["rectangle", "textarea"]),
    ],
)  # fmt: skip
def test_each_line_is_a_region_with_its_text_in_reading_order(
    parts: tuple[str, ...], kinds: list[str]
) -> None:
    result = grounded(InlineEngine(lambda text: LINES), *parts).prediction["result"]
    assert [one["type"] for one in result] == kinds * 2
    texts = [one["value"]["text"] for one in result if one["type"] == "textarea"]
    assert texts == [["UNIHAKKA SDN BHD"], ["01 Jun 2018"]]
    names = [one["value"].get("rectanglelabels") or one["value"].get("labels") for one in result]
    assert [name for name in names if name] in ([["Text"], ["Text"]], [])


def test_fields_with_places_have_their_labels_and_others_are_left_out() -> None:
    said = json.dumps(
        [
            {"bbox_2d": [64, 48, 300, 70], "label": "Date", "text_content": "01 Jun 2018"},
            {"bbox_2d": [64, 80, 300, 102], "label": "total", "text_content": "RM8.75"},
            {"bbox_2d": [64, 120, 300, 140], "label": "cashier", "text_content": "Ann"},
        ]
    )
    done = grounded(InlineEngine(lambda text: said), FORM, TEXT)
    result = done.prediction["result"]
    assert [r["value"].get("rectanglelabels") or r["value"]["text"] for r in result] == [
        ["date"],
        ["01 Jun 2018"],
        ["total"],
        ["RM8.75"],
    ]
    assert dict(done.unknown) == {"cashier": 1}


HTML = (
    '```html\n<html><body><h1 data-bbox="10 10 200 40">Report</h1>\n'
    '<h2 data-bbox="10 50 200 70">Abstract</h2><p data-bbox="10 80 200 160">We &amp; you</p>'
    '<div class="image" data-bbox="10 170 200 300"><img data-bbox="10 170 200 300"/></div>'
    '<table data-bbox="10 310 200 400" class="table1"><tr><td>a</td></tr></table>'
    '<div class="chemical formula" data-bbox="10 410 200 440">H2O</div></body></html>\n```'
)
ORDER = '<Relations><Relation value="next"/></Relations>'


def test_a_page_becomes_labelled_regions_with_their_text_in_reading_order() -> None:
    done = grounded(InlineEngine(lambda text: HTML), PAGE, TEXT)
    result = done.prediction["result"]
    assert [r["value"].get("rectanglelabels") or r["value"]["text"] for r in result] == [
        ["Title"],
        ["Report"],
        ["Section-header"],
        ["Abstract"],
        ["Text"],
        ["We & you"],
        ["Picture"],
        ["Table"],
        ["<table><tr><td>a</td></tr></table>"],
    ]
    assert dict(done.unknown) == {"chemical formula": 1}


def test_relations_say_what_comes_next_and_come_last() -> None:
    result = grounded(InlineEngine(lambda text: HTML), PAGE, TEXT, ORDER).prediction["result"]
    relations = [one for one in result if one["type"] == "relation"]
    assert result[-4:] == relations
    regions = [one["id"] for one in result if one["type"] == "rectanglelabels"]
    links = [(one["from_id"], one["to_id"]) for one in relations]
    assert links == list(itertools.pairwise(regions))
    assert all(one["labels"] == ["next"] and one["direction"] == "right" for one in relations)
    lines = grounded(InlineEngine(lambda text: LINES), PRINT, TEXT, ORDER).prediction["result"]
    assert {one["type"] for one in lines} == {"rectanglelabels", "textarea"}


def test_a_whole_text_is_written_and_none_where_nothing_is_printed() -> None:
    engine = InlineEngine(lambda text: "A\nB", probability=-0.1)
    (result,) = grounded(engine, NOTES).prediction["result"]
    assert (result["type"], result["value"]) == ("textarea", {"text": ["A\nB"]})
    assert grounded(InlineEngine(lambda text: "None"), NOTES).prediction["result"] == []


def test_each_region_can_be_read_once_it_stands() -> None:
    def say(request: str) -> str:
        cars = [{"bbox_2d": [64, 48, 128, 96], "label": "Car"}]
        if request.startswith("Read all the text"):
            return "AB 12"
        return json.dumps(cars if "'Car'" in request else [])

    engine = InlineEngine(say)
    result = grounded(engine, BOXES, having(TEXT, OCR)).prediction["result"]
    assert [one["type"] for one in result] == ["rectanglelabels", "textarea"]
    assert result[1]["value"]["text"] == ["AB 12"]
    last: ModelRequest = engine.requests[-1]
    assert last.views[0].frame.extent.width < 0.5


# The names of a page's parts


@pytest.mark.parametrize(
    ("name", "labels", "label"),
    [
        ("h1", ("Title", "Section-header"), "Title"),
        ("h1", ("section_header", "text"), "section_header"),
        ("h3", ("Title", "Section-header"), "Section-header"),
        ("h6", ("Title",), "Title"),
        ("p", ("paragraph",), "paragraph"),
        ("li", ("List-item", "Text"), "List-item"),
        ("li", ("Text",), "Text"),
        ("table4", ("Table",), "Table"),
        ("table", ("tables",), "tables"),
        ("image", ("Picture",), "Picture"),
        ("image caption", ("Figure", "Caption"), "Figure"),
        ("image ocr", ("Image",), "Image"),
        ("chart", ("Picture",), "Picture"),
        ("chart", ("Chart", "Picture"), "Chart"),
        ("formula.machine_printed", ("Formula",), "Formula"),
        ("chemical formula", ("Equation",), "Equation"),
        ("music sheet", ("Picture",), "Picture"),
        ("Page-footer", ("Page-footer", "Text"), "Page-footer"),
        ("stamp", ("Stamp", "Text"), "Stamp"),
        ("stamp", ("Text",), None),
        ("formula", ("Text",), None),
        ("", ("Text",), None),
    ],
)
def test_an_element_becomes_the_first_label_that_fits(
    name: str, labels: tuple[str, ...], label: str | None
) -> None:
    found = match_element(name, tuple(map(Label, labels)))
    assert (found and found.value) == label


@pytest.mark.parametrize(
    ("parts", "tags"),
    [
        ((PRINT, TEXT), ("RectangleLabels:ocr", "TextArea")),
        ((PAGE, TEXT), ("RectangleLabels:document", "TextArea")),
        ((BOXES, TEXT), ("TextArea",)),
        ((PRINT,), ()),
    ],
)
def test_a_config_that_reads_gets_another_version(
    parts: tuple[str, ...], tags: tuple[str, ...]
) -> None:
    assert config(*parts).later_tags == tags


def test_points_do_not_read() -> None:
    assert "model_task" in str(refused(view(having(POINTS, OCR))))
