"""Writes docs/settings.md and docs/errors.md from the code: `python -m tools.reference`."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any, Literal, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings

from grounding import errors
from grounding.errors import GroundingError
from grounding.settings import Settings
from grounding.settings.environment import variable

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"

SETTINGS_HEAD = """\
# Settings

Each is an environment variable, read once at the start. A wrong value, an unknown `GROUNDING_…`
variable and a misspelt name keep the process from starting, with one line that names the variable.
Names without `GROUNDING_` are those that other programs of this field use. An empty variable counts
as unset. `NAME_FILE` may hold the path of a file with the value instead, as Docker's secrets do.
Times are seconds, sizes bytes. The web server and all workers of one queue need the same settings.
"""

SECTION_HEAD = """
## {title}

| variable | takes | default | what it does |
|---|---|---|---|
"""

ERRORS_HEAD = """\
# Errors

The meaning of each code in `/jobs`, `/metrics` and the log. *Retried* tells whether the same
request may succeed later without any change. Two codes are no errors: `nobody_waits` counts
annotators' requests that were not answered by their deadline, or whose annotators asked something
else meanwhile or hung up, `cancelled` the tasks that an operator dropped.

| code | what happened | retried | cure |
|---|---|---|---|
"""

FINER_HEAD = """
Codes for special cases. Each one is a kind of the error next to it, with the same cure.

| code | is a kind of |
|---|---|
"""


def settings_page() -> str:
    """Return docs/settings.md."""
    return SETTINGS_HEAD + "".join(map(_section, Settings.__bases__))


def _section(part: type[BaseSettings]) -> str:
    """Return the settings of one part, under what its docstring begins with."""
    rows = (
        f"| `{variable(name)}` | {_takes(field)} | {_default(field)} "
        f"| {_cell(field.description)} |\n"
        for name, field in part.model_fields.items()
    )
    return SECTION_HEAD.format(title=_summary(part).removesuffix(".")) + "".join(rows)


def errors_page() -> str:
    """Return docs/errors.md."""
    kinds = [GroundingError, *_kinds(GroundingError)]
    rows = (
        f"| `{kind.code}` | {_cell(_summary(kind))} | {'yes' if kind.retryable else 'no'} "
        f"| {_cell(kind.hint) or 'the message says'} |\n"
        for kind in kinds
    )
    own = {kind.code for kind in kinds}
    finer = sorted((code, kind) for code, kind in set(_finer_codes()) if code not in own)
    lines = (f"| `{code}` | `{kind}` |\n" for code, kind in finer)
    return ERRORS_HEAD + "".join(rows) + FINER_HEAD + "".join(lines)


PAGES = {"settings.md": settings_page, "errors.md": errors_page}


def _takes(field: FieldInfo) -> str:
    kinds = [kind for kind in _alternatives(field.annotation) if kind is not type(None)]
    (kind,) = kinds
    if get_origin(kind) is Literal:
        return " or ".join(f"`{word}`" for word in get_args(kind))
    if kind in (int, float):
        return _range(field) or "a number"
    names = {bool: "`true` or `false`", SecretStr: "a secret", str: "text"}
    if isinstance(kind, type) and issubclass(kind, PurePath):
        return "a folder"
    return names.get(kind, "a list, with commas")


def _alternatives(annotation: Any) -> list[Any]:
    """Return the types of a union, or the type itself, without annotations."""
    bare = annotation.__origin__ if hasattr(annotation, "__metadata__") else annotation
    if get_origin(bare) in (Literal, frozenset) or not get_args(bare):
        return [bare]
    return [kind for member in get_args(bare) for kind in _alternatives(member)]


def _range(field: FieldInfo) -> str:
    low = _bound(field, "ge", "from {}") or _bound(field, "gt", "above {}")
    high = _bound(field, "le", "to {}")
    return f"{low} {high}".strip()


def _bound(field: FieldInfo, name: str, words: str) -> str:
    found = (getattr(bound, name, None) for bound in field.metadata)
    return next((words.format(f"{value:,}") for value in found if value is not None), "")


def _default(field: FieldInfo) -> str:
    value = field.default
    if value in ("", None, frozenset()):
        return "unset"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _kinds(kind: type[GroundingError]) -> Iterator[type[GroundingError]]:
    """Yield the error classes below `kind`, in the order of the tree."""
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield child
            yield from _kinds(child)


def _finer_codes() -> Iterator[tuple[str, str]]:
    """Yield each code that is passed to an error, with the code of the error's class."""
    trees = [ast.parse(f.read_text()) for f in sorted((ROOT / "grounding").rglob("*.py"))]
    shared = {name: kind for tree in trees for name, kind in _makers(tree) if name[0] != "_"}
    for tree in trees:
        makers = shared | dict(_makers(tree))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                name = makers.get(node.func.id, node.func.id)
                kind = getattr(errors, name, None)
                for code in _codes(node) if kind else ():
                    yield code, kind.code


def _makers(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Yield the functions that return an error, with the name of its class."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and isinstance(node.returns, ast.Name):
            yield node.name, node.returns.id


def _codes(call: ast.Call) -> list[str]:
    values = [keyword.value for keyword in call.keywords if keyword.arg == "code"]
    words = (node for value in values for node in _branches(value))
    return [node.value for node in words if isinstance(node, ast.Constant) and node.value]


def _branches(value: ast.expr) -> list[ast.expr]:
    return [value.body, value.orelse] if isinstance(value, ast.IfExp) else [value]


def _summary(kind: type) -> str:
    return (inspect.getdoc(kind) or "").partition("\n")[0]


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|").removesuffix(".")


if __name__ == "__main__":
    for page, write in PAGES.items():
        (DOCS / page).write_text(write())
