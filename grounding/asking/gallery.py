"""Pictures with what was found on them, as one HTML file that needs no other host."""

from __future__ import annotations

import base64
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from grounding.asking.run import Asked, Exchange
from grounding.errors import GroundingError
from grounding.evaluation.plots import Mark, draw
from grounding.evaluation.records import Region, read_regions
from grounding.geometry import Frame, image_frame
from grounding.media.images import Decoder

SIDE = 720
"""Pixels of the longer side of a picture on the page."""


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
