"""The demo: predicts sample pictures with the real server, and shows a table and drawings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps
from rich.console import Console
from rich.table import Table

from grounding.asking.gallery import draw_regions, label_of
from grounding.demo.backend import data_uri, local_backend

HERE = Path(__file__).parent


def run_demo(output: str) -> int:
    """Predict the sample tasks, print a table and write annotated pictures to `output`.

    Returns the exit status: 0 if every task has a prediction, else 1.
    """
    console = Console()
    tasks = json.loads((HERE / "tasks.json").read_text())
    config = (HERE / "config.xml").read_text()
    console.print(
        "[yellow]The demo model is small and knows only coloured shapes. It shows how a task is "
        "predicted, not how well Qwen2.5-VL predicts."
    )
    with (
        console.status("starting") as status,
        local_backend(model="", log_level="warning") as backend,
    ):
        backend.wait_ready(lambda text: status.update(f"queue, worker and server: {text}"))
        status.update(f"asking about {len(tasks)} pictures")
        version = backend.setup(config)
        entries = backend.predict([_task(n, name) for n, name in enumerate(tasks, 1)], config)
    console.print(_table(tasks, entries, version))
    _draw_all(tasks, entries, Path(output))
    console.print(f"Annotated pictures are in {output}/")
    missing = sum(not entry for entry in entries)
    if missing:
        console.print(f"[red]{missing} of {len(entries)} tasks have no prediction")
    return 1 if missing else 0


def _task(number: int, name: str) -> dict[str, Any]:
    picture = HERE / "pictures" / name
    return {"id": number, "data": {"image": data_uri(picture.read_bytes(), picture.suffix)}}


def _table(names: Sequence[str], entries: Sequence[Any], version: str) -> Table:
    table = Table(title=f"Predictions of {version} (percent of the upright picture)")
    for column in ("picture", "control", "label", "x", "y", "width", "height"):
        table.add_column(column, justify="left" if column in ("picture", "control") else "right")
    for name, entry in zip(names, entries, strict=True):
        rows = [_cells(region) for region in _regions(entry)] or [["(nothing)"]]
        for row in rows:
            table.add_row(name, *row)
    return table


def _cells(region: Mapping[str, Any]) -> list[str]:
    value = region["value"]
    sides = [f"{value[side]:.1f}" for side in ("x", "y")]
    if "height" in value:
        sides += [f"{value[side]:.1f}" for side in ("width", "height")]
    return [region["from_name"], label_of(region), *sides]


def _regions(entry: Any) -> list[Mapping[str, Any]]:
    return list(entry["result"]) if entry else []


def _draw_all(names: Sequence[str], entries: Sequence[Any], output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    for name, entry in zip(names, entries, strict=True):
        with Image.open(HERE / "pictures" / name) as stored:
            picture = ImageOps.exif_transpose(stored).convert("RGB")
        draw_regions(picture, _regions(entry))
        picture.save((output / name).with_suffix(".png"))
