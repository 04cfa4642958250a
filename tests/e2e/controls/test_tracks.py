"""Boxes that move in the real Label Studio: on the timeline, played, corrected and submitted.

The shapes checkpoint sees each frame as the picture that it is, so what is shown is its own.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from grounding.geometry import PERCENT, Box, image_frame, seen_at
from tests.e2e.client import Client
from tests.e2e.page import OPEN_MS, LabellingPage
from tests.e2e.projects import Project, open_project
from tests.films.truth import keys_of, overlaps
from tools.shapes.films import EXAMPLE

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
    assert project.can_import(saved)

    annotator = LabellingPage(browser, studio.url, studio.token, output)
    page = annotator.page
    open_film(annotator, studio, project, saved.task)
    annotator.wait_for_regions(len(saved.result))
    page.locator(".lsf-outliner-item").nth(0).click()
    annotator.screenshot("tracks-start")
    frame = play(page)
    annotator.screenshot("tracks-played")
    first = next(one for one in saved.result if one["value"]["labels"] == ["blue square"])
    box = seen_at(keys_of(first), frame)
    assert box
    move(page, box, (-60, 40))
    annotator.screenshot("tracks-corrected")
    annotator.submit()
    annotator.close()
    submitted = {
        name: one["value"]["sequence"]
        for one in studio.annotations(saved.task)
        if one["type"] == "videorectangle"
        for name in one["value"]["labels"]
    }
    before = first["value"]["sequence"]
    corrected = [key for key in submitted["blue square"] if key not in before]
    assert len(corrected) == 1
    assert abs(corrected[0]["frame"] - frame) <= 1
    across, down = 6000 / EXAMPLE.size[0], 4000 / EXAMPLE.size[1]
    assert corrected[0]["x"] == pytest.approx(box.x1 - across, abs=3)
    assert corrected[0]["y"] == pytest.approx(box.y1 + down, abs=3)
    (other,) = [one for one in saved.result if one is not first]
    assert submitted["red circle"] == other["value"]["sequence"]
    exported = [one for one in studio.exported(project.id) if one["type"] == "videorectangle"]
    assert sorted(len(one["value"]["sequence"]) for one in exported) == sorted(
        map(len, submitted.values())
    )


def open_film(annotator: LabellingPage, studio: Client, project: Project, task: int) -> None:
    """Open a task whose film can be played."""
    page = annotator.page
    address = f"{studio.url}/projects/{project.id}/data?task={task}"
    page.goto(address, wait_until="commit", timeout=OPEN_MS)
    # The page draws the film's frames on a canvas; the film itself is hidden.
    page.wait_for_selector("video", state="attached", timeout=OPEN_MS)
    page.wait_for_function("document.querySelector('video')?.readyState >= 2", timeout=OPEN_MS)


def test_a_box_that_is_drawn_in_a_frame_is_followed_to_the_end(
    project: Project, studio: Client
) -> None:
    """Through Label Studio's own endpoint; its page sends nothing for a box in a film."""
    (task,) = [one.id for one in studio.tasks(project.id)]
    frame = 26
    truth = EXAMPLE.ways[0].box(frame - 1)
    assert truth
    place = Box(*truth, image_frame(*EXAMPLE.size)).to(PERCENT)
    key = {"frame": frame, "enabled": True, "rotation": 0, "time": frame / EXAMPLE.fps}
    sides = {"x": place.x1, "y": place.y1, "width": place.width, "height": place.height}
    drawn = {
        "id": "drawn",
        "type": "videorectangle",
        "from_name": "box",
        "to_name": "video",
        "value": {"labels": ["blue square"], "sequence": [{**key, **sides}]},
    }
    answer = studio.interact(project.backend, task, [drawn])
    (region,) = [one for one in answer["data"]["result"] if one["type"] == "videorectangle"]
    keys = keys_of(region)
    assert (keys[0].frame, keys[-1].frame) == (frame, EXAMPLE.frames)
    for at in (50, 100, 149):
        box, real = seen_at(keys, at), EXAMPLE.ways[0].box(at - 1)
        assert box
        assert real
        assert box.iou(Box(*real, image_frame(*EXAMPLE.size))) > 0.7


def play(page: Page) -> int:
    """Play the film for two seconds, stop it, and return the frame that is shown."""
    at = "document.querySelector('video')?.currentTime"
    page.get_by_test_id("playback-button:play").click()
    page.wait_for_function(f"{at} > 1.5", timeout=OPEN_MS)
    page.get_by_test_id("playback-button:pause").click()
    page.wait_for_timeout(1000)
    return int(page.get_by_text(re.compile(r"^\d+ of \d+$")).inner_text().split()[0])


def move(page: Page, box: Box, by: tuple[int, int]) -> None:
    """Move a box of the film by so many pixels; the page shows the film in the canvas's middle."""
    canvas = page.locator("canvas").first.bounding_box()
    assert canvas
    spot = box.center.to(image_frame(*EXAMPLE.size))
    x = canvas["x"] + canvas["width"] / 2 - EXAMPLE.size[0] / 2 + spot.x
    y = canvas["y"] + canvas["height"] / 2 - EXAMPLE.size[1] / 2 + spot.y
    page.mouse.click(x, y)
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x + by[0], y + by[1], steps=8)
    page.mouse.up()
    page.wait_for_timeout(500)
