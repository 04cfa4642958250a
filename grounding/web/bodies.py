"""Reads request bodies strictly: whatever is not as Label Studio sends it is one clear error.

Bodies carry tokens and passwords, so none is logged. Every function raises `RequestError`, with
the status of the response, for what it cannot read.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NoReturn

from flask import request

from grounding.errors import RequestError
from grounding.jobs.store import QueueName

MAX_DEPTH = 100
"""How deep a task's data may be nested; what Label Studio itself makes is about ten deep."""
CUT_DEPTH = MAX_DEPTH + 10
"""How deep a body is read: deeper than any task in it that may be answered."""
MAX_PROJECT_CHARACTERS = 40

_TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+(?:"|\\?\Z)|[\[\]{}]', re.DOTALL)
"""A string of JSON, or a bracket outside of strings."""


class RequestKind(Enum):
    """The three kinds of predict request, distinguished by their shape."""

    INTERACTIVE = "interactive"
    """An annotator asked in the page and waits."""
    PAGE = "page"
    """Label Studio asks while it opens a task, and the page hangs until we answer."""
    BULK = "bulk"
    """Pre-labelling."""

    @property
    def queue(self) -> QueueName:
        """The queue that serves this kind."""
        return QueueName.BULK if self is RequestKind.BULK else QueueName.INTERACTIVE


@dataclass(frozen=True, slots=True)
class PredictRequest:
    """One `/predict` as it came: raw tasks, and the project's own labelling config.

    `begun` is when it began to arrive, in seconds of the monotonic clock. Without `delivers_late`
    an answer that comes too late waits for the next request.
    """

    tasks: Sequence[Any]
    project: str
    label_config: str
    context: Mapping[str, Any] | None
    begun: float
    delivers_late: bool = True

    @property
    def kind(self) -> RequestKind:
        """The kind of this request."""
        if self.context is not None:
            return RequestKind.INTERACTIVE
        return RequestKind.PAGE if len(self.tasks) == 1 else RequestKind.BULK

    @property
    def uses_outbox(self) -> bool:
        """Whether answers that come too late are delivered to Label Studio later.

        A page's are too: one task selected for Retrieve predictions looks just the same.
        """
        return self.delivers_late and self.kind is not RequestKind.INTERACTIVE

    def check_size(self, most: int) -> None:
        """Raise `RequestError` for more than `most` tasks."""
        if len(self.tasks) > most:
            raise RequestError(
                f"the request has {len(self.tasks)} tasks",
                code="too_many_tasks",
                hint=f"Send at most {most}",
            )


def read_json() -> Mapping[str, Any]:
    """Return the current request's body, a JSON object in UTF-8 with finite numbers."""
    if request.content_encoding not in (None, "identity"):
        raise RequestError("compressed bodies are not read", code="encoding_refused", status=415)
    if not request.is_json:
        raise RequestError("the body is not JSON", code="not_json", status=415)
    raw = request.get_data(cache=False)
    if not raw:
        raise RequestError("the body is empty", code="body_missing")
    try:
        body = _parse(raw.decode("utf-8-sig"))
    except (ValueError, RecursionError) as exc:
        raise RequestError("the body is not JSON", code="body_not_json") from exc
    if not isinstance(body, dict):
        raise RequestError("the body is no JSON object", code="body_not_object")
    return body


def read_predict(body: Mapping[str, Any], begun: float) -> PredictRequest:
    """Return the predict request in `body`, which began to arrive at `begun`."""
    tasks = body.get("tasks")
    if not isinstance(tasks, list):
        raise RequestError("tasks is no list", code="tasks_missing")
    config = read_label_config(body, "label_config")
    return PredictRequest(tasks, read_project(body), config, _context(body), begun)


def read_label_config(body: Mapping[str, Any], name: str) -> str:
    """Return the labelling config under `name`."""
    value = body.get(name)
    if not isinstance(value, str):
        raise RequestError(f"{name} is missing or no text", code="label_config_invalid")
    return value


def read_project(body: Mapping[str, Any]) -> str:
    """Return the project's name: its number, with the time of its creation where that is sent."""
    value = str(body.get("project") if body.get("project") is not None else "")
    digits = all(part.isascii() and part.isdigit() for part in value.split("."))
    if value and not (digits and len(value) <= MAX_PROJECT_CHARACTERS):
        raise RequestError("project is no number", code="project_invalid")
    return value


def _context(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    params = body.get("params")
    if params is None:
        return None
    if not isinstance(params, dict):
        raise RequestError("params is no object", code="params_invalid")
    context = params.get("context")
    if context is not None and not isinstance(context, dict):
        raise RequestError("context is no object", code="context_invalid")
    return context


def is_too_deep(value: object) -> bool:
    """Say whether JSON is nested deeper than a task's data may be."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [inner for outer in level for inner in _children(outer)]
        if not level:
            return False
    return True


def _children(value: object) -> Iterable[object]:
    if isinstance(value, Mapping):
        return value.values()
    return value if isinstance(value, list) else ()


def _parse(text: str) -> Any:
    """Return the JSON in `text`; what lies too deep to be read is null in it.

    So a task that is too deep costs its own answer, and not those of all tasks beside it.
    """
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
