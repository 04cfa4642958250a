"""The pictures of the documents, taken from the real page: `make pictures` puts them into docs/.

Without DOCS_PICTURES they go to the output folder, so that each run shows that they can be taken.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import FloatRect, Locator, expect

from tests.e2e.client import Client
from tests.e2e.examples.test_example_pages import CLICK, SQUARE, TAKE_TOOL, open_example, percent
from tests.e2e.examples.test_examples import ADDRESS, example
from tests.e2e.page import OPEN_MS, LabellingPage

pytestmark = pytest.mark.e2e

WIDTH = 1400
"""Wide enough that the foot of the page, between the list of tasks and the panels, is whole."""

TOP, LEFT, RIGHT = 16, 14, 7
"""Pixels around what is taken of the page, within the lines that part it from the rest."""

ABOVE_TITLE, AROUND_FORM = 20, 36
"""Pixels to just beyond the edges of the dialog."""

MOST_BYTES = 300_000
DEMO_PICTURES = ("shapes-2", "shapes-4", "shapes-5")
DEMO_HEIGHT, DEMO_GAP = 320, 12


@pytest.fixture(scope="module")
def folder(output: Path) -> Path:
    """Where the pictures go."""
    wanted = Path(os.environ.get("DOCS_PICTURES") or output / "docs")
    wanted.mkdir(parents=True, exist_ok=True)
    return wanted


@pytest.fixture
def photographer(annotator: LabellingPage, folder: Path) -> Iterator[LabellingPage]:
    """An annotator before a page of the documents' size."""
    annotator.page.set_viewport_size({"width": WIDTH, "height": 935})
    yield annotator
    assert all(path.stat().st_size < MOST_BYTES for path in folder.glob("*.png"))


def save(shot: bytes, file: Path) -> None:
    """Keep a picture of the page, in fewer bytes than the browser wrote."""
    with Image.open(BytesIO(shot)) as picture:
        picture.convert("RGB").save(file, optimize=True)


def bounds(found: Locator) -> FloatRect:
    """Return where something of the page is."""
    box = found.bounding_box()
    assert box is not None
    return box


def take_centre(annotator: LabellingPage, first: str, file: Path) -> None:
    """Take the page from the line that says `first` to its foot, without lists and panels."""
    page = annotator.page
    page.mouse.move(WIDTH - 40, 300)
    line = bounds(page.get_by_text(first).first)
    top, left = line["y"] - TOP, line["x"] - LEFT
    submit = bounds(page.locator('[aria-label="Submit current annotation"]'))
    size = page.viewport_size
    assert size is not None
    width = submit["x"] + submit["width"] + RIGHT - left
    clip = FloatRect(x=left, y=top, width=width, height=size["height"] - top)
    save(page.screenshot(clip=clip), file)


def test_the_dialog_that_connects(
    studio: Client, photographer: LabellingPage, folder: Path
) -> None:
    page = photographer.page
    project = studio.create_project("Shapes", example("typed-boxes")[0])
    page.goto(f"{studio.url}/projects/{project}/settings/ml")
    page.locator('button:has-text("Connect Model")').first.click(timeout=OPEN_MS)
    page.fill("input[name=title]", "grounding")
    page.fill("input[name=url]", ADDRESS)
    interactive = page.locator("input[name=is_interactive]")
    interactive.check(force=True)
    expect(interactive).to_be_checked()
    title = bounds(page.get_by_text("Connect Model", exact=True).last)
    field, button = (
        bounds(page.locator(found))
        for found in ("input[name=url]", 'button:has-text("Validate and Save")')
    )
    page.wait_for_timeout(1000)  # the dialog fades in
    clip = FloatRect(
        x=field["x"] - AROUND_FORM,
        y=title["y"] - ABOVE_TITLE,
        width=field["width"] + 2 * AROUND_FORM,
        height=button["y"] + button["height"] - title["y"] + ABOVE_TITLE + AROUND_FORM,
    )
    save(page.screenshot(clip=clip), folder / "connect.png")


def test_the_menu_that_retrieves(
    studio: Client, backend_url: str, photographer: LabellingPage, folder: Path
) -> None:
    config, data = example("class-list", backend_url)
    project = studio.create_project("Shapes", config)
    studio.import_tasks(project, data)
    studio.connect(project, backend_url)
    page = photographer.page
    page.set_viewport_size({"width": 1120, "height": 640})
    page.goto(f"{studio.url}/projects/{project}/data")
    thumbnails = page.locator("img[src*='shapes-']")
    expect(thumbnails).to_have_count(len(data), timeout=OPEN_MS)
    page.locator("input[type=checkbox]").first.check(force=True)
    page.locator(f'button:has-text("{len(data)} Tasks")').first.click()
    expect(page.get_by_text("Retrieve Predictions", exact=True)).to_be_visible()
    page.wait_for_timeout(1000)
    save(page.screenshot(), folder / "retrieve.png")


def test_a_task_that_opens_with_regions(
    studio: Client, backend_url: str, photographer: LabellingPage, folder: Path
) -> None:
    config, data = example("class-list", backend_url)
    project = studio.create_project("Shapes", config)
    (task,) = studio.import_tasks(project, data[:1])
    studio.connect(project, backend_url)
    studio.retrieve_predictions(project)
    (prediction,) = studio.wait_for_predictions(project, 1, 120)
    photographer.open(project, task)
    photographer.wait_for_regions(len(prediction.result))
    photographer.page.mouse.move(WIDTH - 40, 300)
    save(photographer.page.screenshot(), folder / "prelabelled.png")


def test_a_typed_prompt(
    studio: Client, backend_url: str, photographer: LabellingPage, folder: Path
) -> None:
    photographer.page.set_viewport_size({"width": WIDTH, "height": 1095})
    open_example(studio, backend_url, photographer, "boxes-points-status")
    photographer.auto_annotate()
    photographer.ask("the blue square")
    photographer.wait_for_suggestions(2)
    photographer.wait_for_text("2 found")
    take_centre(photographer, "What to look for", folder / "prompt.png")


def test_the_smart_tool_and_what_its_click_gives(
    studio: Client, backend_url: str, photographer: LabellingPage, folder: Path
) -> None:
    open_example(studio, backend_url, photographer, "click-to-box")
    photographer.auto_annotate()
    take_centre(photographer, TAKE_TOOL, folder / "tool.png")
    photographer.take_smart_tool()
    photographer.choose_label("blue square", first=True)
    photographer.click(*percent(SQUARE))
    photographer.wait_for_suggestions(1)
    photographer.wait_for_text("1 found")
    take_centre(photographer, CLICK, folder / "click.png")


def test_the_demo(tmp_path: Path, folder: Path) -> None:
    """Three of its pictures in a row."""
    command = [sys.executable, "-m", "grounding", "demo", "--output", str(tmp_path)]
    subprocess.run(command, check=True, timeout=600)
    drawn = [Image.open(next(tmp_path.glob(f"{name}.*"))) for name in DEMO_PICTURES]
    row = [p.resize((p.width * DEMO_HEIGHT // p.height, DEMO_HEIGHT)) for p in drawn]
    width = sum(picture.width + DEMO_GAP for picture in row) - DEMO_GAP
    strip = Image.new("RGB", (width, DEMO_HEIGHT), "white")
    at = 0
    for picture in row:
        strip.paste(picture, (at, 0))
        at += picture.width + DEMO_GAP
    strip.save(folder / "demo.png", optimize=True)
    assert (folder / "demo.png").stat().st_size < MOST_BYTES
