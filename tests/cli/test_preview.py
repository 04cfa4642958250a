"""`preview`: a page with the question, the raw answer and what was found, under one way or two."""

from __future__ import annotations

import base64
import json
import shutil
from pathlib import Path

import pytest

from grounding.cli.preview import with_attribute
from grounding.errors import GroundingError
from grounding.labelstudio.config.parse import parse
from tests.cli.running import Commands
from tests.cli.studio import Studio
from tests.labelstudio.configs import BOXES, CHOICES, having, view

DEMO = Path(__file__).parents[2] / "grounding" / "demo" / "pictures"
SQUARE = '<Label value="blue square"/>'
CONFIG = view(f'<RectangleLabels name="box" toName="image">{SQUARE}</RectangleLabels>')


def data_uri(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def test_the_page_shows_question_answer_and_boxes_of_two_ways(
    command: Commands, tmp_path: Path
) -> None:
    page = tmp_path / "p.html"
    words = ("--find", "blue square", "--against", "model_language=zh", "--html", page, "--json")
    done = command("preview", DEMO / "shapes-1.png", *words)
    assert done.status == 0
    first, second = json.loads(done.out)
    assert (first["setting"], second["setting"]) == ("as it is", "model_language=zh")
    assert "Locate every instance" in first["exchanges"][0]["prompt"]
    assert "bbox_2d" in first["exchanges"][0]["answer"]
    assert second["exchanges"][0]["prompt"] != first["exchanges"][0]["prompt"]
    shown = page.read_text()
    assert shown.count("data:image/jpeg;base64,") == 2
    assert "Locate every instance" in shown
    assert "bbox_2d" in shown
    assert "model_language=zh" in shown
    assert "blue square 0.9" in shown


MISSING = "MODEL=/no/such/folder"


@pytest.mark.parametrize("first", [True, False], ids=["the first way", "the other way"])
def test_a_way_whose_model_is_not_there_costs_the_other_nothing(
    command: Commands, tmp_path: Path, first: bool
) -> None:
    page, words = tmp_path / "p.html", ("--find", "blue square", "--json")
    own, against = (MISSING.removeprefix("MODEL="), "MODEL=") if first else ("", MISSING)
    command_words = (*words, "--against", against, "--html", page)
    done = command("preview", DEMO / "shapes-1.png", *command_words, MODEL=own)
    assert done.status == 1
    found = {one["setting"]: one for one in json.loads(done.out)}
    missing, asked = ("as it is", "MODEL=") if first else (MISSING, "as it is")
    assert found[asked]["prediction"]["result"]
    assert "/no/such/folder" in found[missing]["error"]
    assert f"{missing}: 1 of 1 have no prediction: " in done.err
    shown = page.read_text()
    assert "blue square 0.9" in shown
    assert "/no/such/folder" in shown


def test_without_any_model_there_is_no_page(command: Commands, tmp_path: Path) -> None:
    page, words = tmp_path / "p.html", ("--find", "blue square", "--against", MISSING)
    done = command("preview", DEMO / "shapes-1.png", *words, "--html", page, MODEL="/none/either")
    assert (done.status, page.exists()) == (2, False)
    assert "as it is: there is no folder /none/either" in done.err
    assert "/no/such/folder" in done.err


def test_a_projects_first_tasks_are_shown(
    command: Commands, studio: Studio, tmp_path: Path
) -> None:
    address = data_uri(DEMO / "shapes-1.png")
    studio.label_config = CONFIG
    studio.tasks = [{"id": n, "data": {"image": address}} for n in range(1, 6)]
    words = ("--project", 7, "--tasks", 2, "--html", tmp_path / "p.html", "--json")
    done = command("preview", *words, **studio.environment)
    found = json.loads(done.out)
    assert (done.status, [one["picture"] for one in found]) == (0, ["Task 1", "Task 2"])
    assert all(one["prediction"]["result"] for one in found)


def test_what_has_no_prediction_is_told_beside_the_page(
    command: Commands, studio: Studio, tmp_path: Path
) -> None:
    studio.label_config = CONFIG
    studio.tasks = [
        {"id": 1, "data": {"image": data_uri(DEMO / "shapes-1.png")}},
        {"id": 2, "data": {"image": "http://10.0.0.1:9000/a.png"}},
    ]
    done = command("preview", "--project", 7, "--html", tmp_path / "p.html", **studio.environment)
    assert "as it is: 1 of 2 have no prediction: http://10.0.0.1:9000/a.png is not" in done.err


def test_a_projects_own_parameters_count(command: Commands, studio: Studio, tmp_path: Path) -> None:
    """Label Studio sends them when it connects: what is shown is what would be predicted."""
    studio.label_config = CONFIG
    studio.backends = [{"extra_params": '{"model_language": "zh"}'}]
    studio.tasks = [{"id": 1, "data": {"image": data_uri(DEMO / "shapes-1.png")}}]
    page = ("--html", tmp_path / "p.html", "--json", "--against", "GROUNDING_LABELS_PER_QUERY=0")
    done = command("preview", "--project", 7, *page, **studio.environment)
    asked = [one["exchanges"][0]["prompt"] for one in json.loads(done.out)]
    assert ["检测图中" in prompt for prompt in asked] == [True, True]


def test_a_file_of_this_machine_is_not_read_for_a_project(
    command: Commands, studio: Studio, tmp_path: Path
) -> None:
    """A task's data is anyone's; only paths that were typed are read."""
    studio.label_config = CONFIG
    studio.tasks = [{"id": 1, "data": {"image": str(DEMO / "shapes-1.png")}}]
    words = ("--project", 7, "--html", tmp_path / "p.html", "--json")
    (found,) = json.loads(command("preview", *words, **studio.environment).out)
    assert (found["prediction"], bool(found["error"])) == (None, True)


def test_pictures_beyond_those_shown_are_counted(command: Commands, tmp_path: Path) -> None:
    for number in (1, 2, 3):
        shutil.copy(DEMO / "shapes-1.png", tmp_path / f"{number}.png")
    words = (tmp_path, "--find", "red circle", "--tasks", 1, "--html", tmp_path / "p.html")
    done = command("preview", *words)
    assert (done.status, "the first 1 of 3 pictures: --tasks 3" in done.err) == (0, True)


def test_an_attribute_is_set_on_every_control_that_takes_it() -> None:
    boxes = having(BOXES, 'model_prompt="old"')
    changed = parse(with_attribute(view(boxes, CHOICES), "model_language", "zh"))
    assert [control.options.style.language for control in changed.controls] == ["zh", "zh"]
    changed = parse(with_attribute(view(boxes), "model_prompt", "the {labels}"))
    prompt = changed.controls[0].options.prompt
    assert prompt is not None
    assert prompt.fill({"labels": "cars"}) == "the cars"


@pytest.mark.parametrize(("name", "value"), [("model_wrong", "x"), ("model_language", "klingon")])
def test_an_attribute_that_nobody_reads_is_refused(name: str, value: str) -> None:
    with pytest.raises(GroundingError):
        with_attribute(view(BOXES), name, value)


REFUSED = {
    "nothing to show": ([], "Give either pictures or --project"),
    "points of nothing": (["--project", "7", "--points"], "Give either"),
    "unknown name": (["a.png", "--find", "x", "--against", "speed=9"], "neither an attribute"),
    "wrong value": (["a.png", "--find", "x", "--against", "GROUNDING_MAX_BATCH=no"], "MAX_BATCH"),
}


@pytest.mark.parametrize(("words", "said"), REFUSED.values(), ids=REFUSED)
def test_wrong_words_end_with_status_2(
    command: Commands,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes((DEMO / "shapes-1.png").read_bytes())
    done = command("preview", *words)
    assert (done.status, said in done.err) == (2, True)
