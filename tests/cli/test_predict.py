"""`predict`: pictures to predictions without Label Studio, with the demo's model."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from grounding.asking.sources import config_for, find_pictures
from grounding.errors import InputError
from grounding.labelstudio.config.parse import parse
from grounding.pipeline import TaskResult, WorkerContext
from grounding.pipeline import predict as answer
from grounding.settings import SHAPES
from grounding.tasks import Task
from tests.cli.running import Commands
from tests.labelstudio.configs import CHOICES, view

DEMO = Path(__file__).parents[2] / "grounding" / "demo" / "pictures"
SQUARE = ("--find", "blue square")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a picture in it, and one in a folder in it."""
    inner = tmp_path / "in" / "deep"
    inner.mkdir(parents=True)
    shutil.copy(DEMO / "shapes-1.png", tmp_path / "in" / "a.png")
    shutil.copy(DEMO / "shapes-2.jpg", inner / "a.JPG")
    (inner / "notes.txt").write_text("no picture")
    return tmp_path / "in"


def test_folders_patterns_files_and_addresses_name_pictures(folder: Path) -> None:
    both = [str(folder / "a.png"), str(folder / "deep" / "a.JPG")]
    assert find_pictures([str(folder)]) == both
    assert find_pictures([str(folder / "*.png"), both[0]]) == both[:1], "each once"
    assert find_pictures([str(folder / "**" / "*.JPG")]) == both[1:]
    assert find_pictures(["https://host/a", both[0]]) == ["https://host/a", both[0]]


@pytest.mark.parametrize("word", ["none.png", "*.tiff", "."])
def test_a_word_that_names_no_picture_is_refused(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="names no picture"):
        find_pictures([word])


def test_what_to_find_becomes_labels() -> None:
    (control,) = parse(config_for('dented car,, a "B" & <c>, dented car ')).controls
    assert [label.value for label in control.labels] == ["dented car", 'a "B" & <c>']
    assert parse(config_for("nose", points=True)).controls[0].tag == "KeyPointLabels"


def test_json_is_what_label_studio_imports(command: Commands, folder: Path) -> None:
    words = ("--json", "--prefix", "/data/local-files/?d=")
    done = command("predict", folder / "a.png", *SQUARE, *words)
    assert done.status == 0
    (task,) = json.loads(done.out)
    assert task["data"] == {"image": f"/data/local-files/?d={folder / 'a.png'}"}
    (prediction,) = task["predictions"]
    assert prediction["model_version"].startswith("shapes-")
    (region,) = prediction["result"]
    assert region["value"]["rectanglelabels"] == ["blue square"]
    assert region["value"]["x"] == pytest.approx(56.5, abs=2)


def test_an_output_folder_has_everything_and_is_gone_on_with(
    command: Commands, folder: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert command("predict", folder / "a.png", *SQUARE, "--output", out).status == 0
    (kept,) = (out / "predictions.jsonl").read_text().splitlines()
    changed = json.loads(kept)
    changed["prediction"]["score"] = 0.123  # to tell what is kept from what is asked again
    (out / "predictions.jsonl").write_text(json.dumps(changed) + '\n{"address": "cut o')
    done = command("predict", folder, *SQUARE, "--output", out)
    assert done.status == 0
    assert f"The page is {out / 'index.html'}" in done.out
    first, second = json.loads((out / "predictions.json").read_text())
    assert first["predictions"][0]["score"] == 0.123
    assert second["predictions"][0]["result"]
    lines = (out / "predictions.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["prediction"], "on a line of its own"
    assert len(list((out / "pictures").glob("*.jpg"))) == 2, "of one name in two folders"
    page = (out / "index.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 2
    assert "http" not in page.replace("http-equiv", "")


def test_another_question_is_asked_again(command: Commands, folder: Path, tmp_path: Path) -> None:
    words = (folder / "a.png", "--output", tmp_path / "out")
    command("predict", *words, *SQUARE)
    done = command("predict", *words, "--find", "green star", "--json")
    (task,) = json.loads(done.out)
    labels = [one["value"]["rectanglelabels"] for one in task["predictions"][0]["result"]]
    assert ["blue square"] not in labels


class Pictures(SimpleHTTPRequestHandler):
    """Sends the files of a folder."""


@pytest.fixture
def host(folder: Path) -> Iterator[str]:
    """A web server with the folder's pictures."""
    handler = partial(Pictures, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_picture_that_cannot_be_had_fails_alone_with_status_1(
    command: Commands, folder: Path, host: str
) -> None:
    words = (folder / "a.png", f"{host}/a.png", f"{host}/none.png")
    done = command("predict", *words, *SQUARE, "--json", GROUNDING_ALLOWED_ORIGINS=host)
    assert done.status == 1
    assert [one["data"]["image"] for one in json.loads(done.out)] == [str(w) for w in words[:2]]
    assert "none.png" in done.err


def test_a_picture_that_cannot_be_had_twice_keeps_its_prediction(
    command: Commands, folder: Path, host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is fetched again to be drawn on; whoever serves it may be gone by then."""
    taken: list[str] = []

    def send_once(self: SimpleHTTPRequestHandler) -> None:
        taken.append(self.path)
        if len(taken) > 1:
            self.send_error(404)
        else:
            SimpleHTTPRequestHandler.do_GET(self)

    monkeypatch.setattr("tests.cli.test_predict.Pictures.do_GET", send_once)
    words = (f"{host}/a.png", *SQUARE, "--output", tmp_path / "out", "--json")
    done = command("predict", *words, GROUNDING_ALLOWED_ORIGINS=host)
    (task,) = json.loads(done.out)
    assert (done.status, bool(task["predictions"][0]["result"])) == (0, True)
    assert len(taken) > 1


REFUSED = {
    "neither": ([], "Give either"),
    "both": (["--find", "x", "--config", "c.xml"], "Give either"),
    "points of a config": (["--config", "c.xml", "--points"], "--points goes with --find"),
    "nothing to find": (["--find", " , "], "nothing to find"),
    "refused config": (["--config", "c.xml"], "model_prompt"),
    "a config in no encoding that we read": (["--config", "utf16.xml"], "UTF-8"),
}


@pytest.mark.parametrize(("words", "said"), REFUSED.values(), ids=REFUSED)
def test_wrong_words_end_with_status_2(
    command: Commands,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(folder)
    (folder / "c.xml").write_text(
        '<View><Image name="i" value="$i"/><RectangleLabels name="b" toName="i" model_promt="x">'
        '<Label value="x"/></RectangleLabels></View>'
    )
    (folder / "utf16.xml").write_text("<View/>", encoding="utf-16")
    done = command("predict", "a.png", *words)
    assert (done.status, said in done.err) == (2, True)


def test_data_stands_under_the_keys_that_the_config_names(command: Commands, folder: Path) -> None:
    config = folder / "config.xml"
    config.write_text(config_for("red circle").replace("$image", "$photo"))
    done = command("predict", folder / "a.png", "--config", config, "--json")
    assert [one["data"] for one in json.loads(done.out)] == [{"photo": str(folder / "a.png")}]


def test_a_name_that_is_no_text_is_refused_before_the_model_is_loaded(
    command: Commands, tmp_path: Path
) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.png")).touch()
    done = command("predict", tmp_path, "--find", "red circle", "--output", tmp_path / "out")
    assert (done.status, "no text" in done.err, "caf?.png" in done.err) == (2, True, True)


def test_a_fault_at_one_picture_costs_its_answer_alone(
    command: Commands, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def raise_at_other(task: Task, worker: WorkerContext) -> TaskResult:
        if "other" in str(task.data):
            raise ValueError("no such thing")
        return answer(task, worker)

    monkeypatch.setattr("grounding.asking.run.predict", raise_at_other)
    shutil.copy(folder / "a.png", folder / "other.png")
    words = (folder / "other.png", folder / "a.png", "--find", "red circle", "--json")
    done = command("predict", *words)
    assert (done.status, len(json.loads(done.out))) == (1, 1)
    assert "a fault of this program (ValueError)" in done.err


def test_a_folder_that_cannot_be_written_ends_with_one_line(
    command: Commands, folder: Path, tmp_path: Path
) -> None:
    output = tmp_path / "found"
    output.mkdir()
    (output / "pictures").touch()
    (output / "predictions.jsonl").write_text("[1]\nnull\n{}\n")
    words = (folder / "a.png", "--find", "red circle", "--output", output)
    done = command("predict", *words)
    assert (done.status, done.err.strip()) == (1, f"{output / 'pictures'}: File exists")


@pytest.mark.parametrize("model", ["", str(SHAPES)], ids=["unset", "its folder"])
def test_what_the_demo_s_model_was_not_taught_is_told_as_such(
    command: Commands, tmp_path: Path, model: str
) -> None:
    """Other words would not help."""
    config = tmp_path / "day.xml"
    config.write_text(view(CHOICES))
    words = ("--config", config)
    done = command("predict", DEMO / "shapes-1.png", *words, MODEL=model)
    assert done.status == 1
    assert "the model's answer was unreadable. The demo's model knows only" in done.err
    assert "Set MODEL to another" in done.err
    assert "other words" not in done.err
