"""`evaluate` from files and from a project."""

from __future__ import annotations

import base64
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli.running import Commands
from tests.cli.studio import Studio
from tests.evaluation.making import annotation, box, choice, judged, prediction, task
from tests.labelstudio.configs import BOXES, view

CAT = box(0, 0, 20, 20, number="c")
TASKS = [judged(1, [CAT], [CAT]), judged(2, [CAT], []), task(3, [], [prediction([CAT])])]


def saved(folder: Path, name: str, document: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps(document))
    return path


def test_one_file_with_both_is_evaluated(command: Commands, tmp_path: Path) -> None:
    done = command("evaluate", saved(tmp_path, "a.json", TASKS))
    assert done.status == 0
    assert "Of 1 pre-labelled region in 2 tasks annotators kept 100%" in done.out
    assert "they added 1 that were missed" in done.out


def test_an_export_and_files_of_predictions_are_joined(command: Commands, tmp_path: Path) -> None:
    """An export has the numbers of predictions only; files for import have no ids."""
    export = saved(tmp_path, "a.json", [task(1, [annotation([CAT])]) | {"predictions": [5]}])
    data = {"data": TASKS[0]["data"]}
    good = saved(tmp_path, "good.json", [data | {"predictions": [{"result": [CAT]}]}])
    worse = saved(tmp_path, "worse.json", [data | {"predictions": [{"result": []}]}])
    words = ("--version", "good", "--against", "worse", "--json")
    done = command("evaluate", export, good, worse, *words)
    assert done.status == 0
    report = json.loads(done.out)
    assert report["all"]["f1"] == 1
    assert report["against"]["differences"]["recall"]["value"] == 1


def test_a_project_is_evaluated(command: Commands, studio: Studio, tmp_path: Path) -> None:
    studio.tasks = [judged(n, [CAT], [CAT] if n % 2 else []) for n in range(1, 251)]
    page = tmp_path / "sub" / "report.html"
    done = command("evaluate", "--project", 7, "--json", "--html", page, **studio.environment)
    assert done.status == 0
    report = json.loads(done.out)
    assert (report["tasks"], report["all"]["recall"]) == (250, 0.5)
    assert sum("/api/tasks" in asked for asked in studio.asked) == 3, "in pages of 100"
    assert f"{studio.url}/projects/7/data?task=2" in page.read_text()
    assert "project 7, Cats" in page.read_text()


def test_a_configs_served_controls_are_what_counts(command: Commands, tmp_path: Path) -> None:
    config = tmp_path / "config.xml"
    config.write_text(
        '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">'
        '<Label value="cat"/></RectangleLabels><Choices name="weather" toName="image">'
        '<Choice value="sun"/></Choices></View>'
    )
    tasks = saved(tmp_path, "a.json", [judged(1, [CAT, choice("sun")], [CAT])])
    done = command("evaluate", tasks, "--config", config, "--json")
    assert json.loads(done.out)["all"]["recall"] == 0.5


REFUSED: dict[str, tuple[list[str], str]] = {
    "nothing": ([], "Give either"),
    "both": (["a.json", "--project", "7"], "Give either"),
    "no JSON": (["broken.json"], "no JSON"),
    "no export": (["object.json"], "JSON export"),
    "no predictions": (["export.json"], "there are no predictions"),
    "no such version": (["a.json", "--version", "x"], "no prediction of x"),
    "no text": (["utf16.json"], "UTF-8"),
    "no such file": (["none.json"], "does not exist"),
    "a page in no folder": (["a.json", "--html", "a.json/b.html"], "cannot be written"),
}


@pytest.mark.parametrize(("words", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_used_is_refused_with_status_2(
    command: Commands,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path, "a.json", TASKS)
    saved(tmp_path, "object.json", {})
    saved(tmp_path, "export.json", [task(1, [annotation([CAT])])])
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "utf16.json").write_text("[]", encoding="utf-16")
    done = command("evaluate", *words)
    assert done.status == 2
    assert said in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("number", [0, 8])
def test_an_unknown_project_is_refused_with_status_2(
    command: Commands, studio: Studio, number: int
) -> None:
    done = command("evaluate", "--project", number, **studio.environment)
    assert (done.status, f"has no project {number}" in done.err) == (2, True)


def test_a_project_that_nobody_has_annotated_is_told_apart(
    command: Commands, studio: Studio
) -> None:
    studio.tasks = [judged(1, [CAT], []) | {"annotations": []}]
    done = command("evaluate", "--project", 7, **studio.environment)
    assert (done.status, "nobody has submitted an annotation in project 7" in done.err) == (2, True)


def test_a_refused_token_is_told_with_status_1(command: Commands, studio: Studio) -> None:
    studio.token = "wrong"
    done = command("evaluate", "--project", 7, **studio.environment)
    assert (done.status, "refuses the token" in done.err) == (1, True)


@pytest.mark.parametrize("missing", ["LABEL_STUDIO_URL", "LABEL_STUDIO_API_KEY"])
def test_a_missing_setting_is_named_with_status_2(
    command: Commands, studio: Studio, missing: str
) -> None:
    done = command("evaluate", "--project", 7, **{**studio.environment, missing: ""})
    assert (done.status, f"{missing} is not set" in done.err) == (2, True)


def test_without_the_extra_the_cure_is_told(
    command: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "faster_coco_eval", None)
    done = command("evaluate", saved(tmp_path, "a.json", TASKS))
    assert done.status == 2
    assert "pip install 'qwen-grounding[evaluate]'" in done.err


def jpeg(colour: str) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (1600, 1200), colour).save(out, "JPEG")
    return out.getvalue()


def shown(page: str) -> list[Image.Image]:
    """Return the pictures that a page holds, and check that it asks no host for any."""
    found = re.findall(r'<image href="([^"]*)"', page)
    assert all(href.startswith("data:image/jpeg;base64,") for href in found)
    return [Image.open(io.BytesIO(base64.b64decode(href.partition(",")[2]))) for href in found]


def test_the_worst_tasks_of_a_project_show_their_pictures(
    command: Commands, studio: Studio, tmp_path: Path
) -> None:
    """Those that can be read, by the key that the config names; the others keep their drawing."""
    studio.picture = jpeg("teal")
    studio.label_config = view(BOXES)
    studio.tasks = [judged(n, [CAT], []) for n in (1, 2, 3)]
    for one, address in zip(
        studio.tasks, ("/data/upload/7/a.jpg", "http://127.0.0.1:1/b.jpg", None), strict=True
    ):
        one["data"] = {"other": "/data/upload/7/other.jpg", "image": address}
    html = tmp_path / "report.html"
    done = command("evaluate", "--project", 7, "--html", html, **studio.environment)
    assert done.status == 0
    page = html.read_text()
    (picture,) = shown(page)
    assert max(picture.size) == 720
    red, green, _ = picture.convert("RGB").getpixel((9, 9))
    assert red < 20 < 100 < green, "teal"
    assert page.count("wrong or missed") == 3
    assert not any("other" in asked for asked in studio.asked)


def test_the_pictures_of_an_export_are_found_without_a_config(
    command: Commands, studio: Studio, tmp_path: Path
) -> None:
    studio.picture = jpeg("teal")
    tasks = [judged(n, [CAT], []) for n in (1, 2)]
    tasks[0]["data"] = {"note": "see a.jpg", "photo": f"{studio.url}/data/upload/1/a.jpg?x=1"}
    tasks[1]["data"] = {"photo": "a.jpg", "page": f"{studio.url}/about"}
    html = tmp_path / "report.html"
    export = saved(tmp_path, "a.json", tasks)
    assert command("evaluate", export, "--html", html, **studio.environment).status == 0
    assert len(shown(html.read_text())) == 1
    assert not any("about" in asked for asked in studio.asked)


def test_without_usable_settings_a_page_has_no_pictures_and_says_why(
    command: Commands, tmp_path: Path
) -> None:
    html = tmp_path / "report.html"
    export = saved(tmp_path, "a.json", TASKS)
    done = command("evaluate", export, "--html", html, GROUNDING_MAX_BATCH="no")
    assert (done.status, "GROUNDING_MAX_BATCH" in done.err) == (0, True)
    assert shown(html.read_text()) == []
