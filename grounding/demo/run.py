"""The demo: predicts sample pictures with the real server, and shows a table and drawings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps
from rich.console import Console
from rich.table import Table

from grounding.demo.local import data_uri, local_backend
from grounding.geometry import PERCENT, Box, Point, image_frame

HERE = Path(__file__).parent
INK = "#c2187a"
FONT_SIZE = 14
POINT_RADIUS = 6


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
    return [region["from_name"], _label(region), *sides]


def _regions(entry: Any) -> list[Mapping[str, Any]]:
    return list(entry["result"]) if entry else []


def _label(region: Mapping[str, Any]) -> str:
    return ", ".join(map(str, region["value"].get(region["type"]) or ()))


def _draw_all(names: Sequence[str], entries: Sequence[Any], output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    for name, entry in zip(names, entries, strict=True):
        with Image.open(HERE / "pictures" / name) as stored:
            picture = ImageOps.exif_transpose(stored).convert("RGB")
        draw_regions(picture, _regions(entry))
        picture.save((output / name).with_suffix(".png"))


def draw_regions(picture: Image.Image, regions: Sequence[Mapping[str, Any]]) -> None:
    """Draw the boxes and points of a prediction's result on an upright RGB picture."""
    pen = ImageDraw.Draw(picture)
    frame = image_frame(*picture.size)
    for region in regions:
        value = region["value"]
        if "x" not in value:
            continue  # a value of the whole image
        corner = Point(value["x"], value["y"], PERCENT)
        if "height" in value:
            far = (value["x"] + value["width"], value["y"] + value["height"])
            _draw_box(pen, Box.spanning((corner.x, corner.y), far, PERCENT).to(frame), region)
        else:
            spot, r = corner.to(frame), POINT_RADIUS
            around = (spot.x - r, spot.y - r, spot.x + r, spot.y + r)
            pen.ellipse(around, outline="white", fill=INK, width=2)


def _draw_box(pen: ImageDraw.ImageDraw, box: Box, region: Mapping[str, Any]) -> None:
    pen.rectangle((box.x1, box.y1, box.x2, box.y2), outline=INK, width=3)
    font = ImageFont.load_default(FONT_SIZE)
    place = (box.x1 + 5, box.y1 + 4)
    if not _label(region):
        return  # such as the shape that a result of labels follows
    pen.rectangle(pen.textbbox(place, _label(region), font=font), fill=INK, outline=INK, width=3)
    pen.text(place, _label(region), fill="white", font=font)
