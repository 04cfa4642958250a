"""The part of Label Studio's API that the tests drive, typed."""

from __future__ import annotations

import io
import json
import time
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

RETRIEVE_S = 180
"""Label Studio itself waits up to 100 s for a backend and saves before it answers."""


class Refused(RuntimeError):
    """Label Studio answered with an error; the message is its own words."""


@dataclass(frozen=True)
class Task:
    """One stored task: its id, its data and how many predictions Label Studio counts for it."""

    id: int
    data: dict[str, Any]
    total_predictions: int


@dataclass(frozen=True)
class Prediction:
    """One stored prediction: its regions as Label Studio keeps them, in percent."""

    id: int
    task: int
    model_version: str
    score: float | None
    result: list[dict[str, Any]]


class Client:
    """Label Studio's API at `url`, spoken to with a legacy `token`; close it after use."""

    def __init__(self, url: str, token: str) -> None:
        """Speak as the user whose token it is."""
        headers = {"Authorization": f"Token {token}"}
        self.url = url
        self.token = token
        self._personal = ""
        self._http = httpx.Client(base_url=url, headers=headers, timeout=60)

    def __enter__(self) -> Self:
        """Return itself; leaving closes its connections."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the connections."""
        self._http.close()

    def personal_access_token(self) -> str:
        """Return the personal access token of the logged-in user: what a backend is given."""
        # Label Studio shows it once, and gives no second one while it is valid.
        self._personal = self._personal or str(self._call("POST", "/api/token/")["token"])
        return self._personal

    def templates(self) -> list[dict[str, Any]]:
        """Return the templates that people start a project from: each a title and a config."""
        return list(self._call("GET", "/api/templates/")["templates"])

    def create_project(self, title: str, label_config: str = "<View></View>") -> int:
        """Return the id of a new project; the default config is a new project's own."""
        body = {"title": title, "label_config": label_config}
        return int(self._call("POST", "/api/projects/", json=body)["id"])

    def configure(self, project: int, label_config: str) -> None:
        """Give the project another labelling config."""
        self._call("PATCH", f"/api/projects/{project}/", json={"label_config": label_config})

    def ask_nothing_on_opening(self, project: int) -> None:
        """Open the project's tasks without asking a backend for predictions."""
        self._call("PATCH", f"/api/projects/{project}/", json={"show_collab_predictions": False})

    def annotations(self, task: int) -> list[dict[str, Any]]:
        """Return the results of all annotations that were submitted for a task."""
        found = self._call("GET", f"/api/tasks/{task}/annotations/")
        return [region for annotation in found for region in annotation["result"]]

    def push(self, project: int, prediction: dict[str, Any]) -> int:
        """Import a prediction; return how many Label Studio kept, as it drops bad ones."""
        url = f"/api/projects/{project}/import/predictions"
        return int(self._call("POST", url, json=[prediction])["created"])

    def delete_prediction(self, prediction: int) -> None:
        """Delete one stored prediction."""
        self._call("DELETE", f"/api/predictions/{prediction}/")

    def annotate(self, task: int, result: list[dict[str, Any]]) -> None:
        """Submit an annotation for a task."""
        self._call("POST", f"/api/tasks/{task}/annotations/", json={"result": result})

    def exported_names(self, project: int, kind: str) -> list[str]:
        """Return the names of files that an export of a `kind` such as "COCO" holds or lists."""
        answer = self._http.get(
            f"/api/projects/{project}/export", params={"exportType": kind}, timeout=RETRIEVE_S
        )
        with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
            names = archive.namelist()
            if "result.json" in names:
                listed = json.loads(archive.read("result.json"))["images"]
                names += [image["file_name"] for image in listed]
        return names

    def exported(self, project: int) -> list[dict[str, Any]]:
        """Return the results of all annotations in the project's export as JSON."""
        url, kind = f"/api/projects/{project}/export", {"exportType": "JSON"}
        tasks = self._http.get(url, params=kind, timeout=RETRIEVE_S).json()
        works = [work for task in tasks for work in task["annotations"]]
        return [result for work in works for result in work["result"]]

    def import_tasks(self, project: int, data: Iterable[dict[str, Any]]) -> list[int]:
        """Return the ids of new tasks with these data, in their order."""
        tasks = [{"data": item} for item in data]
        url = f"/api/projects/{project}/import?return_task_ids=true"
        ids: list[int] = self._call("POST", url, json=tasks)["task_ids"]
        return ids

    def open_task(self, task: int) -> None:
        """Open a task as the labelling page does: Label Studio asks the backend, and waits."""
        self._call("GET", f"/api/tasks/{task}", timeout=RETRIEVE_S)

    def delete_task(self, task: int) -> None:
        """Delete a task with its predictions."""
        self._call("DELETE", f"/api/tasks/{task}/")

    def upload(self, project: int, pictures: Sequence[Path]) -> None:
        """Upload pictures from disk: each becomes a task with a /data/upload/ address."""
        # Each under a field of its own: of several with one name Label Studio keeps the last.
        files = {path.name: (path.name, path.read_bytes(), "image/*") for path in pictures}
        self._call("POST", f"/api/projects/{project}/import", files=files)

    def add_storage(self, project: int, kind: str, **settings: Any) -> None:
        """Connect a source storage, its files as tasks' data, and make a task of each file.

        `kind` is Label Studio's word: "localfiles" or "s3".
        """
        body = {"project": project, "title": kind, "use_blob_urls": True, **settings}
        storage = self._call("POST", f"/api/storages/{kind}/", json=body)["id"]
        self._call("POST", f"/api/storages/{kind}/{storage}/sync")

    def connect(
        self, project: int, backend: str, *, interactive: bool = True, extra_params: object = None
    ) -> int:
        """Return the id of the ML backend added at `backend`; raise `Refused` with the reason."""
        body = {
            "project": project,
            "url": backend,
            "title": "grounding",
            "is_interactive": interactive,
            "extra_params": extra_params,
        }
        return int(self._call("POST", "/api/ml/", json=body)["id"])

    def backends(self, project: int) -> list[dict[str, Any]]:
        """Return the project's ML backends as Label Studio shows them, their health asked anew."""
        found: list[dict[str, Any]] = self._call("GET", "/api/ml/", params={"project": project})
        return found

    def retrieve_predictions(self, project: int) -> None:
        """Press "Retrieve predictions" for all tasks of the project, and wait for its answer."""
        self._call(
            "POST",
            "/api/dm/actions",
            params={"id": "retrieve_tasks_predictions", "project": project},
            json={"selectedItems": {"all": True, "excluded": []}},
            timeout=RETRIEVE_S,
        )

    def tasks(self, project: int) -> list[Task]:
        """Return the project's tasks with their data as stored, which is what backends are sent.

        Unlike opening a task, listing asks no backend.
        """
        params = {"project": project, "fields": "all", "page_size": 1000, "resolve_uri": "false"}
        found = self._call("GET", "/api/tasks", params=params)["tasks"]
        return [Task(t["id"], t["data"], t["total_predictions"]) for t in found]

    def predictions(self, project: int) -> list[Prediction]:
        """Return every prediction that is stored for the project's tasks."""
        found = self._call("GET", "/api/predictions/", params={"project": project})
        return [
            Prediction(p["id"], p["task"], p["model_version"], p["score"], p["result"])
            for p in found
        ]

    def wait_for_predictions(self, project: int, count: int, seconds: float) -> list[Prediction]:
        """Return the predictions once there are `count`, or what there is when time is up.

        What a backend could not answer in time it delivers later, so they may still arrive.
        """
        deadline = time.monotonic() + seconds
        while len(found := self.predictions(project)) < count and time.monotonic() < deadline:
            time.sleep(1)
        return found

    def interact(self, backend: int, task: int, result: list[dict[str, Any]]) -> dict[str, Any]:
        """Return what the labelling page gets for an annotator's `result` on a task."""
        body = {"task": task, "context": {"result": result}}
        url = f"/api/ml/{backend}/interactive-annotating"
        answer: dict[str, Any] = self._call("POST", url, json=body, timeout=RETRIEVE_S)
        return answer

    def _call(self, method: str, url: str, **options: Any) -> Any:
        answer = self._http.request(method, url, **options)
        if answer.is_error:
            raise Refused(f"{method} {url}: {answer.status_code} {answer.text}")
        return answer.json() if answer.content else None
