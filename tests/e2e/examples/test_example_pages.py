"""Each example as its reader meets it: an empty browser profile, and what the page says to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.client import Client
from tests.e2e.examples.test_examples import TYPED, example
from tests.e2e.page import LabellingPage
from tests.e2e.score import Corners, corners, iou, labels
from tools.samples import samples

pytestmark = pytest.mark.e2e

SWITCH_ON = "First switch on Auto-Annotation"
TAKE_TOOL = "Now press the tool in the pink frame"
CLICK = "Choose a label here, then click"
UNSELECT = "press the selected label once more"

FIRST = samples()[0].scene
"""What the picture of the first task shows."""
WIDTH, HEIGHT = FIRST.width, FIRST.height
STAR, SQUARE = (
    thing.box for thing in map(FIRST.named, ("yellow star", "blue square")) if thing is not None
)


Place = Corners | tuple[float, float]
"""A box, or a point."""


@dataclass(frozen=True)
class Opened:
    """An example's project, and its tasks."""

    studio: Client
    project: int
    tasks: list[int]

    def annotation(self) -> dict[str, list[Place]]:
        """Return the places of the first task's submitted regions, by label, in pixels."""
        found: dict[str, list[Place]] = {}
        for region in self.studio.annotations(self.tasks[0]):
            if region["type"] in ("rectanglelabels", "keypointlabels"):
                found.setdefault(labels(region)[0], []).append(place(region))
        return found


def place(region: dict[str, Any]) -> Place:
    """Return a box's corners, or a point, in pixels of the first picture."""
    if region["type"] == "rectanglelabels":
        x1, y1, x2, y2 = corners(region)
        return x1 * WIDTH / 100, y1 * HEIGHT / 100, x2 * WIDTH / 100, y2 * HEIGHT / 100
    value = region["value"]
    return value["x"] * WIDTH / 100, value["y"] * HEIGHT / 100


def fits(found: Place, box: Corners) -> bool:
    """Say whether a box fits `box`, or a point is in the middle half of it."""
    if len(found) == 4:
        return iou(found, box) > 0.8
    (x, y), (x1, y1, x2, y2) = found, box
    return abs(x - (x1 + x2) / 2) < (x2 - x1) / 4 and abs(y - (y1 + y2) / 2) < (y2 - y1) / 4


def percent(box: Corners) -> tuple[float, float]:
    """Return a place on the thing in `box`, in percent of the picture."""
    x1, y1, x2, y2 = box
    return (x1 + 0.45 * (x2 - x1)) * 100 / WIDTH, (y1 + 0.6 * (y2 - y1)) * 100 / HEIGHT


def open_example(studio: Client, backend_url: str, annotator: LabellingPage, name: str) -> Opened:
    """Import and connect an example, and open its first task; nothing is answered yet."""
    config, data = example(name, backend_url)
    project = studio.create_project(f"page of {name}", config)
    tasks = studio.import_tasks(project, data)
    studio.connect(project, backend_url)
    annotator.open(project, tasks[0])
    annotator.wait_for_regions(0)
    assert annotator.texts() == []
    assert annotator.shows(SWITCH_ON)
    return Opened(studio, project, tasks)


@pytest.mark.parametrize("name", TYPED)
def test_typed_prompts_are_answered_one_after_another(
    studio: Client, backend_url: str, annotator: LabellingPage, name: str
) -> None:
    """By a button, by typing, and the same once more; an absent thing is said to be absent."""
    opened = open_example(studio, backend_url, annotator, name)
    each = 2 if name == "boxes-points-status" else 1
    annotator.auto_annotate()
    assert not annotator.shows(SWITCH_ON)
    annotator.ask_ready_words("the yellow star")
    annotator.wait_for_suggestions(each)
    annotator.accept(saved=True)
    annotator.ask("the blue square")
    annotator.wait_for_suggestions(each)
    annotator.screenshot(f"example-{name}")
    annotator.accept(saved=True)
    annotator.ask("the blue square")
    annotator.wait_for_text("already")
    annotator.ask("the red circle")
    annotator.wait_for_text("nothing found")
    annotator.submit()
    found = opened.annotation()
    assert {label: len(places) for label, places in found.items()} == {
        "yellow star": each,
        "blue square": each,
    }
    assert all(fits(p, STAR) for p in found["yellow star"])
    assert all(fits(p, SQUARE) for p in found["blue square"])


@pytest.mark.parametrize("name", [*TYPED, "click-to-box"])
def test_there_is_one_field_to_type_into_at_most(
    studio: Client, backend_url: str, annotator: LabellingPage, name: str
) -> None:
    """Nobody takes the place of the answer for that of the prompt."""
    open_example(studio, backend_url, annotator, name)
    fields = annotator.page.get_by_test_id("textarea-input").evaluate_all(
        "fields => fields.map(field => field.name)"
    )
    assert fields == (["prompt"] if name in TYPED else [])


def test_the_page_says_when_a_selected_label_would_replace_the_models(
    studio: Client, backend_url: str, annotator: LabellingPage
) -> None:
    """Label Studio gives what is accepted the label that is selected."""
    open_example(studio, backend_url, annotator, "typed-boxes")
    assert not annotator.shows(UNSELECT)
    annotator.choose_label("blue square")
    assert annotator.shows(UNSELECT)
    annotator.choose_label("blue square")
    assert not annotator.shows(UNSELECT)


def test_the_page_leads_to_the_tool_whose_clicks_are_answered(
    studio: Client, backend_url: str, annotator: LabellingPage
) -> None:
    """No config selects it, so a frame and a line lead there; later tasks open with it."""
    opened = open_example(studio, backend_url, annotator, "click-to-box")
    annotator.auto_annotate()
    annotator.screenshot("example-click-tool")
    annotator.choose_label("blue square", first=True)
    with annotator.asks_nothing():
        annotator.click(*percent(SQUARE))
    assert annotator.shows(TAKE_TOOL)
    annotator.take_smart_tool()
    assert not annotator.shows(TAKE_TOOL)
    assert annotator.shows(CLICK)
    annotator.click(*percent(SQUARE))
    annotator.wait_for_suggestions(1)
    annotator.screenshot("example-click")
    annotator.accept()
    annotator.choose_label("yellow star", first=True)
    annotator.click(*percent(STAR))
    annotator.wait_for_suggestions(1)
    annotator.accept()
    annotator.submit()
    found = opened.annotation()
    assert sorted(found) == ["blue square", "yellow star"]
    assert [fits(p, SQUARE) for p in found["blue square"]] == [True]
    assert [fits(p, STAR) for p in found["yellow star"]] == [True]
    annotator.open(opened.project, opened.tasks[1])
    assert annotator.shows(CLICK)
