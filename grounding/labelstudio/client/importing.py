"""Stores predictions in Label Studio's projects through its import endpoint.

Label Studio 1.23.2 refuses a whole batch (400) if one task is unknown. An item that fails its own
check is dropped under a 201, and only the count shows it. It does not check for duplicates. Each
call reads every task of the project, so batches should be large.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from grounding.errors import AnswerLost, ImportRefused, LabelStudioError, TokenRefused
from grounding.labelstudio.client.api import Api

TIMEOUT = httpx.Timeout(45, write=10, connect=3)
"""Seconds per step of an import: in total less than the outbox holds an entry for a push."""

PROXY_TIMEOUTS = (
    httpx.codes.REQUEST_TIMEOUT,
    httpx.codes.BAD_GATEWAY,
    httpx.codes.GATEWAY_TIMEOUT,
)
"""The statuses of a proxy that stops waiting for Label Studio, which may still be working."""


class Importer:
    """The import endpoint of one Label Studio, for one user; safe to share between threads."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def send(self, project: int, predictions: Sequence[Mapping[str, Any]]) -> int:
        """Store `predictions`, each with its `task`, and return how many Label Studio stored.

        Raises `ImportRefused` if Label Studio rejects their content, and stores none. After
        `AnswerLost` they may be stored; after any other `LabelStudioError` none is.
        """
        path = f"/api/projects/{project}/import/predictions"
        response = self._api.call("POST", path, json=list(predictions), timeout=TIMEOUT)
        if _is_own_400(response):
            raise ImportRefused("Label Studio refuses a prediction (400)")
        if response.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE:
            raise ImportRefused("Label Studio refuses a prediction (413)", hint="It is too large")
        _check(response)
        created = _read_key(response, "created")
        if not isinstance(created, int):
            raise AnswerLost(f"the import gave no count ({response.status_code})")
        return created

    def has(self, task: int, model_version: str) -> bool:
        """Say whether the task has a prediction of this version. Raises `LabelStudioError`."""
        response = self._api.call("GET", "/api/predictions/", params={"task": task})
        if _is_own_400(response):
            return False  # there is no such task
        _check(response)
        stored = _read_json(response)
        if not isinstance(stored, list):
            raise LabelStudioError(f"Label Studio lists no predictions of task {task}")
        return any(one.get("model_version") == model_version for one in stored)


def _check(response: httpx.Response) -> None:
    """Raise the error of a status that means failure for every call."""
    status = response.status_code
    if response.is_success:
        return
    if status in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise TokenRefused(f"Label Studio refuses the token ({status})")
    if response.is_server_error or status == httpx.codes.REQUEST_TIMEOUT:
        raise AnswerLost(f"Label Studio fails ({status})", ended=status not in PROXY_TIMEOUTS)
    if status == httpx.codes.NOT_FOUND:
        raise LabelStudioError(
            "Label Studio has no such project (404)",
            hint="It was deleted, or LABEL_STUDIO_URL is not Label Studio's address",
        )
    raise LabelStudioError(f"Label Studio answers {status}")


def _is_own_400(response: httpx.Response) -> bool:
    """Say whether Label Studio itself, and not a proxy, answers 400."""
    status = response.status_code
    return status == httpx.codes.BAD_REQUEST and _read_key(response, "status_code") == status


def _read_key(response: httpx.Response, name: str) -> Any:
    """Return the value of `name` in a JSON object; None if the response is something else."""
    body = _read_json(response)
    return body.get(name) if isinstance(body, dict) else None


def _read_json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError:
        return None
