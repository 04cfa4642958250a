"""Lines of print and the parts of a page, in the real Label Studio: shown, linked, submitted."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from grounding.engines.base import Completion, ModelRequest
from grounding.testing import make_completion
from tests.e2e.client import Client
from tests.e2e.page import ANSWER_MS, LabellingPage
from tests.e2e.pictures import Sample
from tests.e2e.projects import Project, view
from tests.e2e.scripted import with_a_picture

pytestmark = pytest.mark.e2e

AREA = (
    '<TextArea name="text" toName="image" perRegion="true" editable="true" '
    'displayMode="region-list"/>'
)
LINES = view(
    '<RectangleLabels name="line" toName="image" smart="true"><Label value="Text"/>'
    "</RectangleLabels>",
    AREA,
)
PAGE = view(
    '<RectangleLabels name="part" toName="image">'
    + "".join(f'<Label value="{one}"/>' for one in ("Title", "Text", "Table", "Picture"))
    + "</RectangleLabels>",
    AREA,
    '<Relations><Relation value="next"/></Relations>',
)
LINE = '    {\n        "bbox_2d": %s,\n        "text_content": "%s",\n    },\n'
PRINTED = (
    "```json\n[\n"
    + LINE % ([60, 60, 200, 100], "EXIT")
    + LINE % ([60, 200, 260, 240], "NO ENTRY")
    + "]\n```"
)
HTML = (
    '```html\n<html><body>\n<h1 data-bbox="60 60 300 100">Report</h1>\n'
    '<p data-bbox="60 110 300 160">We &amp; you</p>\n'
    '<table data-bbox="60 200 300 300"><tr><td>a</td><td>8.75</td></tr></table>\n'
    "</body></html>\n```"
)


def answer(request: ModelRequest) -> Completion:
    """Return a page, lines or one text, whichever was asked for."""
    said = "DRAWN" if request.text.startswith("Read") else PRINTED
    return make_completion(HTML if "QwenVL" in request.text else said, logprob=-0.1)


lines = with_a_picture("lines", LINES, answer)

pages = with_a_picture("pages", PAGE, answer)


def test_the_page_lists_each_line_with_its_text_and_submits_what_is_left(
    lines: Project, studio: Client, annotator: LabellingPage
) -> None:
    tasks = [task.id for task in studio.tasks(lines.id)]  # of the other test too, if it ran
    lines.retrieve(len(tasks))
    task = min(tasks)
    annotator.open(lines.id, task)
    annotator.wait_for_regions(2)
    for text in ("EXIT", "NO ENTRY"):
        listed = annotator.page.get_by_role("treeitem", name=text)
        expect(listed).to_be_visible(timeout=ANSWER_MS)
    annotator.screenshot("lines")
    annotator.delete(1)
    annotator.submit()
    submitted = studio.annotations(task)
    texts = [one["value"]["text"] for one in submitted if one["type"] == "textarea"]
    assert texts in ([["EXIT"]], [["NO ENTRY"]])
    exported = [r["value"]["text"] for r in studio.exported(lines.id) if r["type"] == "textarea"]
    assert [text for text in exported if text != ["DRAWN"]] == texts


def test_a_drawn_box_comes_back_with_its_text(
    lines: Project, studio: Client, annotator: LabellingPage, samples: list[Sample]
) -> None:
    studio.ask_nothing_on_opening(lines.id)
    (task,) = studio.import_tasks(lines.id, [{"image": samples[1].data_uri()}])
    annotator.open(lines.id, task)
    annotator.auto_annotate()
    annotator.take_smart_tool()
    annotator.choose_label("Text")
    annotator.drag((20, 20, 60, 40))
    annotator.wait_for_suggestions(1)
    annotator.accept(saved=True)
    annotator.wait_for_regions(1)
    listed = annotator.page.get_by_role("treeitem", name="DRAWN")
    expect(listed).to_be_visible(timeout=ANSWER_MS)
    annotator.screenshot("drawn-line")
    annotator.submit()
    (box,) = [one for one in studio.annotations(task) if one["type"] == "rectanglelabels"]
    (text,) = [one for one in studio.annotations(task) if one["type"] == "textarea"]
    assert (text["value"]["text"], text["id"]) == (["DRAWN"], box["id"])
    assert box["value"]["x"] == pytest.approx(20, abs=1)


def test_the_parts_of_a_page_are_labelled_linked_corrected_and_submitted(
    pages: Project, studio: Client, annotator: LabellingPage
) -> None:
    (saved,) = pages.retrieve(1).saved
    kinds = [one["type"] for one in saved.result]
    assert kinds == ["rectanglelabels", "textarea"] * 3 + ["relation"] * 2
    assert pages.can_import(saved)
    annotator.open(pages.id, saved.task)
    annotator.wait_for_regions(3)
    for text in ("Report", "We & you", "8.75"):
        listed = annotator.page.get_by_role("treeitem", name=text)
        expect(listed).to_be_visible(timeout=ANSWER_MS)
    annotator.page.get_by_text("Relations").first.click()
    annotator.screenshot("page-parts")
    annotator.page.get_by_text("Regions", exact=True).first.click()
    annotator.delete(0)
    annotator.submit()
    submitted = studio.annotations(saved.task)
    links = [one for one in submitted if one["type"] == "relation"]
    assert [one["labels"] for one in links] == [["next"]]  # what led to the deleted part is gone
    tables = [one["value"]["text"] for one in submitted if one["type"] == "textarea"]
    assert ["<table><tr><td>a</td><td>8.75</td></tr></table>"] in tables
    assert json.dumps(tables).count("We & you") == 1
    exported = studio.exported(pages.id)
    assert [one["type"] for one in exported].count("relation") == 1
    assert [one["type"] for one in exported].count("rectanglelabels") == 2
