"""Texts beside regions and choices of a whole image, in the real Label Studio and its page.

The shapes checkpoint writes neither, so the model is a script behind an OpenAI-compatible server.
"""

from __future__ import annotations

import json

import pytest
from playwright.sync_api import expect

from grounding.engines.base import Completion, ModelRequest
from grounding.testing import make_completion
from tests.e2e.client import Client
from tests.e2e.page import ANSWER_MS, LabellingPage
from tests.e2e.projects import Project, view
from tests.e2e.scripted import with_a_picture

pytestmark = pytest.mark.e2e

CONFIG = view(
    '<RectangleLabels name="sign" toName="image"><Label value="sign"/></RectangleLabels>',
    '<TextArea name="text" toName="image" perRegion="true" editable="true" '
    'displayMode="region-list"/>',
    '<Choices name="weather" toName="image"><Choice value="sunny"/>'
    '<Choice value="rainy" alias="wet"/></Choices>',
)
SIGNS = [
    {"bbox_2d": [60, 60, 200, 160], "label": "sign", "text_content": "EXIT"},
    {"bbox_2d": [240, 200, 380, 300], "label": "sign", "text_content": "NO ENTRY"},
]


def answer(request: ModelRequest) -> Completion:
    """Return two signs with their text, or rainy weather, whichever was asked for."""
    places = "bbox" in request.text
    return make_completion(json.dumps(SIGNS if places else {"weather": "rainy"}), logprob=-0.1)


project = with_a_picture("values", CONFIG, answer)


def test_a_prediction_holds_regions_then_their_texts_then_the_choice(project: Project) -> None:
    (saved,) = project.retrieve(1).saved
    kinds = [(one["type"], one["from_name"]) for one in saved.result]
    assert kinds == [
        ("rectanglelabels", "sign"),
        ("textarea", "text"),
        ("rectanglelabels", "sign"),
        ("textarea", "text"),
        ("choices", "weather"),
    ]
    assert [one["value"]["text"] for one in saved.result if one["type"] == "textarea"] == [
        ["EXIT"],
        ["NO ENTRY"],
    ]
    assert saved.result[-1]["value"] == {"choices": ["wet"]}
    assert saved.model_version == project.model_version()


def test_the_page_shows_both_and_submits_them(
    project: Project, studio: Client, annotator: LabellingPage
) -> None:
    (task,) = [task.id for task in studio.tasks(project.id)]
    annotator.open(project.id, task)
    expect(annotator.page.get_by_role("treeitem", name="EXIT")).to_be_visible(timeout=ANSWER_MS)
    expect(annotator.page.get_by_role("checkbox", name="rainy")).to_be_checked(timeout=ANSWER_MS)
    annotator.screenshot("values")
    annotator.submit()
    submitted = studio.annotations(task)
    texts = [one["value"]["text"] for one in submitted if one["type"] == "textarea"]
    assert sorted(texts) == [["EXIT"], ["NO ENTRY"]]
    assert [one["value"]["choices"] for one in submitted if one["type"] == "choices"] == [["wet"]]
    regions = {one["id"] for one in submitted if one["type"] == "rectanglelabels"}
    assert {one["id"] for one in submitted if one["type"] == "textarea"} == regions
