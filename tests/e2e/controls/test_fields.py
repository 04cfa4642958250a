"""Texts, numbers, dates, ratings, paths and choices of an image, in the real Label Studio.

The shapes checkpoint fills in none of them, so the model is a script behind an OpenAI-compatible
server.
"""

from __future__ import annotations

import json
from typing import Any

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
    '<TextArea name="total" toName="image" editable="true"/>',
    '<Number name="amount" toName="image"/>',
    '<DateTime name="day" toName="image" only="date"/>',
    '<DateTime name="moment" toName="image"/>',
    '<DateTime name="german" toName="image" only="date" format="%d.%m.%Y"/>',
    '<DateTime name="clock" toName="image" only="time"/>',
    '<Rating name="stars" toName="image" maxRating="7"/>',
    '<Taxonomy name="kind" toName="image"><Choice value="Print" alias="p">'
    '<Choice value="Receipt"/></Choice><Choice value="Photo"/></Taxonomy>',
    '<Choices name="paid" toName="image"><Choice value="yes"/><Choice value="no"/></Choices>',
)
SAID = {
    "total": "RM 8.75\nnett",
    "amount": "RM 8.75",
    "day": "01 Jun 2018",
    "moment": "2018-06-01 18:41",
    "german": "2018-06-01",
    "clock": "6:41 PM",
    "stars": 6,
    "kind": ["Print > Receipt"],
    "paid": "yes",
}
WRITTEN: dict[str, dict[str, Any]] = {
    "total": {"text": ["RM 8.75\nnett"]},
    "amount": {"number": 8.75},
    "day": {"datetime": "2018-06-01"},
    "moment": {"datetime": "2018-06-01T18:41"},
    "german": {"datetime": "01.06.2018"},
    "clock": {"datetime": "18:41"},
    "stars": {"rating": 6},
    "kind": {"taxonomy": [["p", "Receipt"]]},
    "paid": {"choices": ["yes"]},
}


def answer(request: ModelRequest) -> Completion:
    return make_completion(json.dumps(SAID), logprob=-0.1)


project = with_a_picture("fields", CONFIG, answer)


def test_every_value_is_saved_in_its_type(project: Project) -> None:
    (saved,) = project.retrieve(1).saved
    assert {one["from_name"]: one["value"] for one in saved.result} == WRITTEN
    assert saved.model_version == project.model_version()


def test_label_studio_imports_every_value_as_it_is_pushed(project: Project) -> None:
    (saved,) = project.retrieve(1).saved
    assert project.can_import(saved)


def test_the_page_shows_every_value_and_what_people_change_is_submitted_and_exported(
    project: Project, studio: Client, annotator: LabellingPage
) -> None:
    project.retrieve(1)
    (task,) = [task.id for task in studio.tasks(project.id)]
    annotator.open(project.id, task)
    page = annotator.page
    expect(page.locator("input[name=amount]")).to_have_value("8.75", timeout=ANSWER_MS)
    expect(page.locator("input[name=day-date]")).to_have_value("2018-06-01")
    expect(page.locator("input[name=moment-date]")).to_have_value("2018-06-01")
    expect(page.locator("input[name=moment-time]")).to_have_value("18:41")
    expect(page.locator("input[name=german-date]")).to_have_value("2018-06-01")
    expect(page.locator("input[name=clock-time]")).to_have_value("18:41")
    expect(page.locator(".ant-rate-star-full")).to_have_count(6)
    expect(page.get_by_text("Receipt").first).to_be_visible()
    expect(page.get_by_role("checkbox", name="yes")).to_be_checked()
    annotator.wait_for_text("RM 8.75")
    annotator.screenshot("fields")
    page.locator("input[name=amount]").fill("9.25")
    page.locator("input[name=amount]").press("Tab")
    page.locator("input[name=no]").check()
    annotator.submit()
    edited = WRITTEN | {"amount": {"number": 9.25}, "paid": {"choices": ["no"]}}
    submitted = {one["from_name"]: one["value"] for one in studio.annotations(task)}
    assert submitted == edited
    assert {one["from_name"]: one["value"] for one in studio.exported(project.id)} == edited
