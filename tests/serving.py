"""Requests and configs that tests of the web server share."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from flask.testing import FlaskClient

CONFIG = (
    '<View><Image name="image" value="$image"/><RectangleLabels name="box" toName="image">'
    '<Label value="cat"/></RectangleLabels></View>'
)
PROMPT = '<TextArea name="prompt" toName="image"/>'
STATUS = '<TextArea name="status" toName="image" smart="false"/>'
TALKING = CONFIG.replace("</View>", f"{PROMPT}{STATUS}</View>")


def region(x: float, score: float) -> dict[str, Any]:
    """Return a box of a cat, as a prediction has it."""
    value = {"x": x, "y": 10, "width": 20, "height": 20, "rotation": 0}
    return {
        "id": f"region-at-{x}",
        "from_name": "box",
        "to_name": "image",
        "type": "rectanglelabels",
        "value": {**value, "rectanglelabels": ["cat"]},
        "score": score,
    }


class Worked(list[int]):
    """The ids that a worker has worked on; of task 2 it has `enough` after `seconds`, or sooner."""

    seconds = 1.5

    def __init__(self) -> None:
        super().__init__()
        self.enough = threading.Event()


FOUND = [region(10, 0.9), region(40, 0.3), region(70, 0.6)]
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


def typed(text: str, *others: dict[str, Any]) -> dict[str, Any]:
    """Return the params of a request in which an annotator typed `text`."""
    area = {"id": "t1", "from_name": "prompt", "to_name": "image", "type": "textarea"}
    return {"context": {"result": [*others, {**area, "value": {"text": [text]}}]}}


def said(entry: Any, area: str = "status") -> list[str]:
    """Return the texts that an entry puts into a text area."""
    values = [r["value"] for r in entry["result"] if r["from_name"] == area]
    return [text for value in values for text in value["text"]]
