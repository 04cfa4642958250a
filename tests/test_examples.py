"""The example projects: each is whole, is read without a remark, and can be connected."""

from __future__ import annotations

import io
import itertools
import json
from pathlib import Path
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from PIL import Image

from grounding.labelstudio.config.parse import parse
from grounding.queries import Shape
from grounding.settings import Settings
from grounding.web.examples import PICTURES
from tools.reading.samples import FILM, SCREENS
from tools.shapes.films import EXAMPLE

from .serving import Start

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
SHOWN = {
    "boxes-points-status": ({Shape.BOX, Shape.POINT}, True, True),
    "captions-tags": ({None}, False, False),
    "class-list": ({Shape.BOX}, False, False),
    "click-to-box": ({Shape.BOX}, False, True),
    "counting": ({Shape.BOX, None}, False, False),
    "moving-boxes": ({Shape.BOX}, False, False),
    "ocr-lines": ({Shape.BOX, None}, False, False),
    "page-layout": ({Shape.BOX, None}, False, False),
    "receipt-fields": ({None}, False, False),
    "screen-buttons": ({Shape.POINT}, False, False),
    "shapes-in-film": ({Shape.SPAN}, False, False),
    "typed-boxes": ({Shape.BOX}, True, True),
    "typed-points": ({Shape.POINT}, True, True),
}
"""What each draws, whether it takes a prompt, and whether the answer is told in words."""

FILMS = {
    "moving-boxes": (EXAMPLE, "tools.shapes.films"),
    "shapes-in-film": (FILM, "tools.reading.samples"),
}
"""Examples with a film of their own, and what draws it."""

OWN_TASKS = {*FILMS, "screen-buttons"}

each = pytest.mark.parametrize("name", NAMES)


def frames_of(data: bytes) -> list[np.ndarray]:
    with av.open(io.BytesIO(data)) as container:
        return [frame.to_ndarray(format="rgb24").astype(float) for frame in container.decode(0)]


def config_of(name: str) -> str:
    return (EXAMPLES / name / "config.xml").read_text()


@each
def test_an_example_has_a_config_and_a_word_on_what_to_expect(name: str) -> None:
    own = {"tasks.json"} if name in OWN_TASKS else set()
    assert {path.name for path in (EXAMPLES / name).iterdir()} == {"config.xml", "README.md"} | own
    assert "**Expect:**" in (EXAMPLES / name / "README.md").read_text()
    assert f"({name}/README.md)" in (EXAMPLES / "README.md").read_text()


@each
def test_an_example_shows_what_it_promises_and_leaves_nothing_to_remark(name: str) -> None:
    config = parse(config_of(name))
    assert config.warnings == ()
    shapes = {control.shape for control in config.controls}
    assert (shapes, bool(config.prompt_areas()), bool(config.status_area())) == SHOWN[name]


@each
def test_every_text_area_of_an_example_says_what_it_is_for(name: str) -> None:
    """It has a caption; nobody can type where the answer appears, and take it for the prompt."""
    for parent in ElementTree.fromstring(config_of(name)).iter("View"):
        for before, area in itertools.pairwise(parent):
            if area.tag == "TextArea":
                assert before.tag == "Header"
                assert bool(area.get("placeholder")) == (area.get("name") == "prompt")
                assert (area.get("maxSubmissions") == "0") == (area.get("name") == "status")


@each
def test_an_example_shows_the_pictures_that_the_backend_serves(start: Start, name: str) -> None:
    (key,) = {control.data_key for control in parse(config_of(name)).controls}
    folder = EXAMPLES / name if name in OWN_TASKS else EXAMPLES
    tasks = json.loads((folder / "tasks.json").read_text())
    origin = f"http://localhost:{Settings.load().port}"
    client = start()
    for task in tasks:
        address = task["data"][key]
        assert address.startswith(origin)
        with client.get(address.removeprefix(origin)) as answer:
            if name in FILMS:
                (film, maker), shown = FILMS[name], frames_of(answer.data)
                assert len(shown) == film.frames
                for number in (0, len(shown) // 2, len(shown) - 1):
                    off = np.abs(shown[number] - np.asarray(film.scene(number).draw(), float))
                    assert off.mean() < 4, f"make it again: python -m {maker}"
            else:
                Image.open(io.BytesIO(answer.data)).verify()


@each
def test_an_example_can_be_connected(start: Start, name: str) -> None:
    body = {"project": "1.1", "schema": config_of(name)}
    answer = start().post("/setup", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json["model_version"].startswith("shapes-")  # type: ignore[index]


def test_a_screen_is_as_it_was_drawn_and_its_task_names_a_button_of_it() -> None:
    tasks = json.loads((EXAMPLES / "screen-buttons" / "tasks.json").read_text())
    told = {Path(one["data"]["image"]).name: one["data"]["instruction"] for one in tasks}
    assert told == {name: f"Press {button}" for name, (_, button) in SCREENS.items()}
    for name, (drawn, button) in SCREENS.items():
        with Image.open(PICTURES / name) as stored:
            assert (np.asarray(stored.convert("RGB")) == np.asarray(drawn.draw())).all()
        assert button in [one.name for one in drawn.buttons]
