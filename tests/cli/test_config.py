"""`config check`: what would be asked of which control, and every warning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from grounding.labelstudio.controls.number import LIMITS
from tests.cli.running import Commands
from tests.labelstudio.configs import BOXES, CHOICES, POINTS, PROMPT, STATUS, area, having, view
from tests.pipeline.test_pipeline import InlineEngine, OnePicture, grounded

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*/config.xml"))
POLYGON = '<PolygonLabels name="poly" toName="image"><Label value="x"/></PolygonLabels>'


def saved(folder: Path, *parts: str) -> Path:
    path = folder / "config.xml"
    path.write_text(view(*parts))
    return path


def test_it_shows_the_prompts_of_each_control(command: Commands, tmp_path: Path) -> None:
    done = command("config", "check", saved(tmp_path, BOXES, CHOICES, PROMPT), "--json")
    assert done.status == 0
    found = json.loads(done.out)
    assert [(c["tag"], c["name"]) for c in found["controls"]] == [
        ("RectangleLabels", "box"),
        ("Choices", "c"),
    ]
    asked = [(query["controls"], query["prompt"]) for query in found["queries"]]
    assert [controls for controls, _ in asked] == [["box"], ["box"], ["c"]], "a label a question"
    assert "Car" in asked[0][1]
    assert "Dog" in asked[1][1]
    assert found["prompt_areas"] == ["prompt"]
    assert found["status_area"] is None


def test_what_is_shown_is_what_the_model_is_asked(command: Commands, tmp_path: Path) -> None:
    parts = (BOXES, POINTS)
    shown = json.loads(command("config", "check", saved(tmp_path, *parts), "--json").out)
    engine = InlineEngine(lambda _: "[]")
    grounded(engine, *parts, pictures=OnePicture(1280, 960))
    asked = [request.text for request in engine.requests]
    assert [query["prompt"] for query in shown["queries"]] == asked


def test_what_each_region_is_asked_is_shown_once(command: Commands, tmp_path: Path) -> None:
    read = area("transcription", 'perRegion="true"')
    colour = (
        '<Choices name="colour" toName="image" perRegion="true"><Choice value="red"/></Choices>'
    )
    late = colour.replace("colour", "late").replace("<Choices", '<Choices model_answer="asked"')
    path = saved(tmp_path, BOXES, POINTS, read, colour, late)
    shown = json.loads(command("config", "check", path, "--json").out)["queries"]
    assert [(one["controls"], one["each_region"]) for one in shown] == [
        (["box"], False),
        (["box"], False),
        (["kp"], False),
        (["transcription"], True),
        (["colour"], True),
    ]
    assert "Read all the text" in shown[3]["prompt"]
    assert "for transcription, about each region:" in command("config", "check", path).out


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_every_example_is_served(command: Commands, path: Path) -> None:
    done = command("config", "check", path, "--strict")
    assert (done.status, done.err) == (0, "")
    assert "Controls that are served" in done.out


def test_an_instruction_that_a_task_holds_is_shown_by_its_field(command: Commands) -> None:
    (path,) = (one for one in EXAMPLES if one.parent.name == "screen-buttons")
    shown = json.loads(command("config", "check", path, "--json").out)
    assert ["«instruction»" in query["prompt"] for query in shown["queries"]] == [True]


def test_what_is_not_served_is_named(command: Commands, tmp_path: Path) -> None:
    done = command("config", "check", saved(tmp_path, BOXES, POLYGON, STATUS))
    assert 'Not served: <PolygonLabels name="poly">' in done.out
    assert 'name="status"' not in done.out


def test_limits_that_annotators_set_are_told_apart_from_what_is_not_served(
    command: Commands, tmp_path: Path
) -> None:
    first, second = LIMITS
    limits = f'<Number name="{first}" toName="image"/><number name="{second}" toName="image"/>'
    path = saved(tmp_path, BOXES, limits)
    done = command("config", "check", path)
    assert "Annotators may narrow an answer with score_threshold, max_regions." in done.out
    assert "Not served" not in done.out
    assert json.loads(command("config", "check", path, "--json").out)["limits"] == list(LIMITS)


def test_warnings_are_shown_and_fail_a_strict_check(command: Commands, tmp_path: Path) -> None:
    twins = BOXES.replace("Dog", "car").replace(' alias="d"', "")
    path = saved(tmp_path, twins)
    done = command("config", "check", path)
    assert (done.status, "Warning: labels differ in spelling only" in done.out) == (0, True)
    assert command("config", "check", path, "--strict").status == 1


def test_a_refused_config_exits_1_with_the_cure(command: Commands, tmp_path: Path) -> None:
    path = saved(tmp_path, having(BOXES, 'model_promt="x"'))
    done = command("config", "check", path)
    assert done.status == 1
    assert "Refused: " in done.err
    assert "model_prompt" in done.err
    told = json.loads(command("config", "check", path, "--json").out)
    assert (told["served"], told["code"]) == (False, "attribute_unknown")


def test_a_field_that_a_prompt_names_comes_from_the_task(command: Commands, tmp_path: Path) -> None:
    path = saved(tmp_path, having(BOXES, 'model_prompt="the {brand} on it"'))
    assert "the «brand» on it" in command("config", "check", path).out
    task = tmp_path / "task.json"
    task.write_text(json.dumps([{"data": {"image": "a.png", "brand": "Fiat"}}]))
    assert "the Fiat on it" in command("config", "check", path, "--task", task).out


def test_the_projects_parameters_count(command: Commands, tmp_path: Path) -> None:
    path = saved(tmp_path, BOXES)
    asked = json.loads(
        command("config", "check", path, "--json", "--params", '{"model_answer": "asked"}').out
    )
    assert asked["queries"] == []
    assert asked["controls"][0]["only_when_asked"]


def test_the_models_family_decides_on_the_wording(command: Commands, tmp_path: Path) -> None:
    path = saved(tmp_path, having(POINTS, 'model_answer_format="xml"'))
    ours = command("config", "check", path).out
    assert ours != command("config", "check", path, MODEL="Qwen/Qwen3-VL-8B-Instruct").out
