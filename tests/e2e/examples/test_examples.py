"""Each example project, imported into Label Studio as a reader would."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.client import Client
from tests.e2e.label_studio import install
from tests.e2e.projects import Project

pytestmark = pytest.mark.e2e

EXAMPLES = Path(__file__).parents[3] / "examples"
NAMES = sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir())
TYPED = ("boxes-points-status", "typed-boxes", "typed-points")
ADDRESS = "http://localhost:9090"
"""Where a backend that is started without further ado listens."""

CLASSES = {"red circle", "square", "green triangle", "yellow star"}

REGION = {
    "id": "a-drawn-box",
    "from_name": "box",
    "to_name": "image",
    "type": "rectanglelabels",
    "original_width": 457,
    "original_height": 290,
    "image_rotation": 0,
    "value": {"x": 10, "y": 10, "width": 20, "height": 20, "rectanglelabels": ["square"]},
}
"""A box on the first picture of the examples, as an annotator submits it."""

VALIDATOR = """
import json, sys
from label_studio_sdk.label_interface import LabelInterface

def complaints(config, tasks, predictions):
    interface = LabelInterface(config)
    interface.validate()
    wrong = ["a task" for task in tasks if not interface.validate_task(task)]
    for one in predictions:
        wrong += interface.validate_prediction(one, return_errors=True)
    return wrong

print(json.dumps([complaints(*case) for case in json.load(sys.stdin)]))
"""

Case = tuple[str, list[Any], list[Any]]
"""A labelling config, tasks and predictions."""


def example(name: str, backend: str = ADDRESS) -> tuple[str, list[dict[str, Any]]]:
    """Return the labelling config of an example and its tasks' data, for a `backend`'s address."""
    own = EXAMPLES / name / "tasks.json"
    file = own if own.exists() else EXAMPLES / "tasks.json"
    tasks = file.read_text().replace(ADDRESS, backend)
    config = (EXAMPLES / name / "config.xml").read_text()
    return config, [task["data"] for task in json.loads(tasks)]


def as_case(name: str, predictions: list[Any] | None = None) -> Case:
    """Return an example, with these predictions, as `complaints` takes it."""
    config, data = example(name)
    return config, [{"data": item} for item in data], predictions or []


def complaints(*cases: Case) -> list[list[str]]:
    """Return what Label Studio's own rules say of each case; a broken config ends them."""
    command = [install().parent / "python", "-c", VALIDATOR]
    done = subprocess.run(
        command, input=json.dumps(cases), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found: list[list[str]] = json.loads(done.stdout)
    return found


def test_every_example_is_valid_by_label_studios_own_rules() -> None:
    cases: list[Case] = [as_case(name) for name in NAMES]
    assert complaints(*cases) == [[] for _ in NAMES]


def test_these_rules_can_say_no() -> None:
    config, tasks, _ = as_case(NAMES[0])
    prediction = {"model_version": "x", "score": 0.5, "result": [{"from_name": "none"}]}
    task, region = complaints((config, [{"data": {}}], []), (config, tasks, [prediction]))
    assert task
    assert region


@pytest.mark.parametrize("name", NAMES)
def test_an_example_is_imported_and_connected(studio: Client, backend_url: str, name: str) -> None:
    config, data = example(name, backend_url)
    project = studio.create_project(f"example {name}", config)
    assert len(studio.import_tasks(project, data)) == len(data)
    studio.connect(project, backend_url)
    (ours,) = studio.backends(project)
    assert ours["readable_state"] == "Connected"


@pytest.mark.parametrize(("kind", "listed"), [("COCO", "images/"), ("YOLO", "labels/")])
def test_an_export_has_the_pictures_names(
    studio: Client, backend_url: str, kind: str, listed: str
) -> None:
    """Pictures within the tasks would be named by the last letters of their base64."""
    config, data = example("class-list", backend_url)
    project = studio.create_project(f"export {kind}", config)
    tasks = studio.import_tasks(project, data)
    studio.annotate(tasks[0], [REGION])
    names = studio.exported_names(project, kind)
    assert [name for name in names if name.startswith(listed) and "shapes-1" in name]


def test_the_class_list_is_labelled_before_anyone_looks(studio: Client, backend_url: str) -> None:
    """With the config's own labels, though the model is asked for other words."""
    config, data = example("class-list", backend_url)
    number = studio.create_project("class list", config)
    studio.import_tasks(number, data)
    project = Project(studio, number, studio.connect(number, backend_url), "")
    saved = project.retrieve(len(data)).saved
    labels = {name for one in saved for r in one.result for name in r["value"]["rectanglelabels"]}
    assert len(saved) == len(data)
    assert "square" in labels
    assert labels <= CLASSES
    stored = [
        {"model_version": one.model_version, "score": one.score, "result": one.result}
        for one in saved
    ]
    assert complaints(as_case("class-list", stored)) == [[]]
