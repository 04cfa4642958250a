"""`export --for-training`: what is written reads back to what was annotated, in both layouts."""

from __future__ import annotations

import base64
import io
import json
import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from grounding.asking.training import Example, examples
from grounding.evaluation.records import read_tasks
from grounding.labelstudio.config.parse import parse
from grounding.labelstudio.plan import PromptDefaults
from grounding.qwen.profiles import PROFILES
from tests.cli.running import Commands
from tests.cli.studio import Studio
from tests.evaluation.making import Result, annotation, box, choice, point, scene, task
from tests.labelstudio.configs import BOXES, having, view

LABELS = '<Label value="cat"/><Label value="dog"/>'
BOTH = f'<RectangleLabels name="box" toName="image">{LABELS}</RectangleLabels>'
NOSES = '<KeyPointLabels name="point" toName="image"><Label value="nose"/></KeyPointLabels>'
WEATHER = (
    '<Choices name="weather" toName="image"><Choice value="sun"/><Choice value="rain"/></Choices>'
)
CONFIG = view(BOTH, NOSES, WEATHER)
SIZE = (200, 100)


def data_uri() -> str:
    out = io.BytesIO()
    Image.new("RGB", SIZE, "grey").save(out, "PNG")
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode()}"


def made(xml: str, *result: Result, family: str = "qwen2.5-vl") -> list[Example]:
    (one,) = read_tasks([task(1, [annotation(result)])]).tasks
    assert one.reference
    picture = Image.new("RGB", SIZE, "grey")
    profile = PROFILES[family]
    return list(examples(parse(xml), PromptDefaults(), one.reference, picture, profile))


def annotated(*result: Result) -> dict[str, Any]:
    return task(1, [annotation(result)]) | {"data": {"image": data_uri()}}


def saved(folder: Path, *tasks: dict[str, Any], xml: str = CONFIG) -> list[object]:
    (folder / "a.json").write_text(json.dumps(tasks))
    (folder / "c.xml").write_text(xml)
    words = ["export", folder / "a.json", "--for-training", "--config", folder / "c.xml"]
    return [*words, "--output", folder / "out"]


RESULT = (box(10, 20, 30, 40, "cat"), point(50, 50), choice("sun"))


def test_both_layouts_hold_the_conversations(command: Commands, tmp_path: Path) -> None:
    done = command(*saved(tmp_path, annotated(*RESULT)))
    out = tmp_path / "out"
    assert (done.status, "4 conversations of 1 task" in done.out) == (0, True)
    rows = json.loads((out / "train.json").read_text())
    assert [json.loads(line) for line in (out / "train.jsonl").read_text().splitlines()] == rows
    info = json.loads((out / "dataset_info.json").read_text())["grounding"]
    assert (out / info["file_name"]).exists()
    for row in rows:
        user, assistant = row[info["columns"]["messages"]]
        assert (user["role"], assistant["role"]) == ("user", "assistant")
        assert user["content"].count("<image>") == len(row["images"]) == 1
        assert (out / row["images"][0]).exists()
    cats, dogs, noses, weather = (row["messages"][1]["content"] for row in rows)
    assert '"label": "cat"' in cats
    assert dogs == "```json\n[]\n```", "what is not there is taught, too"
    assert '"point_2d"' in noses
    assert json.loads(weather.strip("`").removeprefix("json")) == {"weather": "sun"}


def test_a_picture_that_is_missing_costs_no_other_of_its_task(
    command: Commands, tmp_path: Path
) -> None:
    second = '<Image name="back" value="$back"/><Choices name="torn" toName="back">'
    film = '<Video name="film" value="$film"/><Choices name="long" toName="film">'
    choices = '<Choice value="yes"/><Choice value="no"/></Choices>'
    xml = view(BOXES, second, choices, film, choices)
    done = command(*saved(tmp_path, annotated(*RESULT), xml=xml), "--json")
    facts = json.loads(done.out)
    assert (facts["conversations"], facts["tasks"]) == (2, 1), "a car and a dog"
    first, last = facts["left_out"]
    assert 'nothing under "back"' in first
    assert last.startswith("films are not exported")


def test_the_numbers_are_pixels_of_the_picture_that_is_stored(
    command: Commands, tmp_path: Path
) -> None:
    """By hand, without our geometry: 10 to 40 % of the width, 20 to 60 % of the height."""
    command(*saved(tmp_path, annotated(*RESULT)))
    row = json.loads((tmp_path / "out" / "train.json").read_text())[0]
    with Image.open(tmp_path / "out" / row["images"][0]) as picture:
        width, height = picture.size
    assert (width % 28, height % 28) == (0, 0)
    assert (width, height) != SIZE
    answer = row["messages"][1]["content"].strip("`").removeprefix("json")
    (entry,) = json.loads(answer)
    wanted = [0.1 * width, 0.2 * height, 0.4 * width, 0.6 * height]
    assert entry["bbox_2d"] == pytest.approx(wanted, abs=0.5)


def test_families_that_write_thousandths_are_taught_these() -> None:
    cats, *_ = made(CONFIG, *RESULT, family="qwen3-vl")
    assert '"bbox_2d": [100, 200, 400, 600]' in cats.answer


@given(st.integers(0, 2**32), st.sampled_from(sorted(PROFILES)))
def test_what_is_written_reads_back_to_the_same_regions(seed: int, family: str) -> None:
    chance = random.Random(seed)
    assert [one.flaw for one in made(CONFIG, *scene(chance), family=family)] == [""] * 4


def test_a_box_that_is_nothing_in_the_models_pixels_is_left_out(
    command: Commands, tmp_path: Path
) -> None:
    """Without it, the answer would teach that it is not there."""
    small = box(10, 10, 0.01, 0.01, "cat")
    done = command(*saved(tmp_path, annotated(small, box(50, 50, 20, 20, "dog"))), "--json")
    found = json.loads(done.out)
    assert (done.status, found["conversations"]) == (1, 3)
    assert found["left_out"] == {"the answer does not read back to the same regions": 1}


def test_a_path_that_was_chosen_is_not_taught_as_none() -> None:
    tree = '<Choice value="animal"><Choice value="dog"/></Choice>'
    xml = view(f'<Taxonomy name="kind" toName="image">{tree}</Taxonomy>')
    chosen = {"id": "t", "from_name": "kind", "to_name": "image", "type": "taxonomy"}
    (one,) = made(xml, chosen | {"value": {"taxonomy": [["animal", "dog"]]}})
    assert one.flaw == "only choices are exported of values"


def test_aliases_and_predicted_values_are_asked_and_answered_by_the_models_word() -> None:
    label = '<Label value="K-1" alias="k" predicted_values="cat"/>'
    xml = view(f'<RectangleLabels name="box" toName="image">{label}</RectangleLabels>')
    (one,) = made(xml, box(10, 10, 30, 30, "k"))
    assert "'cat'" in one.prompt
    assert '"label": "cat"' in one.answer
    assert one.flaw == ""


def test_the_wordings_are_those_that_are_asked() -> None:
    (one, _) = made(view(having(BOXES.replace("Car", "cat"), 'model_language="zh"')))
    assert "检测图中" in one.prompt


def test_a_project_is_exported_and_a_missing_picture_fails_alone(
    command: Commands, studio: Studio, tmp_path: Path
) -> None:
    studio.label_config = CONFIG
    gone = annotated(*RESULT) | {"id": 2, "data": {"image": "http://127.0.0.1:1/a.png"}}
    studio.tasks = [annotated(*RESULT), gone, task(3)]
    words = ("--project", 7, "--output", tmp_path / "out", "--json")
    done = command("export", "--for-training", *words, **studio.environment)
    found = json.loads(done.out)
    assert (done.status, found["conversations"], found["tasks"]) == (1, 4, 1)
    assert len(found["left_out"]) == 1


def test_a_projects_own_parameters_count(command: Commands, studio: Studio, tmp_path: Path) -> None:
    studio.label_config = CONFIG
    studio.backends = [{"extra_params": '{"model_language": "zh"}'}]
    studio.tasks = [annotated(*RESULT)]
    words = ("--project", 7, "--output", tmp_path / "out")
    command("export", "--for-training", *words, **studio.environment)
    first, *_ = json.loads((tmp_path / "out" / "train.json").read_text())
    assert "检测图中" in first["messages"][0]["content"]


@pytest.mark.parametrize("words", [[], ["--project", "7"]], ids=["config missing", "both"])
def test_half_a_source_is_refused(command: Commands, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "a.json").write_text("[]")
    output = ("--output", tmp_path / "out")
    done = command("export", tmp_path / "a.json", "--for-training", *output, *words)
    assert (done.status, "Give either" in done.err) == (2, True)
