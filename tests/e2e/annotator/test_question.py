"""A typed question and a count, in the real Label Studio and its page."""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from grounding.engines.base import Completion, ModelRequest
from grounding.testing import make_completion
from tests.e2e.client import Client
from tests.e2e.page import ANSWER_MS, LabellingPage
from tests.e2e.projects import Project, view_above
from tests.e2e.scripted import with_a_picture

pytestmark = pytest.mark.e2e

CONFIG = view_above(
    '<TextArea name="prompt" toName="image" rows="1"/>',
    '<TextArea name="answer" toName="image" smart="false" model_task="fill" '
    'model_answer="asked" maxSubmissions="0"/>',
    '<RectangleLabels name="egg" toName="image"><Label value="egg"/></RectangleLabels>',
    '<Number name="count" toName="image" model_task="count"/>',
)
EGGS = [
    {"bbox_2d": [60, 60, 100, 100], "label": "egg"},
    {"bbox_2d": [140, 200, 180, 240], "label": "egg"},
    {"bbox_2d": [60, 300, 100, 340], "label": "egg"},
]


def answer(request: ModelRequest) -> Completion:
    """Return three eggs, or the answer to a question."""
    said = EGGS if "bbox" in request.text else {"answer": "They are brown."}
    return make_completion(json.dumps(said), logprob=-0.1)


project = with_a_picture("question", CONFIG, answer)


def test_the_count_is_that_of_the_boxes_and_a_question_is_answered_in_its_area(
    project: Project, studio: Client, annotator: LabellingPage
) -> None:
    (saved,) = project.retrieve(1).saved
    assert [one["type"] for one in saved.result] == ["rectanglelabels"] * 3 + ["number"]
    annotator.open(project.id, saved.task)
    annotator.wait_for_regions(3)
    expect(annotator.page.locator("input[name=count]")).to_have_value("3", timeout=ANSWER_MS)
    annotator.auto_annotate()
    annotator.ask("what colour are they?")
    annotator.wait_for_text("They are brown.")
    annotator.screenshot("question")
    annotator.delete(0)
    annotator.page.locator("input[name=count]").fill("2")
    annotator.page.locator("input[name=count]").press("Tab")
    annotator.submit()
    for result in (studio.annotations(saved.task), studio.exported(project.id)):
        assert [one["type"] for one in result].count("rectanglelabels") == 2
        values = {one["from_name"]: one["value"] for one in result}
        assert values["count"] == {"number": 2}
        assert values["answer"] == {"text": ["They are brown."]}
