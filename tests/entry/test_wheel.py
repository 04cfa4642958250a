"""The wheel holds all that a deployment needs, and runs outside of the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from grounding import __version__

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the wheel installs, built as `python -m build` does."""
    out = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = out.glob("*.whl")
    folder = out / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def grounding(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command in `folder`, with the package of the wheel and none of the checkout."""
    return subprocess.run(
        [sys.executable, "-m", "grounding", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_it_installs_one_package_with_its_data(installed: Path) -> None:
    tops = {path.name for path in installed.iterdir()}
    assert tops == {"grounding", f"qwen_grounding-{__version__}.dist-info"}
    ours = {
        path.relative_to(ROOT)
        for path in (ROOT / "grounding").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {path for path in ours if not (installed / path).exists()} == set()


def test_its_console_script_is_the_command_line(installed: Path) -> None:
    (facts,) = installed.glob("*.dist-info")
    assert "qwen-grounding = grounding.cli.main:main" in (facts / "entry_points.txt").read_text()


def test_the_demo_runs_from_it_outside_of_the_checkout(installed: Path, tmp_path: Path) -> None:
    """Queue, worker and web server, each in a process of its own."""
    done = grounding(installed, tmp_path, "demo", "--output", "out")
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list((tmp_path / "out").glob("*.png"))) == 6


def test_pages_are_made_from_it(installed: Path, tmp_path: Path) -> None:
    region = {"id": "a", "type": "choices", "from_name": "c", "value": {"choices": ["x"]}}
    both = {"annotations": [{"result": [region]}], "predictions": [{"result": [region]}]}
    (tmp_path / "a.json").write_text(json.dumps([{"id": 1, "data": {}, **both}]))
    done = grounding(installed, tmp_path, "evaluate", "a.json", "--html", "page.html")
    assert done.returncode == 0, done.stderr
    assert "Did the pre-labels help?" in (tmp_path / "page.html").read_text()
