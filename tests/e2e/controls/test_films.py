"""A film in the real Label Studio: spans on its timeline, described, corrected and submitted.

The shapes checkpoint has seen no film, so the model is a script that says when it sees a colour.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.client import Client
from tests.e2e.page import ANSWER_MS, OPEN_MS, LabellingPage
from tests.e2e.projects import Project
from tests.e2e.scripted import scripted_project
from tests.films.watching import COLOURS, scene, watch

pytestmark = pytest.mark.e2e

FPS = 25
SHOWN = {"red": [(2.0, 4.6)], "green": [(0.0, 3.0), (6.0, 8.0)]}
LABELS = "".join(f'<Label value="{name}"/>' for name in COLOURS)
CONFIG = (
    f'<View><TimelineLabels name="when" toName="video">{LABELS}</TimelineLabels>'
    f'<Video name="video" value="$video" frameRate="{FPS}"/>'
    '<TextArea name="what" toName="video" perRegion="true" editable="true" '
    'displayMode="region-list"/>'
    '<Choices name="colours" toName="video" choice="multiple">'
    + "".join(f'<Choice value="{name}"/>' for name in COLOURS)
    + '</Choices><TextArea name="summary" toName="video" model_prompt="What happens?"/>'
    '<Number name="count" toName="video" model_prompt="How many colours are there?"/></View>'
)

PLAYED = "() => document.querySelector('video').currentTime > 3"
"""The film runs on from where the selected span begins, at two seconds."""


@pytest.fixture(scope="module")
def project(
    studio: Client, origin: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Project]:
    """A project whose backend asks the script, with one uploaded film."""
    folder: Path = tmp_path_factory.mktemp("films")
    file = folder / "squares.mp4"
    file.write_bytes(scene(SHOWN, 8, FPS))
    with scripted_project(folder, studio, origin, CONFIG, watch) as opened:
        studio.upload(opened.id, [file])
        yield opened


def spans(result: list[dict]) -> list[tuple[str, int, int]]:  # type: ignore[type-arg]
    values = [one["value"] for one in result if one["type"] == "timelinelabels"]
    return [(*v["timelinelabels"], v["ranges"][0]["start"], v["ranges"][0]["end"]) for v in values]


def test_spans_are_saved_shown_corrected_and_submitted(
    project: Project, browser: Browser, studio: Client, output: Path
) -> None:
    (saved,) = project.retrieve(1).saved
    found = spans(saved.result)
    assert [name for name, _, _ in found] == ["green", "red", "green"]
    truth = sorted((start, end, name) for name, some in SHOWN.items() for start, end in some)
    for (_, first, last), (start, end, _) in zip(found, truth, strict=True):
        assert abs((first - 1) / FPS - start) <= 0.15
        assert abs(last / FPS - end) <= 0.2
    kinds = [one["type"] for one in saved.result]
    assert kinds == ["timelinelabels", "textarea"] * 3 + ["choices", "number"]
    assert project.can_import(saved)

    annotator = LabellingPage(browser, studio.url, studio.token, output)
    page = annotator.page
    page.goto(f"{studio.url}/projects/{project.id}/data?task={saved.task}")
    page.wait_for_selector("video", state="attached", timeout=OPEN_MS)
    annotator.wait_for_regions(3)
    for name in ("green", "red"):
        expect(page.get_by_role("checkbox", name=name)).to_be_checked(timeout=ANSWER_MS)
    expect(page.locator("input[name=count]")).to_have_value("2", timeout=ANSWER_MS)
    page.locator(".lsf-outliner-item").nth(1).click()
    expect(page.get_by_text(f"of {8 * FPS}", exact=False).first).to_be_visible(timeout=ANSWER_MS)
    annotator.screenshot("film")
    page.get_by_test_id("playback-button:play").click()
    page.wait_for_function(PLAYED, timeout=ANSWER_MS)
    annotator.delete(2)
    annotator.screenshot("film-corrected")
    annotator.submit()
    annotator.close()
    submitted = studio.annotations(saved.task)
    assert spans(submitted) == found[:2]
    texts = [one["value"]["text"] for one in submitted if one["type"] == "textarea"]
    assert texts == [["a green square"], ["a red square"]]
    assert spans(studio.exported(project.id)) == found[:2]
