"""A loopback Label Studio with the endpoints that delivery uses, behaving as 1.23.2 does.

It refuses a whole batch for one unknown task, drops invalid predictions under a 201, never looks
for duplicates, and saves what a backend answers to Retrieve predictions.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.loopback import serving

TOKEN = "0123456789abcdef0123456789abcdef01234567"
CONTROL = "box"
"""The only control of its projects: regions of others are invalid."""


class Mood(Enum):
    """How it answers an import."""

    WELL = auto()
    FAILS = auto()
    """503 for every call, and nothing is saved."""
    SAVES_AND_HANGS_UP = auto()
    """Saved, and the connection closes without a response."""
    SAVES_AND_FAILS = auto()
    """Saved, and a proxy answers 504."""
    SAVES_LATE = auto()
    """A proxy answers 504, and it is saved when the test calls `commit`."""
    FORBIDS = auto()
    """403: the token's user may not change the project."""
    STRANGER = auto()
    """400 in HTML: not from Label Studio itself."""


@dataclass
class Studio:
    """Its tasks by project, and the stored predictions, each with its task's id."""

    url: str = ""
    mood: Mood = Mood.WELL
    stall: float = 0.0
    """Seconds between saving an import and answering it."""
    late: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    """What it will save at `commit`."""
    unlisted: set[int] = field(default_factory=set)
    """Tasks whose predictions it fails to list."""
    chokes: set[int] = field(default_factory=set)
    """Tasks whose predictions make an import end with a 500 and nothing saved."""
    tasks: dict[int, set[int]] = field(default_factory=dict)
    stored: list[tuple[int, dict[str, Any]]] = field(default_factory=list)
    imports: list[int] = field(default_factory=list)
    """The size of each import that came."""
    looks: int = 0
    failures: int = 0
    """How many calls had no useful response."""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, project: int, numbers: Iterable[int]) -> None:
        """Add tasks to a project."""
        self.tasks.setdefault(project, set()).update(numbers)

    def counts(self) -> Counter[int]:
        """Return how many predictions each task has."""
        with self.lock:
            return Counter(task for task, _ in self.stored)

    def save(self, task: int, prediction: Mapping[str, Any]) -> None:
        """Store one, even if the task has another."""
        with self.lock:
            kept = self.late if self.mood is Mood.SAVES_LATE else self.stored
            kept.append((task, dict(prediction)))

    def commit(self) -> None:
        """Save what came while the mood was `SAVES_LATE`."""
        with self.lock:
            self.stored += self.late
            self.late = []

    def forget(self, task: int) -> None:
        """Delete a task's predictions, as a user may."""
        with self.lock:
            self.stored = [(one, kept) for one, kept in self.stored if one != task]

    def save_answers(self, tasks: Sequence[Mapping[str, Any]], entries: Sequence[Any]) -> None:
        """Store what a backend answered; an empty list is no prediction yet."""
        assert len(tasks) == len(entries), "the whole answer would be dropped"
        for task, entry in zip(tasks, entries, strict=True):
            if entry:
                self.save(task["id"], entry)

    def take(self, project: int, items: Sequence[Mapping[str, Any]]) -> tuple[int, Any]:
        """Import `items`; return the status and the body."""
        self.imports.append(len(items))
        if project not in self.tasks:
            return 404, "<html>not found</html>"
        if any(item.get("task") not in self.tasks[project] for item in items):
            said = {"non_field_errors": ['… contains invalid "task" field: …']}
            return 400, {"status_code": 400, "detail": "Validation error"} | {
                "validation_errors": said
            }
        if self.chokes.intersection(item["task"] for item in items):
            return 500, {"status_code": 500, "detail": "Internal server error"}
        valid = [item for item in items if _is_valid(item)]
        for item in valid:
            self.save(item["task"], {k: v for k, v in item.items() if k != "task"})
        return 201, {"created": len(valid)}

    def listed(self, task: int) -> tuple[int, Any]:
        """List the predictions of a task; return the status and the body."""
        self.looks += 1
        if task in self.unlisted:
            return 500, {"status_code": 500, "detail": "Internal server error"}
        if not any(task in tasks for tasks in self.tasks.values()):
            return 400, {"status_code": 400, "detail": "Validation error"}
        with self.lock:
            return 200, [{"task": one} | kept for one, kept in self.stored if one == task]


def _is_valid(item: Mapping[str, Any]) -> bool:
    result = item.get("result")
    if not isinstance(result, list):
        return False
    return all(region.get("from_name") == CONTROL for region in result)


class _Handler(BaseHTTPRequestHandler):
    studio: Studio

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        *_, number, _, what = urlsplit(self.path).path.split("/")
        assert what == "predictions"
        if not self._barred():
            mood = self.studio.mood
            status, said = self.studio.take(int(number), json.loads(body))
            time.sleep(self.studio.stall)
            if mood is Mood.SAVES_AND_HANGS_UP:
                self.studio.failures += 1
                self.close_connection = True
            elif mood in (Mood.SAVES_AND_FAILS, Mood.SAVES_LATE):
                self._say(504, "<html>gateway timeout</html>")
            else:
                self._say(status, said)

    def do_GET(self) -> None:
        if not self._barred():
            (task,) = parse_qs(urlsplit(self.path).query)["task"]
            self._say(*self.studio.listed(int(task)))

    def _barred(self) -> bool:
        if self.headers["Authorization"] != f"Token {TOKEN}":
            self._say(401, {"status_code": 401, "detail": "Invalid token."})
        elif self.studio.mood is Mood.FAILS:
            self.studio.failures += 1
            self._say(503, "<html>unavailable</html>")
        elif self.studio.mood is Mood.FORBIDS:
            self._say(403, {"status_code": 403, "detail": "You do not have permission."})
        elif self.studio.mood is Mood.STRANGER:
            self._say(400, "<html>bad request</html>")
        else:
            return False
        return True

    def _say(self, status: int, body: Any) -> None:
        text = body if isinstance(body, str) else json.dumps(body)
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Log nothing."""


@contextmanager
def label_studio() -> Iterator[Studio]:
    """Run it on a loopback port around the block."""
    studio = Studio()
    handler = type("Handler", (_Handler,), {"studio": studio})
    with serving(handler) as studio.url:
        yield studio
