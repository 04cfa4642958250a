"""Parses a body's JSON strictly, and writes a task's data as its job keeps it.

Imports next to nothing, because a process of its own does the same for large bodies.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, cast

from grounding.errors import DataError, RequestError

MAX_DEPTH = 100
"""How deep a task's data may be nested; what Label Studio itself makes is about ten deep."""
CUT_DEPTH = MAX_DEPTH + 10
"""How deep a body is read: deeper than any task in it that may be answered."""

_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
"""A string of JSON, or a bracket outside of strings."""


@dataclass(frozen=True, slots=True)
class WrittenData:
    """A task's data as JSON `text`, the same for equal data, or the code of why it has none."""

    text: bytes = b""
    code: str = ""

    def check(self) -> None:
        """Raise the `DataError` of `code`, if there is one."""
        if self.code:
            raise UNWRITABLE[self.code]()


def no_data() -> DataError:
    """Return the error of a task without data."""
    return DataError("a task has no data")


def data_too_deep() -> DataError:
    """Return the error of data that is nested too deep."""
    return DataError(
        f"a task's data is nested deeper than {MAX_DEPTH}",
        code="data_too_deep",
        hint="Import the task again with flatter data",
    )


def data_unwritable() -> DataError:
    """Return the error of data that UTF-8 cannot hold."""
    return DataError("a task's data cannot be written as JSON", code="data_invalid")


UNWRITABLE = {error().code: error for error in (no_data, data_too_deep, data_unwritable)}


def write_data(task: object) -> WrittenData:
    """Return the data of a raw task, written; what was written already is taken out of it.

    It may be megabytes, and a request waits for minutes with its tasks.
    """
    data = task.get("data") if isinstance(task, Mapping) else None
    if isinstance(data, WrittenData) and isinstance(task, dict):
        return cast("WrittenData", task.pop("data"))
    if not isinstance(data, Mapping):
        return WrittenData(code=no_data().code)
    if is_too_deep(data):
        return WrittenData(code=data_too_deep().code)
    try:
        return WrittenData(write(data).encode())
    except (ValueError, RecursionError):  # a lone surrogate
        return WrittenData(code=data_unwritable().code)


def write(value: object) -> str:
    """Return `value` as JSON, always the same for equal values."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def is_too_deep(value: object) -> bool:
    """Say whether JSON is nested deeper than a task's data may be."""
    level = [value] if _holds(value) else []
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _children(outer) if _holds(inner)]
        if not level:
            return False
    return True


def _holds(value: object) -> bool:
    return isinstance(value, dict | list | Mapping)


def _children(value: object) -> Iterable[object]:
    return (
        value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    )


def parse(raw: bytes) -> Mapping[str, Any]:
    """Return the JSON object in `raw`; what lies too deep to be read is null in it.

    So a task that is too deep costs its own answer, and not those of all tasks beside it.
    """
    try:
        body = _parse(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as exc:
        raise RequestError("the body is not JSON", code="body_not_json") from exc
    if not isinstance(body, dict):
        raise RequestError("the body is no JSON object", code="body_not_object")
    return body


def _parse(text: str) -> Any:
    try:
        return _loads(text)
    except RecursionError:
        return _loads(_cut(text))


def _loads(text: str) -> Any:
    return json.loads(
        text,
        object_pairs_hook=_unambiguous,
        parse_constant=_refuse_constant,
        parse_float=_finite_number,
    )


def _cut(text: str) -> str:
    """Return `text` with null in place of each value that is nested deeper than `CUT_DEPTH`."""
    kept: list[str] = []
    depth = begun = 0
    for token in _TOKEN.finditer(text):
        first = text[token.start()]
        if first in "[{":
            depth += 1
            if depth == CUT_DEPTH + 1:
                kept += [text[begun : token.start()], "null"]
        elif first in "]}":
            depth -= 1
            if depth == CUT_DEPTH:
                begun = token.end()
    return "".join(kept) + (text[begun:] if depth <= CUT_DEPTH else "")


def _unambiguous(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # which one counts differs from reader to reader
        raise RequestError("the body has the same key twice", code="duplicate_key")
    return found


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _finite_number(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError("a number is too large")
    return number
