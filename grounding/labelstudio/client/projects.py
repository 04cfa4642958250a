"""Reads projects of Label Studio, and their tasks page by page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from grounding.errors import InputError, LabelStudioError, SettingError
from grounding.labelstudio.client.api import Api, check_status, read_json
from grounding.settings import Settings

PAGE = 100
"""Tasks in one page: Label Studio reads every annotation and prediction of each."""

TIMEOUT = httpx.Timeout(100, connect=3)
"""Seconds per step: a page of large tasks takes Label Studio long."""


@dataclass(frozen=True, slots=True)
class Project:
    """A project of Label Studio: its title, its labelling config, and how many tasks it has.

    `key` is how Label Studio names it to backends: its number and the time of its creation.
    """

    id: int
    title: str
    label_config: str
    tasks: int
    key: str = ""


@dataclass(frozen=True, slots=True)
class TaskPage:
    """Some tasks as Label Studio's JSON has them, and how many there are in all."""

    tasks: tuple[Mapping[str, Any], ...]
    total: int


def configured_api(settings: Settings) -> Api:
    """Return the API of the configured Label Studio; `SettingError` where none is."""
    url, token = settings.label_studio_url, settings.label_studio_token
    if not (url and token):
        missing = "LABEL_STUDIO_API_KEY" if url else "LABEL_STUDIO_URL"
        raise SettingError(
            f"{missing} is not set",
            hint="Set LABEL_STUDIO_URL to Label Studio's address and LABEL_STUDIO_API_KEY to "
            "a personal access token",
        )
    return Api(url, token)


class Projects:
    """The projects that the user of a token sees; safe to share between threads."""

    def __init__(self, api: Api) -> None:
        self._api = api

    @classmethod
    def of(cls, settings: Settings) -> Projects:
        """Return those of the configured Label Studio; `SettingError` where none is."""
        return cls(configured_api(settings))

    def find(self, number: int) -> Project:
        """Return a project. Raises `InputError` if there is none, and `LabelStudioError`."""
        found = self._read(number, f"/api/projects/{number}/", {})
        title, config = str(found.get("title") or ""), str(found.get("label_config") or "")
        tasks, created = int(found.get("task_number") or 0), str(found.get("created_at") or "")
        return Project(number, title, config, tasks, f"{number}.{_seconds(created)}")

    def extra_params(self, number: int) -> str:
        """Return the extra parameters of the model that is connected to a project, as JSON."""
        response = self._api.call("GET", "/api/ml/", params={"project": number}, timeout=TIMEOUT)
        check_status(response)
        found = read_json(response)
        given = [one.get("extra_params") for one in found or () if isinstance(one, Mapping)]
        params = next(filter(None, given), "")
        return params if isinstance(params, str) else json.dumps(params)

    def pages(self, number: int, *, size: int = PAGE, **params: Any) -> Iterator[TaskPage]:
        """Yield the tasks with all annotations and predictions. Raises as `find` does.

        `params` are further ones of `/api/tasks`. Tasks that are deleted meanwhile may cost
        others their place.
        """
        asked = {"project": number, "fields": "all", "resolve_uri": "false", "page_size": size}
        seen, page = 0, 1
        while True:
            found = self._read(number, "/api/tasks", {**asked, **params, "page": page})
            tasks = [task for task in found.get("tasks") or () if isinstance(task, Mapping)]
            total = int(found.get("total") or len(tasks))
            seen, page = seen + len(tasks), page + 1
            yield TaskPage(tuple(tasks), total)
            if not tasks or seen >= total:
                return

    def _read(self, number: int, path: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        response = self._api.call("GET", path, params=params, timeout=TIMEOUT)
        if response.status_code == httpx.codes.NOT_FOUND and read_json(response):
            raise InputError(
                f"Label Studio has no project {number}",
                hint="The number is in the project's address; the token's user must see it",
            )
        check_status(response)
        found = read_json(response)
        if not isinstance(found, Mapping):
            raise LabelStudioError(f"Label Studio gives no JSON at {path}")
        return found


def _seconds(time: str) -> int:
    """Return a time of Label Studio's API in seconds since 1970, 0 where it gives none."""
    try:
        return int(datetime.fromisoformat(time).timestamp())
    except ValueError:
        return 0
