"""Reads request bodies strictly: whatever is not as Label Studio sends it is one clear error.

Bodies carry tokens and passwords, so none is logged. Every function raises `RequestError`, with
the status of the response, for what it cannot read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import IO, Any

from flask import request

from grounding.errors import RequestError
from grounding.jobs.store import QueueName
from grounding.web.parsing.large import LARGE, read_large
from grounding.web.parsing.strict import parse

MAX_PROJECT_CHARACTERS = 40


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
    an answer that comes too late waits for the next request. `has_left` says whether the caller has
    hung up.
    """

    tasks: Sequence[Any]
    project: str
    label_config: str
    context: Mapping[str, Any] | None
    begun: float
    delivers_late: bool = True
    has_left: Callable[[], bool] = lambda: False

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

    @property
    def is_abandoned(self) -> bool:
        """Whether an annotator has hung up: all other answers are of use without their caller."""
        return self.kind is RequestKind.INTERACTIVE and self.has_left()

    def check_size(self, most: int) -> None:
        """Raise `RequestError` for more than `most` tasks."""
        if len(self.tasks) > most:
            raise RequestError(
                f"the request has {len(self.tasks)} tasks",
                code="too_many_tasks",
                hint=f"Send at most {most}",
            )


def read_json(*, has_tasks: bool = False) -> Mapping[str, Any]:
    """Return the current request's body, a JSON object in UTF-8 with finite numbers.

    One from `LARGE` bytes on only where it `has_tasks`: each has `WrittenData` in place of its data
    then.
    """
    if request.content_encoding not in (None, "identity"):
        raise RequestError("compressed bodies are not read", code="encoding_refused", status=415)
    if not request.is_json:
        raise RequestError("the body is not JSON", code="not_json", status=415)
    body = request.stream
    first = _read_up_to(body, LARGE)
    if not first:
        raise RequestError("the body is empty", code="body_missing")
    if len(first) < LARGE:
        return parse(first)
    if not has_tasks:
        raise RequestError(
            f"the body has more than {LARGE} bytes", code="body_too_large", status=413
        )
    return read_large(first, body)


def _read_up_to(body: IO[bytes], size: int) -> bytes:
    """Return the next `size` bytes; fewer only at the end."""
    parts: list[bytes] = []
    while size and (part := body.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


def read_predict(
    body: Mapping[str, Any], begun: float, has_left: Callable[[], bool] = lambda: False
) -> PredictRequest:
    """Return the predict request in `body`, which began to arrive at `begun`."""
    tasks = body.get("tasks")
    if not isinstance(tasks, list):
        raise RequestError("tasks is no list", code="tasks_missing")
    config = read_label_config(body, "label_config")
    context = _context(body)
    return PredictRequest(tasks, read_project(body), config, context, begun, has_left=has_left)


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
