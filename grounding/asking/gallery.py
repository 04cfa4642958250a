"""Pictures with what was found on them: drawn onto the pixels, or as one HTML file.

The file needs no other host, so that it has its pictures as data URIs, small.
"""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import unquote, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup
from PIL import ImageDraw, ImageFont
from PIL.Image import Image

from grounding.asking.run import Asked, Exchange
from grounding.asking.sources import SUFFIXES, is_address
from grounding.errors import GroundingError
from grounding.evaluation.plots import Mark, draw
from grounding.evaluation.records import Region, TaskRecord, read_regions
from grounding.geometry import PERCENT, Box, Frame, Point, image_frame
from grounding.labelstudio.data import find_image_address
from grounding.media.fetch import Fetches
from grounding.media.images import Decoder

SIDE = 720
"""Pixels of the longer side of a picture on the page."""

AT_ONCE = 8
"""Pictures that are fetched at the same time."""

STORED = ("/data/", "s3://", "gs://", "azure-blob://")
"""How addresses of Label Studio's uploads and storages begin."""

INK = "#c2187a"
FONT_SIZE = 14
POINT_RADIUS = 6


@dataclass(frozen=True, slots=True)
class Side:
    """What came of one picture under one setting, for the page."""

    drawing: Markup
    values: tuple[str, ...]
    error: str
    count: int
    exchanges: tuple[Exchange, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Row:
    """One picture: its name, and a side for each setting."""

    name: str
    sides: tuple[Side, ...]


@cache
def _template() -> Template:
    loader = PackageLoader("grounding.asking", "")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    return environment.get_template("gallery.html")


def to_html(title: str, settings: Sequence[str], rows: Sequence[Row]) -> str:
    """Return the page; `settings` names each side."""
    return _template().render(title=title, settings=settings, rows=rows)


@dataclass(frozen=True, slots=True)
class Shrunk:
    """A picture for the page: a data URI, empty where it cannot be read, and its frame."""

    file: str
    frame: Frame


def shrink(data: bytes, max_pixels: int, decoder: Decoder) -> Shrunk:
    """Return a picture as it is shown."""
    try:
        with decoder.decode(data, max_pixels) as picture:
            frame = image_frame(*picture.size)
            picture.thumbnail((SIDE, SIDE))
            out = io.BytesIO()
            picture.save(out, "JPEG", quality=80)
    except GroundingError:
        return NO_PICTURE
    uri = f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}"
    return Shrunk(uri, frame)


NO_PICTURE = Shrunk("", image_frame(640, 480))


def side(asked: Asked, shown: Shrunk) -> Side:
    """Return what came of a picture, for the page."""
    return show(asked.prediction, asked.error, shown, asked.exchanges, asked.seconds)


def show(
    prediction: dict[str, Any] | None,
    error: object,
    shown: Shrunk,
    exchanges: tuple[Exchange, ...] = (),
    seconds: float = 0.0,
) -> Side:
    """Return a prediction, or the error that came instead, for the page."""
    regions = read_regions((prediction or {}).get("result"), Counter())
    values = tuple(_value(one) for one in regions if one.place is None)
    drawing = draw(shown.frame, [Mark("right", regions)], shown.file)
    said = "" if error is None else str(error)
    return Side(drawing, values, said, len(regions), exchanges, seconds)


def _value(region: Region) -> str:
    return f"{region.control}: {region.text or region.label}"


def read_photographs(
    tasks: Sequence[TaskRecord], keys: Sequence[str], fetcher: Fetches, max_pixels: int
) -> dict[int, str]:
    """Return the pictures that can be read, by the id of their task; the others are missing.

    `keys` are those of the config, in order. Without any, what looks like a picture's address in
    a task's data is tried. Tasks without an id have none to be found by.
    """
    decoder = Decoder()

    def read(task: TaskRecord) -> str:
        for address in _addresses(task.data, keys):
            try:
                found = shrink(fetcher.fetch(address, task.id), max_pixels, decoder).file
            except GroundingError:
                continue
            if found:
                return found
        return ""

    numbered = [task for task in tasks if task.id is not None]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        files = pool.map(read, numbered)
        return {
            task.id: file for task, file in zip(numbered, files, strict=True) if task.id and file
        }


def _addresses(data: Mapping[str, Any], keys: Sequence[str]) -> Iterator[str]:
    if not keys:
        yield from (text for text in data.values() if isinstance(text, str) and _is_picture(text))
    for key in keys:
        try:
            yield find_image_address(data, key)
        except GroundingError:
            continue


def _is_picture(text: str) -> bool:
    try:
        path = unquote(urlsplit(text).path)
    except ValueError:
        return False
    named = path.lower().endswith(SUFFIXES)
    return text.startswith(STORED) or text.startswith("data:image/") or (is_address(text) and named)


def draw_regions(picture: Image, regions: Sequence[Mapping[str, Any]]) -> None:
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
    if not label_of(region):
        return  # such as the shape that a result of labels follows
    pen.rectangle(pen.textbbox(place, label_of(region), font=font), fill=INK, outline=INK, width=3)
    pen.text(place, label_of(region), fill="white", font=font)


def label_of(region: Mapping[str, Any]) -> str:
    """Return the labels or choices of one entry of a result, with commas between."""
    return ", ".join(map(str, region["value"].get(region["type"]) or ()))
