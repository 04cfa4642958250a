"""What tests of the web server say to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient

CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">'
    '<Label value="cat"/></RectangleLabels></View>'
)
Start = Callable[[], FlaskClient]


def request(*ids: int, **changes: Any) -> dict[str, Any]:
    """Return the body of a predict request for tasks of these ids."""
    tasks = [{"id": number, "data": {"image": f"/data/upload/1/{number}.png"}} for number in ids]
    body = {
        "tasks": tasks,
        "project": "1.1795316671",
        "label_config": CONFIG,
        "params": {"login": None, "password": None, "context": None},
    }
    return body | changes


def predict(client: FlaskClient, *ids: int, **changes: Any) -> list[Any]:
    """Return the entries for tasks of these ids."""
    answer = client.post("/predict", json=request(*ids, **changes))
    assert answer.status_code == 200, answer.text
    return list(answer.json["results"])  # type: ignore[index]
