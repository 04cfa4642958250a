"""What a labelling config and a backend's parameters may say, as the real Label Studio takes it."""

from __future__ import annotations

import json

import pytest

from tests.e2e.client import Client, Refused
from tests.e2e.pictures import Sample
from tests.e2e.projects import BOXES, LABELS, Project, open_project
from tests.e2e.score import boxes, labels

pytestmark = pytest.mark.e2e

TWO_IMAGES = f"""<View>
  <View><Image name="left" value="$pair.left"/>
    <RectangleLabels name="box" toName="left">{LABELS}</RectangleLabels></View>
  <View><Image name="right" value="$right"/>
    <KeyPointLabels name="point" toName="right">{LABELS}</KeyPointLabels></View></View>"""
TEMPLATE = BOXES.replace("<RectangleLabels", '<RectangleLabels model_prompt="every {wanted}"')


def test_each_picture_of_a_task_gets_the_regions_of_its_own_control(
    studio: Client, backend_url: str, origin: str, samples: list[Sample]
) -> None:
    project = open_project(studio, backend_url, origin, "two pictures", TWO_IMAGES)
    left, right = samples[:2]
    studio.import_tasks(
        project.id, [{"pair": {"left": left.data_uri()}, "right": right.data_uri()}]
    )
    (found,) = project.retrieve(1).saved
    drawn = {
        (r["from_name"], r["to_name"], r["original_width"], r["original_height"])
        for r in found.result
    }
    assert drawn == {
        ("box", "left", left.scene.width, left.scene.height),
        ("point", "right", right.scene.width, right.scene.height),
    }


def test_a_prompt_is_filled_from_each_task_s_own_data(
    studio: Client, backend_url: str, origin: str, samples: list[Sample]
) -> None:
    project = open_project(studio, backend_url, origin, "a prompt with a place", TEMPLATE)
    shown = next(sample for sample in samples if len(sample.wanted) > 1)
    names = [thing.name for thing in shown.wanted[:2]]
    tasks = [{"image": shown.data_uri(), "wanted": name} for name in names]
    studio.import_tasks(project.id, [*tasks, {"image": shown.data_uri()}])
    saved = {found.task: found for found in project.retrieve(2).saved}
    of_name = {task.data.get("wanted"): saved.get(task.id) for task in studio.tasks(project.id)}
    assert of_name[None] is None, "a task without the field costs no other"
    for name in names:
        found = of_name[name]
        assert found
        assert {label for region in found.result for label in labels(region)} == {name}


@pytest.mark.parametrize(
    "given", [{"max_regions": 1}, '{"max_regions": 1}'], ids=["object", "text"]
)
def test_a_backend_s_extra_params_are_the_defaults_of_its_project(
    studio: Client, backend_url: str, origin: str, samples: list[Sample], given: object
) -> None:
    number = studio.create_project("with parameters", BOXES)
    connected = studio.connect(number, backend_url, extra_params=given)
    project = Project(studio, number, connected, origin)
    crowded = next(sample for sample in samples if len(sample.wanted) > 1)
    studio.import_tasks(number, [{"image": crowded.data_uri()}])
    (found,) = project.retrieve(1).saved
    assert len(boxes(found)) == 1
    assert found.model_version == project.model_version()


def test_wrong_extra_params_show_their_reason_in_the_dialog(
    studio: Client, backend_url: str
) -> None:
    number = studio.create_project("wrong parameters", BOXES)
    with pytest.raises(Refused, match=r"Reason: 400 Client Error: extra_params has max_regions"):
        studio.connect(number, backend_url, extra_params=json.dumps({"max_regions": "many"}))
