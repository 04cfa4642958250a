"""A scripted model that watches films: it says in which of the frames it sees a colour."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping, Sequence

from PIL import Image

from grounding.engines.base import Completion, ModelRequest
from grounding.testing import ScriptedEngine, answer_each, make_completion
from tests.media.films.making import film

COLOURS = {"red": (220, 0, 0), "green": (0, 200, 0), "blue": (0, 0, 220)}
SIZE = (160, 120)
STAMP = re.compile(r"<(\d+\.\d+) seconds>")

Spans = Mapping[str, Sequence[tuple[float, float]]]


def scene(spans: Spans, seconds: float, fps: float = 25, **options: object) -> bytes:
    """Return a film in which a square of a colour is there during its spans, in seconds."""

    def draw(number: int) -> Image.Image:
        picture = Image.new("RGB", SIZE, "white")
        for at, colour in enumerate(COLOURS):
            if any(start <= number / fps < end for start, end in spans.get(colour, ())):
                picture.paste(COLOURS[colour], (10 + 50 * at, 40, 50 + 50 * at, 80))
        return picture

    return film(round(seconds * fps), fps, SIZE, draw, **options)  # type: ignore[arg-type]


def uri(data: bytes) -> str:
    """Return a film as a data URI."""
    return "data:video/mp4;base64," + base64.b64encode(data).decode()


def seen_in(picture: Image.Image) -> set[str]:
    """Return the colours in a frame."""
    found = picture.convert("RGB").resize((32, 24)).getcolors(32 * 24) or []
    pixels = [pixel for _, pixel in found if isinstance(pixel, tuple)]
    return {
        name
        for name, colour in COLOURS.items()
        if any(all(abs(a - b) < 60 for a, b in zip(colour, p, strict=True)) for p in pixels)
    }


def watch(request: ModelRequest) -> Completion:
    """Answer when the colour that is asked for is seen, by the times beside the frames."""
    times = [float(time) for time in STAMP.findall(request.text)]
    if not times:  # a picture
        return make_completion('[{"bbox_2d": [10, 10, 90, 90], "label": "cat"}]', -0.1)
    assert len(times) == len(request.views)
    frames = list(zip(times, request.views, strict=True))
    if "one JSON object" in request.text:
        there = set().union(*(seen_in(view.pixels) for _, view in frames))
        words = {"colours": sorted(there), "what": "squares come and go", "count": len(there)}
        return make_completion(json.dumps(words), -0.1)
    events = []
    for colour in [name for name in COLOURS if f"'{name}'" in request.text]:
        run: list[float] = []
        for time, view in [*frames, (float("inf"), None)]:
            if view is not None and colour in seen_in(view.pixels):
                run.append(time)
            elif run:
                events.append({"start_time": run[0], "end_time": run[-1], "label": colour})
                run = []
    if "description" in request.text:
        events = [{**one, "description": f"a {one['label']} square"} for one in events]
    return make_completion(f"```json\n{json.dumps(events)}\n```", -0.1)


def watcher() -> ScriptedEngine:
    """Return the engine."""
    return ScriptedEngine(answer_each(watch))
