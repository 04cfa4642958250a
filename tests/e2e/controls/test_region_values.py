"""Values of each region, in the real Label Studio: shown, kept and submitted with their region."""

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
    '<RectangleLabels name="sign" toName="image"><Label value="sign"/></RectangleLabels>',
    '<TextArea name="text" toName="image" perRegion="true" model_prompt="What the sign says"/>',
    '<Number name="height" toName="image" perRegion="true"/>',
    '<Choices name="state" toName="image" perRegion="true"><Choice value="clean"/>'
    '<Choice value="rusty" alias="r"/></Choices>',
    '<Rating name="quality" toName="image" perRegion="true"/>',
    '<Taxonomy name="kind" toName="image" perRegion="true"><Choice value="Road">'
    '<Choice value="Stop"/></Choice></Taxonomy>',
    '<DateTime name="day" toName="image" perRegion="true" only="date"/>',
)
SIGNS = [
    {"bbox_2d": [60, 60, 200, 160], "label": "sign"},
    {"bbox_2d": [240, 200, 380, 300], "label": "sign"},
]
SAID = {
    "text": "STOP",
    "height": "2.5 m",
    "state": "rusty",
    "quality": "3/5",
    "kind": ["Road", "Stop"],
    "day": "1 May 2020",
}
WRITTEN = {
    "text": {"text": ["STOP"]},
    "height": {"number": 2.5},
    "state": {"choices": ["r"]},
    "quality": {"rating": 3},
    "kind": {"taxonomy": [["Road", "Stop"]]},
    "day": {"datetime": "2020-05-01"},
}


def answer(request: ModelRequest) -> Completion:
    """Return two signs, or what is said of one."""
    said = SIGNS if "bbox" in request.text else SAID
    return make_completion(json.dumps(said), logprob=-0.1)


project = with_a_picture("regionvalues", CONFIG, answer)


def test_label_studio_keeps_the_values_of_each_region(project: Project) -> None:
    (saved,) = project.retrieve(1).saved
    kinds = ["sign", "text", "height", "state", "quality", "kind", "day"]
    assert [one["from_name"] for one in saved.result] == kinds * 2
    assert project.can_import(saved)


def test_the_page_shows_them_with_their_region_and_submits_them(
    project: Project, studio: Client, annotator: LabellingPage
) -> None:
    project.retrieve(1)
    (task,) = [task.id for task in studio.tasks(project.id)]
    annotator.open(project.id, task)
    annotator.wait_for_regions(2)
    page = annotator.page
    page.locator(".lsf-outliner-item").first.click()
    expect(page.locator("input[name=height]")).to_have_value("2.5", timeout=ANSWER_MS)
    expect(page.get_by_role("checkbox", name="rusty")).to_be_checked()
    expect(page.locator(".ant-rate-star-full")).to_have_count(3)
    expect(page.locator("input[name=day-date]")).to_have_value("2020-05-01")
    annotator.screenshot("region-values")
    page.locator("input[name=height]").fill("2.75")
    page.locator("input[name=height]").press("Tab")
    annotator.submit()
    submitted = studio.annotations(task)
    regions = {one["id"] for one in submitted if one["type"] == "rectanglelabels"}
    assert len(regions) == 2
    for result in (submitted, studio.exported(project.id)):
        heights = {one["value"]["number"] for one in result if one["from_name"] == "height"}
        assert heights == {2.5, 2.75}
        for region in regions:
            values = {one["from_name"]: one["value"] for one in result if one["id"] == region}
            for name, value in WRITTEN.items():
                assert name == "height" or values[name].items() >= value.items()
