"""What an annotator sees and does in the real page, with a real Chromium."""

from __future__ import annotations

import time

import pytest

from tests.e2e.client import Client
from tests.e2e.conftest import Opener
from tests.e2e.page import LabellingPage
from tests.e2e.pictures import Sample
from tests.e2e.projects import BOXES, PROMPTED, Project
from tests.e2e.score import corners, iou, labels

pytestmark = pytest.mark.e2e

OPENED_WITHIN_S = 30
"""An open page is a second or two on a free machine; what counts is that it never hangs."""

Tables = dict[str, list[tuple[str, str]]]


def hosted(project: Project, *samples: Sample) -> list[int]:
    """Import the samples as tasks whose pictures are fetched; return the tasks' ids."""
    data = [{"name": s.name, "image": f"{project.origin}/{s.path.name}"} for s in samples]
    return project.studio.import_tasks(project.id, data)


def right_boxes(project: Project, task: int, sample: Sample) -> set[str]:
    """Return the names of the things whose submitted box has their label and fits them."""
    submitted = [r for r in project.studio.annotations(task) if r["type"] == "rectanglelabels"]
    return {
        thing.name
        for thing in sample.wanted
        for region in submitted
        if labels(region) == [thing.name] and iou(corners(region), sample.percent(thing.box)) > 0.5
    }


def test_a_task_opens_with_its_predictions_which_are_submitted(
    opened: Opener, annotator: LabellingPage, samples: list[Sample], figures: Tables
) -> None:
    """Opening a task asks us; what we answer is drawn, and kept when the annotator submits."""
    project = opened("page opens", BOXES)
    (task,) = hosted(project, samples[0])
    began = time.monotonic()
    annotator.open(project.id, task)
    took = time.monotonic() - began
    assert took < OPENED_WITHIN_S
    figures["the page"] = [("seconds to open a task that nobody had asked for", f"{took:.1f}")]
    annotator.screenshot("predictions")
    annotator.submit()
    assert right_boxes(project, task, samples[0])


def test_a_prompt_typed_in_the_page_becomes_a_box_that_is_submitted(
    opened: Opener, annotator: LabellingPage, samples: list[Sample]
) -> None:
    """Auto-Annotation on, a prompt, Enter, accept, submit."""
    project = opened("page prompted", PROMPTED)
    project.studio.ask_nothing_on_opening(project.id)
    (task,) = hosted(project, samples[0])
    thing = samples[0].wanted[0]
    annotator.open(project.id, task)
    annotator.auto_annotate()
    annotator.ask(f"the {thing.name}")
    annotator.wait_for_suggestions(1)
    annotator.screenshot("prompt")
    annotator.accept()
    annotator.submit()
    assert thing.name in right_boxes(project, task, samples[0])


def test_a_broken_config_is_explained_in_the_connect_dialog(
    studio: Client, backend_url: str, annotator: LabellingPage
) -> None:
    """Tag, attribute and cure can be read there: the page shows no other word of ours."""
    broken = BOXES.replace("<RectangleLabels", '<RectangleLabels model_score_threshold="high"')
    project = studio.create_project("page broken", broken)
    message = annotator.connect(project, backend_url)
    annotator.screenshot("connect-refused")
    assert 'RectangleLabels name="box" has model_score_threshold="high"' in message
    assert "0 to 1" in message


def test_a_backend_is_connected_in_the_dialog(
    studio: Client, backend_url: str, annotator: LabellingPage
) -> None:
    """The way that the README tells: Settings, Model, Connect Model."""
    project = studio.create_project("page connected", BOXES)
    annotator.connect(project, backend_url)
    annotator.screenshot("connected")
    (ours,) = studio.backends(project)
    assert ours["readable_state"] == "Connected"
