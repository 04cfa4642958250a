"""The annotator asks in the page: typed prompts, clicks, rough boxes, and the answer's words.

Each test starts from an empty browser profile and presses what a person presses, in a real
Chromium, on a picture whose truth is known.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.annotator.test_page import hosted, right_boxes
from tests.e2e.conftest import Opener
from tests.e2e.page import LabellingPage
from tests.e2e.pictures import NAMES, Sample
from tests.e2e.projects import LABELS, Project, rectangles, view
from tests.e2e.score import Corners, corners, iou, labels

pytestmark = pytest.mark.e2e

PROMPT = '<TextArea name="prompt" toName="image" rows="1"/>'
STATUS = '<TextArea name="status" toName="image" smart="false" maxSubmissions="0"/>'
THING = rectangles('<Label value="thing"/>')
POINTS = f'<KeyPointLabels name="point" toName="image" smart="false">{LABELS}</KeyPointLabels>'
CLICK = (
    '<KeyPointLabels name="click" toName="image" smart="true" smartOnly="true" model_skip="true">'
    f"{LABELS}</KeyPointLabels>"
)
SMART_BOXES = rectangles().replace('name="box"', 'name="box" smart="true"')
SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="300" height="200">'
    '<circle cx="90" cy="90" r="60" fill="red"/></svg>'
)
"""A picture that a browser shows and the backend does not read."""

CHINESE = {
    "red circle": "红色圆形",
    "blue square": "蓝色方形",
    "green triangle": "绿色三角形",
    "yellow star": "黄色星形",
}


def asked(
    opened: Opener, annotator: LabellingPage, title: str, config: str, *samples: Sample
) -> tuple[Project, list[int]]:
    """Open the first of the samples' tasks of a new project, with Auto-Annotation on."""
    project = opened(title, config)
    project.studio.ask_nothing_on_opening(project.id)
    tasks = hosted(project, *samples)
    annotator.open(project.id, tasks[0])
    annotator.auto_annotate()
    return project, tasks


def truth(sample: Sample) -> Corners:
    """Return where the first wanted thing is, in percent."""
    return sample.percent(sample.wanted[0].box)


def submitted(annotator: LabellingPage, project: Project, task: int) -> list[tuple[str, Corners]]:
    """Accept what is suggested, submit, and return label and place of each box."""
    annotator.accept()
    annotator.submit()
    regions = project.studio.annotations(task)
    return [(labels(r)[0], corners(r)) for r in regions if r["type"] == "rectanglelabels"]


def rough(box: Corners) -> Corners:
    """Return a carelessly drawn box: each edge is off by a seventh of the side."""
    x1, y1, x2, y2 = box
    across, down = (x2 - x1) / 7, (y2 - y1) / 7
    return max(0, x1 - across), max(0, y1 - down), min(100, x2 + across), min(100, y2 + down)


def test_a_prompt_labels_what_it_names_on_every_control(
    opened: Opener, annotator: LabellingPage, samples: list[Sample]
) -> None:
    """Boxes and points of the thing that the prompt names, and a word on how many."""
    config = view(PROMPT, STATUS, rectangles(), POINTS)
    project, (task,) = asked(opened, annotator, "asking names", config, samples[0])
    name = samples[0].wanted[0].name
    annotator.ask(f"the {name}")
    annotator.wait_for_suggestions(2)
    annotator.wait_for_text("2 found")
    annotator.screenshot("asking-prompt")
    assert [label for label, _ in submitted(annotator, project, task)] == [name]
    (point,) = (r for r in project.studio.annotations(task) if r["type"] == "keypointlabels")
    assert labels(point) == [name]
    assert point["value"]["width"] > 0
    assert right_boxes(project, task, samples[0]) == {name}


def test_a_chinese_prompt_finds_each_and_an_only_label_takes_it(
    opened: Opener, annotator: LabellingPage, samples: list[Sample]
) -> None:
    """每一个 goes through things one by one."""
    project, (task,) = asked(opened, annotator, "asking chinese", view(PROMPT, THING), samples[0])
    annotator.ask(f"每一个{CHINESE[samples[0].wanted[0].name]}")
    annotator.wait_for_suggestions(1)
    annotator.screenshot("asking-chinese")
    ((label, box),) = submitted(annotator, project, task)
    assert label == "thing"
    assert iou(box, truth(samples[0])) > 0.5


def test_a_click_becomes_the_box_of_what_is_there(
    opened: Opener, annotator: LabellingPage, samples: list[Sample]
) -> None:
    """With the label that the click was made with."""
    config = view(CLICK, rectangles())
    project, (task,) = asked(opened, annotator, "asking by click", config, samples[0])
    name, (x1, y1, x2, y2) = samples[0].wanted[0].name, truth(samples[0])
    annotator.choose_label(name, first=True)
    annotator.take_smart_tool()
    annotator.click(x1 + 0.4 * (x2 - x1), y1 + 0.6 * (y2 - y1))
    annotator.wait_for_suggestions(1)
    annotator.screenshot("asking-click")
    ((label, box),) = submitted(annotator, project, task)
    assert label == name
    assert iou(box, truth(samples[0])) > 0.5


def test_a_rough_box_becomes_a_tight_one(
    opened: Opener, annotator: LabellingPage, samples: list[Sample]
) -> None:
    """Nearer to the thing than the drawn box, which is gone."""
    project, (task,) = asked(opened, annotator, "asking by box", view(SMART_BOXES), samples[0])
    name, drawn = samples[0].wanted[0].name, rough(truth(samples[0]))
    annotator.choose_label(name)
    annotator.take_smart_tool()
    annotator.drag(drawn)
    annotator.wait_for_suggestions(1)
    annotator.screenshot("asking-box")
    ((label, box),) = submitted(annotator, project, task)
    assert label == name
    assert iou(box, truth(samples[0])) > iou(drawn, truth(samples[0]))


def test_a_box_that_was_just_deleted_is_found_again(
    opened: Opener, annotator: LabellingPage, samples: list[Sample]
) -> None:
    """Label Studio still has it in the draft: it saves up to five seconds later."""
    config = view(SMART_BOXES, STATUS)
    project, (task,) = asked(opened, annotator, "asking after deleting", config, samples[0])
    name, drawn = samples[0].wanted[0].name, rough(truth(samples[0]))
    annotator.choose_label(name)
    annotator.take_smart_tool()
    annotator.drag(drawn)
    annotator.wait_for_suggestions(1)
    annotator.accept(saved=True)
    annotator.delete(0)
    annotator.drag(drawn)
    annotator.wait_for_suggestions(1)
    annotator.screenshot("asking-after-deleting")
    ((label, box),) = submitted(annotator, project, task)
    assert label == name
    assert iou(box, truth(samples[0])) > iou(drawn, truth(samples[0]))


def test_a_box_that_is_drawn_without_the_smart_tool_is_the_annotator_s_own(
    opened: Opener, annotator: LabellingPage, samples: list[Sample]
) -> None:
    """A label of a smart control does not take the tool that asks: docs/connecting.md says so."""
    asked(opened, annotator, "asking nothing by box", view(SMART_BOXES), samples[0])
    annotator.choose_label(samples[0].wanted[0].name)
    with annotator.asks_nothing():
        annotator.drag(rough(truth(samples[0])))
    annotator.wait_for_regions(1)


def test_the_last_prompt_is_looked_for_in_the_next_tasks_until_it_is_forgotten(
    opened: Opener, annotator: LabellingPage, samples: list[Sample]
) -> None:
    """Where the text area says so; the field itself stays empty for the next prompt."""
    remembering = PROMPT.replace("/>", ' model_remember="prelabel"/>')
    project = opened("asking again", view(remembering, STATUS, rectangles()))
    wanted = {"blue square", "yellow star"}
    both = next(s for s in samples if {thing.name for thing in s.wanted} == wanted)
    first, second, third = hosted(project, samples[0], both, both)
    annotator.open(project.id, first)
    annotator.auto_annotate()
    annotator.ask("the blue square")
    annotator.wait_for_text("found")
    annotator.open(project.id, second)
    annotator.screenshot("asking-memory")
    annotator.wait_for_regions(1)
    assert annotator.texts() == []
    annotator.ask("forget")
    annotator.wait_for_text("forgotten")
    annotator.open(project.id, third)
    annotator.wait_for_regions(2)


def test_a_word_says_that_nothing_was_found_or_why(
    opened: Opener, annotator: LabellingPage, samples: list[Sample], pictures: Path
) -> None:
    """The page shows no error of ours, so the status area does."""
    (pictures / "drawn.svg").write_text(SVG)
    absent = next(n for n in NAMES if n not in {t.name for t in samples[0].scene.things})
    config = view(PROMPT, STATUS, rectangles())
    project, _ = asked(opened, annotator, "asking in vain", config, samples[0])
    annotator.ask(f"the {absent}")
    annotator.wait_for_text("nothing found")
    data = [{"image": f"{project.origin}/drawn.svg"}]
    (unreadable,) = project.studio.import_tasks(project.id, data)
    annotator.open(project.id, unreadable)
    annotator.ask("the red circle")
    annotator.wait_for_text("image not readable")
    annotator.screenshot("asking-unreadable")


def test_asking_twice_adds_nothing_that_stands_already(
    opened: Opener, annotator: LabellingPage, samples: list[Sample]
) -> None:
    """What was accepted stays as it is, once."""
    config = view(PROMPT, STATUS, rectangles())
    project, (task,) = asked(opened, annotator, "asking twice", config, samples[0])
    name = samples[0].wanted[0].name
    annotator.ask(f"the {name}")
    annotator.wait_for_suggestions(1)
    annotator.accept(saved=True)
    annotator.ask(f"every {name}")
    annotator.wait_for_text("already")
    annotator.submit()
    regions = project.studio.annotations(task)
    assert [labels(r) for r in regions if r["type"] == "rectanglelabels"] == [[name]]


def test_a_prediction_that_the_page_shows_is_not_suggested_again(
    opened: Opener, annotator: LabellingPage, samples: list[Sample]
) -> None:
    """The page makes a draft of it, which Label Studio does not know before its first change."""
    project = opened("asking what is shown", view(PROMPT, STATUS, rectangles()))
    (task,) = hosted(project, samples[0])
    annotator.open(project.id, task)
    annotator.wait_for_regions(len(samples[0].wanted))
    annotator.auto_annotate()
    annotator.ask(f"the {samples[0].wanted[0].name}")
    annotator.wait_for_text("already")
    annotator.wait_for_regions(len(samples[0].wanted))


def test_thresholds_in_the_page_are_obeyed(
    opened: Opener, annotator: LabellingPage, samples: list[Sample]
) -> None:
    """What scores too low is left out, and said."""
    number = '<Number name="score_threshold" toName="image" min="0" max="1" step="0.001"/>'
    config = view(PROMPT, STATUS, number, rectangles())
    asked(opened, annotator, "asking sharply", config, samples[0])
    name = samples[0].wanted[0].name
    annotator.set_number("0.999")
    annotator.ask(f"the {name}")
    annotator.wait_for_text("below the score threshold")
    annotator.set_number("0.01")
    annotator.ask(f"the {name}")
    annotator.wait_for_suggestions(1)
