"""Predictions into Label Studio's projects, by its import endpoint.

What Label Studio 1.23.2 does there: it takes a batch whole or, for one unknown task, refuses it
whole (400); an item that its own check does not like it drops under a 201, so that only the
count tells. It checks no duplicates. It looks at every task of the project in each call, so
batches should be large.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from grounding.errors import AnswerLost, ImportRefused, LabelStudioError, TokenRefused
from grounding.labelstudio.client.api import Api

TIMEOUT = httpx.Timeout(45, write=10, connect=3)
"""Seconds per step of a push: together less than a debt is held."""

A_PROXYS_WORDS = (
    httpx.codes.REQUEST_TIMEOUT,
    httpx.codes.BAD_GATEWAY,
    httpx.codes.GATEWAY_TIMEOUT,
)
"""What stands before Label Studio says these when it does not wait for it any longer."""


class Importer:
    """The import endpoint of one Label Studio, in the name of one user; safe between threads."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def send(self, project: int, predictions: Sequence[Mapping[str, Any]]) -> int:
        """Store `predictions`, each with its `task`, and return how many Label Studio took.

        Raises `ImportRefused` where it refuses them for what they are: none is stored then.
        `AnswerLost` leaves open whether they are; with any other `LabelStudioError` none is.
        """
        path = f"/api/projects/{project}/import/predictions"
        answer = self._api.call("POST", path, json=list(predictions), timeout=TIMEOUT)
        if answer.status_code == httpx.codes.BAD_REQUEST and _word(answer, "status_code") == 400:
            raise ImportRefused("Label Studio refuses a prediction (400)")
        if answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
            raise ImportRefused("Label Studio refuses a prediction (413)", hint="It is too large")
        _check(answer)
        created = _word(answer, "created")
        if not isinstance(created, int):
            raise AnswerLost(f"the import gave no count ({answer.status_code})")
        return created

    def has(self, task: int, model_version: str) -> bool:
        """Say whether the task has a prediction of this version. Raises `LabelStudioError`."""
        answer = self._api.call("GET", "/api/predictions/", params={"task": task})
        if answer.status_code == httpx.codes.BAD_REQUEST and _word(answer, "status_code") == 400:
            return False  # there is no such task
        _check(answer)
        stored = _read(answer)
        if not isinstance(stored, list):
            raise LabelStudioError(f"Label Studio lists no predictions of task {task}")
        return any(one.get("model_version") == model_version for one in stored)


def _check(answer: httpx.Response) -> None:
    """Raise what any other status than success means for every call."""
    status = answer.status_code
    if answer.is_success:
        return
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise TokenRefused(f"Label Studio refuses the token ({status})")
    if answer.is_server_error or status == httpx.codes.REQUEST_TIMEOUT:
        raise AnswerLost(f"Label Studio fails ({status})", ended=status not in A_PROXYS_WORDS)
    if status == httpx.codes.NOT_FOUND:
        raise LabelStudioError(
            "Label Studio has no such project (404)",
            hint="It was deleted, or LABEL_STUDIO_URL is not Label Studio's address",
        )
    raise LabelStudioError(f"Label Studio answers {status}")


def _word(answer: httpx.Response, name: str) -> Any:
    """Return what Label Studio's own JSON says under `name`; None where it is a proxy's page."""
    body = _read(answer)
    return body.get(name) if isinstance(body, dict) else None


def _read(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None
