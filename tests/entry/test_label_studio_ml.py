"""The command of label-studio-ml: `start .` in the checkout, and the folder that `init` makes."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner

from grounding.cli import start
from grounding.demo.backend import free_port

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">'
    '<Label value="blue square"/></RectangleLabels></View>'
)
SECONDS = 120


@pytest.fixture
def call(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start a command of label-studio-ml as in a shell with the virtual environment active."""
    begun: list[subprocess.Popen[bytes]] = []
    environment = {
        **os.environ,
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "GROUNDING_DATA_DIR": str(tmp_path / "data"),
    }

    def run(*words: str, **more: str) -> subprocess.Popen[bytes]:
        command = [str(BIN / "label-studio-ml"), *words]
        one = subprocess.Popen(
            command, cwd=tmp_path, env=environment | more, start_new_session=True
        )
        begun.append(one)
        return one

    yield run
    for one in reversed(begun):
        with suppress(ProcessLookupError):
            os.killpg(one.pid, signal.SIGTERM)
        one.wait(60)


def wait_for(url: str, holds: Callable[[httpx.Response], bool]) -> None:
    for _ in range(SECONDS * 4):
        with suppress(httpx.TransportError):
            if holds(httpx.get(url, trust_env=False)):
                return
        time.sleep(0.25)
    raise AssertionError(f"{url} did not come up")


def predict(port: int) -> list[Mapping[str, Any]]:
    """Return the regions of a sample picture, as Label Studio asks for them."""
    data = (ROOT / "grounding" / "demo" / "pictures" / "shapes-1.png").read_bytes()
    uri = f"data:image/png;base64,{base64.b64encode(data).decode()}"
    body = {
        "tasks": [{"id": 1, "data": {"image": uri}}],
        "project": "1.1",
        "label_config": CONFIG,
        "params": {"context": None},
    }
    web = f"http://127.0.0.1:{port}"
    setup = {"project": body["project"], "schema": CONFIG}  # which that server wants first
    assert httpx.post(f"{web}/setup", json=setup, timeout=60, trust_env=False).is_success
    answer = httpx.post(f"{web}/predict", json=body, timeout=60, trust_env=False)
    assert answer.status_code == 200, answer.text
    found: list[Mapping[str, Any]] = answer.json()["results"][0]["result"]
    return found


def is_ready(answer: httpx.Response) -> bool:
    return answer.status_code == 200


def test_it_starts_everything_from_another_folder_and_the_layout_that_it_makes_asks_the_same(
    call: Callable[..., subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    ours, made = free_port(), free_port()
    call("start", str(ROOT), "--port", str(ours))
    wait_for(f"http://127.0.0.1:{ours}/ready", is_ready)
    places = [one["value"]["rectanglelabels"] for one in predict(ours)]
    assert places == [["blue square"]]

    assert call("init", "made", "--script", f"{ROOT}/model.py:QwenGrounding").wait(60) == 0
    assert (tmp_path / "made" / "model.py").read_text() == (ROOT / "model.py").read_text()
    words = ("start", "made", "--port", str(made), "--host", "127.0.0.1")
    call(*words, PYTHONPATH=str(ROOT))
    wait_for(f"http://127.0.0.1:{made}/health", lambda answer: answer.is_success)
    assert [one["value"] for one in predict(made)] == [one["value"] for one in predict(ours)]


@pytest.mark.parametrize(
    ("words", "said", "status"),
    [
        (["--kwargs", "a=b"], "environment variables, such as MODEL", 2),
        (["--port", "x"], "is not a valid integer", 2),
        (["--port", "70000"], "PORT", 2),
        (["--help"], "docs/settings.md", 0),
    ],
)
def test_its_options_are_understood(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    said: str,
    status: int,
) -> None:
    monkeypatch.setenv("PYTHONPATH", "")
    with pytest.raises(SystemExit) as ended:
        start.run(words)
    assert ended.value.code == status
    out = capfd.readouterr()
    assert said in out.out + out.err


@pytest.mark.parametrize(
    ("words", "level"), [(["-d"], "debug"), (["--log-level", "ERROR"], "error"), ([], None)]
)
def test_its_levels_are_ours(
    monkeypatch: pytest.MonkeyPatch, words: list[str], level: str | None
) -> None:
    seen: list[str | None] = []
    monkeypatch.delenv("LOG_LEVEL", raising=False)
    monkeypatch.setattr(start.up, "callback", lambda **_: seen.append(os.environ.get("LOG_LEVEL")))
    assert CliRunner(env={"LOG_LEVEL": None}).invoke(start.start, words).exit_code == 0
    assert seen == [level]
