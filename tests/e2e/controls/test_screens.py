"""An agent's actions in the real Label Studio: points, a gesture's link, choices and texts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from grounding.engines.base import Completion, ModelRequest
from grounding.testing import make_completion
from tests.e2e.client import Client
from tests.e2e.page import ANSWER_MS, LabellingPage
from tests.e2e.pictures import Sample
from tests.e2e.projects import Project, view
from tests.e2e.scripted import scripted_project

pytestmark = pytest.mark.e2e

SCREEN = view(
    '<Text name="todo" value="$instruction"/>',
    '<KeyPointLabels name="do" toName="image">'
    + "".join(f'<Label value="{one}"/>' for one in ("click", "long_press", "swipe"))
    + "</KeyPointLabels>",
    '<TextArea name="how" toName="image" perRegion="true" editable="true" '
    'displayMode="region-list"/>',
    '<Choices name="next" toName="image"><Choice value="type"/><Choice value="wait"/></Choices>',
    '<TextArea name="said" toName="image" model_task="gui"/>',
)


def call(**arguments: object) -> str:
    said = {"name": "mobile_use", "arguments": arguments}
    return f"<tool_call>\n{json.dumps(said, ensure_ascii=False)}\n</tool_call>"


ANSWERS = {
    "hold": call(action="long_press", coordinate=[100, 80], time=2),
    "scroll": call(action="swipe", coordinate=[100, 300], coordinate2=[100, 60]),
    "write": call(action="type", text="Müller & Söhne"),
}


def answer(request: ModelRequest) -> Completion:
    """Return what is scripted for the instruction; it needs the tool."""
    assert '"mobile_use"' in (request.system or "")
    task = request.text.removeprefix("The user query: ")
    return make_completion(ANSWERS[task], logprob=-0.1)


@pytest.fixture(scope="module")
def screens(
    studio: Client, origin: str, samples: list[Sample], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    """A project for screens, with a task for each kind of action."""
    folder = tmp_path_factory.mktemp("screens")
    with scripted_project(folder, studio, origin, SCREEN, answer) as project:
        uri = samples[0].data_uri()
        studio.import_tasks(project.id, [{"image": uri, "instruction": one} for one in ANSWERS])
        yield project


def test_actions_are_shown_linked_and_submitted(
    screens: Project, browser: Browser, studio: Client, output: Path
) -> None:
    predictions = screens.retrieve(len(ANSWERS)).saved
    saved = {one.task: one.result for one in predictions}
    tasks = [task.id for task in studio.tasks(screens.id)]
    held, scrolled, written = (saved[task] for task in sorted(tasks))
    assert [one["type"] for one in held] == ["keypointlabels", "textarea"]
    assert [one["type"] for one in scrolled] == ["keypointlabels", "keypointlabels", "relation"]
    assert [one["type"] for one in written] == ["choices", "textarea"]
    assert all(screens.can_import(one) for one in predictions)

    annotator = LabellingPage(browser, studio.url, studio.token, output)
    submitted = {}
    for task, regions in zip(sorted(tasks), (1, 2, 0), strict=True):
        annotator.open(screens.id, task)
        annotator.wait_for_regions(regions)
        if regions == 1:
            listed = annotator.page.get_by_role("treeitem", name='{"time": 2}')
            expect(listed).to_be_visible(timeout=ANSWER_MS)
        elif regions == 2:
            annotator.page.get_by_text("Relations").first.click()
        else:
            shown = annotator.page.get_by_text("Müller & Söhne").first
            expect(shown).to_be_visible(timeout=ANSWER_MS)
        annotator.screenshot(f"screen-{regions}")
        annotator.submit()
        submitted[regions] = studio.annotations(task)
    annotator.close()

    (point,) = [one for one in submitted[1] if one["type"] == "keypointlabels"]
    (text,) = [one for one in submitted[1] if one["type"] == "textarea"]
    assert point["value"]["keypointlabels"] == ["long_press"]
    assert (text["id"], text["value"]["text"]) == (point["id"], ['{"time": 2}'])
    (link,) = [one for one in submitted[2] if one["type"] == "relation"]
    ends = [one["id"] for one in submitted[2] if one["type"] == "keypointlabels"]
    assert ([link["from_id"], link["to_id"]], link["direction"]) == (ends, "right")
    values = {one["type"]: one["value"] for one in submitted[0]}
    assert values["choices"]["choices"] == ["type"]
    assert values["textarea"]["text"] == ["Müller & Söhne"]
    exported = [one["type"] for one in studio.exported(screens.id)]
    assert exported.count("keypointlabels") == 3
    assert exported.count("relation") == 1
