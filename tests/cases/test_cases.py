"""The table of bad inputs: one row of `tests/cases/*.json` is one test, named by its id.

An id begins with the row's number in the table; so table and suite cannot part ways.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from grounding.errors import ConfigError
from grounding.geometry import Box, Frame
from grounding.labelstudio.config.parse import parse
from grounding.queries import Locate, Shape
from grounding.qwen.queries import read_answer
from tests.serving import request

FOLDER = Path(__file__).parent
Row = dict[str, Any]


def rows(name: str) -> pytest.MarkDecorator:
    """Return the parameter `row` of a test: each row of a table."""
    found: list[Row] = json.loads((FOLDER / f"{name}.json").read_text())
    ids = [row["id"] for row in found]
    assert len(set(ids)) == len(ids)
    return pytest.mark.parametrize("row", found, ids=ids)


def test_every_table_is_run() -> None:
    tables = {file.stem for file in FOLDER.glob("*.json")}
    assert tables == {"http", "configs", "tasks", "outputs"}


@rows("http")
def test_a_request(client: FlaskClient, row: Row) -> None:
    given = row.get("body", "").encode() * row.get("repeat", 1)
    body = bytes.fromhex(row["hex"]) if "hex" in row else given
    headers = {"Content-Encoding": row["encoding"]} if "encoding" in row else {}
    answer = client.open(
        row["path"],
        method=row.get("method", "POST"),
        data=body,
        headers=headers,
        content_type=row.get("type", "application/json"),
    )
    assert answer.status_code == row["status"], answer.text
    if "code" in row:
        assert set(answer.json["error"]) == {"code", "message", "id"}  # type: ignore[index]
        assert answer.json["error"]["code"] == row["code"]  # type: ignore[index]


@rows("configs")
def test_a_labelling_config(row: Row) -> None:
    xml = row["xml"] + "x" * row.get("pad", 0)
    if "code" not in row and not row.get("refused"):
        parse(xml)
        return
    with pytest.raises(ConfigError) as refusal:
        parse(xml)
    assert refusal.value.code == row.get("code", refusal.value.code)


@rows("tasks")
def test_a_task_among_others(client: FlaskClient, worker: list[int | None], row: Row) -> None:
    body = request(4, 5)
    body["tasks"].insert(1, row["task"])
    text = json.dumps(body)
    answer = client.post("/predict", data=text, content_type="application/json")
    first, odd, last = answer.json["results"]  # type: ignore[index]
    assert (first["id"], last["id"]) == (4, 5)
    assert bool(odd) == row["answered"]


@rows("outputs")
def test_what_a_model_says(row: Row) -> None:
    text = row["text"] * row.get("repeat", 1)
    answer = read_answer(Locate(Shape.BOX, ("a",)), text, Frame("model", 1000, 1000), complete=True)
    assert answer.verdict == row["verdict"]
    assert row.get("warning") is None or row["warning"] in answer.warnings
    places = [finding.place for finding in answer.findings]
    boxes = [[p.x1, p.y1, p.x2, p.y2] for p in places if isinstance(p, Box)]
    assert boxes == row.get("boxes", [])
