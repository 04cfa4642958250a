"""Boxes that move in the real Label Studio: on the timeline, played, corrected and submitted.

The shapes checkpoint sees each frame as the picture that it is, so what is shown is its own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

from tests.films.truth import overlaps
from tools.shapes.films import EXAMPLE

from .client import Client
from .page import OPEN_MS, LabellingPage
from .projects import Project, open_project

pytestmark = pytest.mark.e2e

LABELS = "".join(f'<Label value="{way.name}"/>' for way in EXAMPLE.ways)
CONFIG = (
    f'<View><Labels name="what" toName="video">{LABELS}</Labels>'
    f'<Video name="video" value="$video" frameRate="{EXAMPLE.fps}"/>'
    '<VideoRectangle name="box" toName="video" smart="true"/></View>'
)


@pytest.fixture(scope="module")
def project(
    studio: Client, backend_url: str, origin: str, tmp_path_factory: pytest.TempPathFactory
) -> Project:
    """A project with the film of the example."""
    file: Path = tmp_path_factory.mktemp("tracks") / "moving-shapes.mp4"
    file.write_bytes(EXAMPLE.encode())
    opened = open_project(studio, backend_url, origin, "tracks", CONFIG)
    studio.upload(opened.id, [file])
    return opened


def test_tracks_are_saved_played_corrected_and_submitted(
    project: Project, browser: Browser, studio: Client, output: Path
) -> None:
    (saved,) = project.retrieve(1).saved
    assert sorted(name for one in saved.result for name in one["value"]["labels"]) == sorted(
        way.name for way in EXAMPLE.ways
    )
    found = overlaps(saved.result, EXAMPLE, EXAMPLE.fps)
    assert min(found.values()) > 0.7, found
    pushed = {"task": saved.task, "result": saved.result, "model_version": "pushed"}
    assert studio.push(project.id, pushed) == 1  # the stricter way in: nothing is dropped there

    annotator = LabellingPage(browser, studio.url, studio.token, output)
    page = annotator.page
    open_film(annotator, studio, project, saved.task)
    annotator.wait_for_regions(len(saved.result))
    page.locator(".lsf-outliner-item").nth(0).click()
    annotator.screenshot("tracks-start")
    play(page)
    annotator.screenshot("tracks-played")
    page.locator(".lsf-outliner-item").nth(1).click()
    annotator.screenshot("tracks-second")
    annotator.submit()
    annotator.close()
    submitted = studio.annotations(saved.task)
    boxes = [one for one in submitted if one["type"] == "videorectangle"]
    assert overlaps(boxes, EXAMPLE, EXAMPLE.fps) == pytest.approx(found)
    exported = [one for one in studio.exported(project.id) if one["type"] == "videorectangle"]
    assert [one["value"]["sequence"] for one in exported] == [
        one["value"]["sequence"] for one in saved.result
    ]


def open_film(annotator: LabellingPage, studio: Client, project: Project, task: int) -> None:
    """Open a task whose film can be played."""
    page = annotator.page
    address = f"{studio.url}/projects/{project.id}/data?task={task}"
    page.goto(address, wait_until="commit", timeout=OPEN_MS)
    page.wait_for_selector("video", timeout=OPEN_MS)
    page.wait_for_function("document.querySelector('video').readyState >= 2", timeout=OPEN_MS)


def test_a_box_that_is_drawn_in_a_frame_is_followed_to_the_end(
    project: Project, browser: Browser, studio: Client, output: Path
) -> None:
    studio.ask_nothing_on_opening(project.id)
    task = min(one.id for one in studio.tasks(project.id))
    annotator = LabellingPage(browser, studio.url, studio.token, output)
    page = annotator.page
    open_film(annotator, studio, project, task)
    page.wait_for_timeout(2000)
    seen: list[Any] = []
    page.on("request", lambda r: seen.append((r.url, r.post_data)) if "interactive" in r.url else 0)
    annotator.auto_annotate()
    annotator.screenshot("draw-1")
    annotator.choose_label("blue square")
    annotator.screenshot("draw-2")
    print([(c.bounding_box()) for c in page.locator("canvas").all()])
    box = page.locator("canvas").first.bounding_box()
    assert box
    x, y, w, h = box["x"], box["y"], box["width"], box["height"]
    page.mouse.move(x + 0.4 * w, y + 0.4 * h)
    page.mouse.down()
    page.mouse.move(x + 0.5 * w, y + 0.5 * h, steps=5)
    page.mouse.up()
    page.wait_for_timeout(8000)
    annotator.screenshot("draw-3")
    print(seen)
    annotator.close()
    assert seen


def play(page: Page) -> None:
    """Play the film for two seconds and stop it."""
    at = "document.querySelector('video').currentTime"
    before = page.evaluate(at)
    page.keyboard.press("Control+Space")
    page.wait_for_timeout(2000)
    page.keyboard.press("Control+Space")
    assert page.evaluate(at) > before + 0.5
