"""The example projects: each is whole, is read without a remark, and can be connected."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path

import pytest
from PIL import Image

from grounding.labelstudio.config.parse import parse
from grounding.labelstudio.controls import CONTROLS
from grounding.queries import Shape

from .serving import Start

EXAMPLES = Path(__file__).parent.parent / "examples"
NAMES = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
SHOWN = {
    "boxes-points-status": ({Shape.BOX, Shape.POINT}, True, True),
    "class-list": ({Shape.BOX}, False, False),
    "click-to-box": ({Shape.BOX}, False, False),
    "typed-boxes": ({Shape.BOX}, True, False),
    "typed-points": ({Shape.POINT}, True, False),
}
"""What each draws, whether it takes a prompt, and whether it has a status line."""

each = pytest.mark.parametrize("name", NAMES)


def config_of(name: str) -> str:
    return (EXAMPLES / name / "config.xml").read_text()


@each
def test_an_example_has_config_tasks_and_a_word_on_what_to_expect(name: str) -> None:
    assert {path.name for path in (EXAMPLES / name).iterdir()} == {
        "config.xml",
        "tasks.json",
        "README.md",
    }
    assert "**Expect:**" in (EXAMPLES / name / "README.md").read_text()
    assert f"({name}/README.md)" in (EXAMPLES / "README.md").read_text()


@each
def test_an_example_shows_what_it_promises_and_leaves_nothing_to_remark(name: str) -> None:
    config = parse(config_of(name))
    assert config.warnings == ()
    shapes = {control.shape for control in config.controls}
    assert (shapes, bool(config.prompt_areas()), bool(config.status_area())) == SHOWN[name]


@each
def test_the_pictures_of_an_example_are_inside_its_tasks(name: str) -> None:
    (key,) = {control.data_key for control in parse(config_of(name)).controls}
    tasks = json.loads((EXAMPLES / name / "tasks.json").read_text())
    assert len(tasks) == 3
    for task in tasks:
        head, _, body = task["data"][key].partition(",")
        assert head == "data:image/png;base64"
        Image.open(io.BytesIO(base64.b64decode(body, validate=True))).verify()


@each
def test_an_example_can_be_connected(start: Start, name: str) -> None:
    body = {"project": "1.1", "schema": config_of(name)}
    answer = start().post("/setup", json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json["model_version"].startswith("shapes-")  # type: ignore[index]
