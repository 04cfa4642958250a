"""The examples of the model that reads, in the real Label Studio: a film's spans, and buttons."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from benchmarks.accuracy.reading import READING, Read, score_button, score_spans
from tests.e2e.client import Client
from tests.e2e.controls.test_tracks import open_film
from tests.e2e.examples.test_examples import example
from tests.e2e.hosting import backend
from tests.e2e.page import LabellingPage
from tests.e2e.projects import Project
from tools.reading.samples import FILM, SCREENS

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def reading_url(
    studio: Client, origin: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The address of a backend with the model that reads."""
    folder = tmp_path_factory.mktemp("reading")
    with backend(folder, studio, origin, settings={"MODEL": str(READING)}) as server:
        yield server.url


def opened(studio: Client, url: str, name: str) -> Project:
    """Import and connect an example."""
    config, data = example(name, url)
    project = studio.create_project(name, config)
    studio.import_tasks(project, data)
    return Project(studio, project, studio.connect(project, url), url)


def test_the_spans_of_the_film_are_on_the_timeline_and_submitted(
    studio: Client, reading_url: str, browser: Browser, output: Path
) -> None:
    project = opened(studio, reading_url, "shapes-in-film")
    (saved,) = project.retrieve(1).saved
    annotator = LabellingPage(browser, studio.url, studio.token, output)
    open_film(annotator, studio, project, saved.task)
    annotator.wait_for_regions(len(FILM.ways))
    annotator.screenshot("example-shapes-in-film")
    annotator.submit()
    annotator.close()
    for result in (saved.result, studio.annotations(saved.task)):
        read = Read()
        score_spans(FILM, result, read)
        assert min(read.spans) == 1
        assert all(read.away)


def test_the_named_buttons_are_pointed_at_on_the_page(
    studio: Client, reading_url: str, annotator: LabellingPage
) -> None:
    project = opened(studio, reading_url, "screen-buttons")
    by_task = {one.task: one.result for one in project.retrieve(len(SCREENS)).saved}
    read = Read()
    for task in studio.tasks(project.id):
        drawn, _ = SCREENS[str(task.data["image"]).rpartition("/")[2]]
        score_button(drawn, by_task[task.id], read)
        annotator.open(project.id, task.id)
        annotator.wait_for_regions(1)
    annotator.screenshot("example-screen-buttons")
    assert read.buttons == [True] * len(SCREENS)
