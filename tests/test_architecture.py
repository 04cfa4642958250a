"""The rules of the rooms: who imports whom, what only geometry.py does, how long files are."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "grounding"
PURE = ("queries.py", "geometry.py", "notation", "qwen", "labelstudio", "evaluation")
CLIENT = PACKAGE / "labelstudio" / "client"
"""Label Studio's API client, the only part of its room that does input and output."""
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
def test_the_pure_rooms_import_only_themselves_and_what_they_share(file: Path) -> None:
    home = f"grounding.{file.relative_to(PACKAGE).parts[0].removesuffix('.py')}"
    shared = ("grounding.queries", "grounding.geometry", "grounding.notation.", "grounding.errors")
    ours = {name for name in imports(file) if name.startswith("grounding.")}
    assert {name for name in ours if not name.startswith((home, *shared))} == set()


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


FILES = sorted(PACKAGE.rglob("*.py"))
each_file = pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))


@each_file
def test_a_file_has_at_most_400_lines_and_a_function_60(file: Path) -> None:
    text = file.read_text()
    assert text.count("\n") <= 400
    functions = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef))
    lengths = {n.name: (n.end_lineno or n.lineno) - n.lineno + 1 for n in functions}
    assert {name: length for name, length in lengths.items() if length > 60} == {}


HOUSES = ("grounding", "tests", "tools", "benchmarks")


@pytest.mark.parametrize(
    "folder",
    sorted({file.parent for house in HOUSES for file in (ROOT / house).rglob("*.py")}),
    ids=lambda f: str(f.relative_to(ROOT)),
)
def test_a_folder_has_at_most_12_modules(folder: Path) -> None:
    names = {file.name for file in folder.glob("*.py")} - {"__init__.py", "__main__.py"}
    assert len(names - {"conftest.py"}) <= 12, sorted(names)


def is_area(node: ast.BinOp) -> bool:
    """Say whether `node` is a width times the height of the same thing: a size, not a place."""
    sides = [side for side in (node.left, node.right) if isinstance(side, ast.Attribute)]
    owners = {ast.dump(side.value) for side in sides}
    return isinstance(node.op, ast.Mult) and len(sides) == 2 and len(owners) == 1


def side_names(function: ast.AST) -> set[str]:
    """Return the names that `function` binds to a width or a height."""
    names: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            targets, value = node.targets[0], node.value
            if isinstance(targets, ast.Tuple) and isinstance(value, ast.Tuple):
                pairs = zip(targets.elts, value.elts, strict=False)
            elif isinstance(targets, ast.Tuple):
                pairs = zip(targets.elts, [value] * len(targets.elts), strict=True)
            else:
                pairs = zip([targets], [value], strict=True)
            names |= {t.id for t, v in pairs if isinstance(t, ast.Name) and is_side(v, set())}
    return names


def is_side(node: ast.AST, names: set[str]) -> bool:
    """Say whether `node` is the width, height or size of something."""
    if isinstance(node, ast.Name):
        return node.id in names
    return isinstance(node, ast.Attribute) and node.attr in ("width", "height", "size")


def factors(node: ast.AST) -> list[ast.expr]:
    """Return the two operands of a multiplication or division, unless it computes an area."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult | ast.Div):
        return [] if is_area(node) else [node.left, node.right]
    if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Mult | ast.Div):
        return [node.target, node.value]
    return []


def scalings(source: str) -> list[int]:
    """Return the lines that multiply or divide by a side, or by 100 or 1000."""
    found: set[int] = set()
    tree = ast.parse(source)
    for scope in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef | ast.Module)):
        names = side_names(scope) if isinstance(scope, ast.FunctionDef) else set()
        for node in ast.walk(scope):
            for factor in factors(node):
                hundred = isinstance(factor, ast.Constant) and factor.value in (100, 1000)
                if hundred or is_side(factor, names):
                    found.add(factor.lineno)
    return sorted(found)


def test_only_geometry_scales() -> None:
    """No other module converts between percent, thousandths and the pixels of a picture."""
    files = [
        file
        for file in FILES
        # jobs/ counts milliseconds, and knows no places.
        if file.name != "geometry.py" and PACKAGE / "jobs" not in file.parents
    ]
    found = {str(file.relative_to(PACKAGE)): scalings(file.read_text()) for file in files}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    "line",
    [
        "x / 100",
        "1000.0 * x",
        "x * frame.width",
        "x / place.frame.height",
        "0.5 * picture.width * picture.height",
        "x / PERCENT.width",
        "x * box.width",
        "x * (picture.width / 980)",
    ],
)
def test_a_scaling_in_any_spelling_is_found(line: str) -> None:
    assert scalings(f"def convert(x, frame):\n    return {line}") == [2]


def test_a_scaling_by_a_name_for_a_side_is_found() -> None:
    assert scalings(
        "def convert(x, frame):\n    w, h = frame.width, 3\n    x *= w\n    x *= h"
    ) == [3]
    assert scalings("def convert(x, picture):\n    w, h = picture.size\n    return x / h") == [3]


def test_an_area_is_no_scaling() -> None:
    assert scalings("def count(picture):\n    return picture.width * picture.height") == []
    assert scalings("def count(a, b):\n    return a.width * b.height") == [2]
