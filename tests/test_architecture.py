"""The house rules that an import can break."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "grounding"
PURE = ("queries.py", "geometry.py", "qwen", "labelstudio")
CLIENT = PACKAGE / "labelstudio" / "client"
"""Label Studio's API: the one part of that room that does input and output."""
FOREIGN = {"flask", "redis", "rq", "httpx", "httpcore", "requests", "urllib3", "torch", "PIL"}


def modules(*names: str) -> list[Path]:
    paths = [PACKAGE / name for name in names]
    files = [f for path in paths for f in (sorted(path.rglob("*.py")) if path.is_dir() else [path])]
    return [file for file in files if CLIENT not in file.parents]


def imports(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


@pytest.mark.parametrize("file", modules(*PURE), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_the_pure_rooms_import_no_input_or_output(file: Path) -> None:
    assert {name.partition(".")[0] for name in imports(file)} & FOREIGN == set()


@pytest.mark.parametrize("file", modules(*PURE), ids=lambda f: str(f.relative_to(PACKAGE)))
def test_the_pure_rooms_know_only_themselves_and_the_words_between(file: Path) -> None:
    home = f"grounding.{file.relative_to(PACKAGE).parts[0].removesuffix('.py')}"
    words = {"grounding.queries", "grounding.geometry", "grounding.errors"}
    ours = {name for name in imports(file) if name.startswith("grounding.")}
    assert {name for name in ours - words if not name.startswith(home)} == set()


def test_the_web_process_loads_no_torch_and_no_image_library() -> None:
    """Not by a request either: a handler may import what the module does not."""
    heavy = {"torch", "transformers", "numpy", "PIL", "openai"}
    script = f"""
import sys, _wsgi
client = _wsgi.app.test_client()
client.post("/setup", json={{"project": "1", "schema": "<View/>"}})
client.post("/predict", json={{"tasks": [{{"data": {{}}}}], "label_config": "<View/>"}})
print({heavy} & set(sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_only_geometry_scales() -> None:
    """Percent and thousand are divided or multiplied nowhere else."""
    scaling = []
    for file in sorted(PACKAGE.rglob("*.py")):
        if file.name == "geometry.py" or PACKAGE / "jobs" in file.parents:
            continue  # jobs/ counts milliseconds, and knows no places
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
                sides = [n.value for n in (node.left, node.right) if isinstance(n, ast.Constant)]
                if {100, 1000} & set(sides):
                    scaling.append(f"{file.name}:{node.lineno}")
    assert scaling == []
