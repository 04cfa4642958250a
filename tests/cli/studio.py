"""A loopback Label Studio with projects, tasks in pages and imports, as 1.23.2 answers them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.loopback import serving

PICTURE = b"GIF89a" + bytes(40)
TOKEN = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Studio:
    """One project with its tasks as `/api/tasks` lists them; `asked` has every call."""

    url: str = ""
    number: int = 7
    title: str = "Cats"
    label_config: str = "<View/>"
    tasks: list[dict[str, Any]] = field(default_factory=list)
    picture: bytes = PICTURE
    asked: list[str] = field(default_factory=list)
    token: str = TOKEN
    backends: list[dict[str, Any]] = field(default_factory=list)
    """The models that are connected to the project, as `/api/ml/` lists them."""
    foreign: bool = False
    """Answer as a program that is not Label Studio."""
    lag: float = 0.0
    """Seconds that its clock is behind."""

    @property
    def environment(self) -> dict[str, str]:
        """The settings that lead to it."""
        return {"LABEL_STUDIO_URL": self.url, "LABEL_STUDIO_API_KEY": self.token}

    def page(self, query: dict[str, list[str]]) -> tuple[int, Any]:
        """Return one page of tasks; 404 beyond the last, as Label Studio does."""
        size, page = int(query["page_size"][0]), int(query["page"][0])
        some = self.tasks[(page - 1) * size : page * size]
        if not some and page > 1:
            return 404, {"status_code": 404, "detail": "Invalid page."}
        return 200, {"tasks": some, "total": len(self.tasks)}

    def predictions(self, task: int) -> list[dict[str, Any]]:
        """Return the predictions of a task."""
        return [one for t in self.tasks if t["id"] == task for one in t["predictions"]]

    def take(self, predictions: list[dict[str, Any]]) -> tuple[int, Any]:
        """Import predictions."""
        known = {task["id"]: task for task in self.tasks}
        for one in predictions:
            known[one["task"]]["predictions"].append(one)
        return 201, {"created": len(predictions)}


class _Handler(BaseHTTPRequestHandler):
    studio: Studio

    def do_GET(self) -> None:
        url, studio = urlsplit(self.path), self.studio
        studio.asked.append(self.path)
        if studio.foreign:
            self._say(200, "welcome")
        elif url.path == "/api/version":
            self._say(200, {"release": "1.23.2"})
        elif self.headers["Authorization"] != f"Token {TOKEN}":
            self._say(401, {"status_code": 401, "detail": "Invalid token."})
        elif url.path == "/api/current-user/whoami":
            self._say(200, {"id": 1})
        elif url.path == "/api/predictions/":
            self._say(200, studio.predictions(int(parse_qs(url.query)["task"][0])))
        elif url.path == "/api/ml/":
            self._say(200, studio.backends)
        elif url.path.startswith("/data/upload/"):
            self._say_bytes(200, studio.picture)
        elif url.path == f"/api/projects/{studio.number}/":
            facts = {"title": studio.title, "label_config": studio.label_config}
            facts["created_at"] = "2026-11-22T10:00:00.5Z"
            self._say(200, {"id": studio.number, "task_number": len(studio.tasks), **facts})
        elif url.path == "/api/tasks" and f"project={studio.number}&" in url.query + "&":
            self._say(*studio.page(parse_qs(url.query)))
        else:
            detail = "No Project matches the given query."
            self._say(404, {"status_code": 404, "detail": detail})

    def do_POST(self) -> None:
        self.studio.asked.append(self.path)
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._say(*self.studio.take(body))

    def date_time_string(self, timestamp: float | None = None) -> str:
        """Return the date that a response carries."""
        return super().date_time_string(int(time.time() - self.studio.lag))

    def _say(self, status: int, body: Any) -> None:
        self._say_bytes(status, json.dumps(body).encode())

    def _say_bytes(self, status: int, text: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def label_studio() -> Iterator[Studio]:
    """Run it on a loopback port around the block."""
    studio = Studio()
    handler = type("Handler", (_Handler,), {"studio": studio})
    with serving(handler) as studio.url:
        yield studio
