"""Measures the accuracy of the reading checkpoint through the real `/predict`: `make accuracy`.

Each picture is new to the model. Pages of print are read line by line, receipts are filled in,
shapes are counted, and a shape and its colour are chosen from lists. A line is right where a box of
IoU ≥ 0.5 has exactly its text; a field or choice where the value is exactly right. Films are asked
when each shape stands in them, and screens where a named button is.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from benchmarks.accuracy.trials import RIGHT, Row, answers
from grounding.demo.backend import BackendClient, data_uri, local_backend
from grounding.geometry import PERCENT, Box, image_frame
from tools.reading.films import FPS, FRAME_TOKENS, film, standing
from tools.reading.model import FACTOR
from tools.reading.pages import FIELDS, Page, page
from tools.shapes.films import Film
from tools.shapes.scenes import COLOURS, SHAPES

READING = Path(__file__).parents[2] / "grounding" / "demo" / "reading"
FIRST_SEED = 90_000_000
"""Not among the seeds of the training, so that every picture is new to the model."""

IMAGE = '<View><Image name="image" value="$image"/>{}</View>'
LINES = IMAGE.format(
    '<RectangleLabels name="line" toName="image" model_task="ocr"><Label value="Text"/>'
    '</RectangleLabels><TextArea name="text" toName="image" perRegion="true"/>'
)
RECEIPT = IMAGE.format("".join(f'<TextArea name="{name}" toName="image"/>' for name in FIELDS))
SPANS = (
    '<View><TimelineLabels name="when" toName="video" '
    f'model_max_pixels="{FRAME_TOKENS * FACTOR**2}">'
    + "".join(f'<Label value="{shape}"/>' for shape in SHAPES)
    + f'</TimelineLabels><Video name="video" value="$video" frameRate="{FPS}"/></View>'
)
SCREEN = IMAGE.format(
    '<KeyPointLabels name="act" toName="image" model_task="gui" model_screen="mobile">'
    '<Label value="click"/></KeyPointLabels>'
)
CHOICES = {"shape": SHAPES, "colour": tuple(COLOURS)}


@dataclass(slots=True)
class Read:
    """What was right, one figure for each line, field, choice or picture."""

    lines: list[bool] = field(default_factory=list)
    extra: list[bool] = field(default_factory=list)
    """Of each region that was found, whether it is right."""
    fields: list[bool] = field(default_factory=list)
    absent: list[bool] = field(default_factory=list)
    choices: list[bool] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    """Differences of the number from the true one; a missing number counts as none."""
    spans: list[float] = field(default_factory=list)
    """IoU in frames of when a shape stands in a film."""
    away: list[bool] = field(default_factory=list)
    """Of each shape that is not in a film, whether it has no span."""
    buttons: list[bool] = field(default_factory=list)
    """Of each named button, whether the only point is inside it."""


def choice_config(name: str) -> str:
    """Return a config with one `Choices`."""
    children = "".join(f'<Choice value="{one}"/>' for one in CHOICES[name])
    return IMAGE.format(f'<Choices name="{name}" toName="image">{children}</Choices>')


def count_config(shape: str) -> str:
    """Return a config with a `Number` that counts."""
    return IMAGE.format(
        f'<Number name="count" toName="image" model_task="count" model_prompt="every {shape}"/>'
    )


def task(drawn: Page, number: int) -> dict[str, Any]:
    """Return the task of a page, with its picture in it."""
    out = io.BytesIO()
    drawn.draw().save(out, "PNG")
    return {"id": number, "data": {"image": data_uri(out.getvalue(), ".png")}}


def film_task(drawn: Film, number: int) -> dict[str, Any]:
    """Return the task of a film, with its file in it."""
    return {"id": number, "data": {"video": data_uri(drawn.encode(), ".mp4")}}


def screen_task(drawn: Page, number: int) -> dict[str, Any]:
    """Return the task of a screen: to press the first of its buttons."""
    pressed = {"instruction": f"Press {drawn.buttons[0].name}"}
    return {"id": number, "data": task(drawn, number)["data"] | pressed}


def score_spans(drawn: Film, regions: Sequence[dict[str, Any]], read: Read) -> None:
    """Add each shape of one film; a span counts its frames from 1, both ends included."""
    found: dict[str, set[int]] = {shape: set() for shape in SHAPES}
    for region in regions:
        (label,), (span,) = region["value"]["timelinelabels"], region["value"]["ranges"]
        found[label] |= set(range(span["start"] - 1, span["end"]))
    for shape in SHAPES:
        true = set(standing(drawn, shape))
        if true:
            read.spans.append(len(true & found[shape]) / len(true | found[shape]))
        else:
            read.away.append(not found[shape])


def score_button(drawn: Page, regions: Sequence[dict[str, Any]], read: Read) -> None:
    """Add whether the point of one screen is inside the button that was named."""
    x1, y1, x2, y2 = drawn.buttons[0].box
    points = [one["value"] for one in regions if one["type"] == "keypointlabels"]
    across = [x1 <= one["x"] / 100 * drawn.width <= x2 for one in points]
    down = [y1 <= one["y"] / 100 * drawn.height <= y2 for one in points]
    read.buttons.append(len(points) == 1 and all(across + down))


def score_lines(drawn: Page, regions: Sequence[dict[str, Any]], read: Read) -> None:
    """Add each line, and each region, of one page."""
    texts = {r["id"]: "".join(r["value"]["text"]) for r in regions if r["type"] == "textarea"}
    found = [(box_of(r), texts.get(r["id"])) for r in regions if r["type"] == "rectanglelabels"]
    frame = image_frame(drawn.width, drawn.height)
    true = [(Box(*one.box, frame), one.text) for one in drawn.prints]
    read.lines += [any(_same(one, other) for other in found) for one in true]
    read.extra += [any(_same(other, one) for other in true) for one in found]


def box_of(region: dict[str, Any]) -> Box:
    """Return the box of a region, in percent."""
    v = region["value"]
    return Box.spanning((v["x"], v["y"]), (v["x"] + v["width"], v["y"] + v["height"]), PERCENT)


def _same(one: tuple[Box, str | None], other: tuple[Box, str | None]) -> bool:
    return one[1] == other[1] and other[0].iou(one[0]) >= RIGHT


def values(regions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the value of each control; texts and choices as one text."""
    out: dict[str, Any] = {}
    for region in regions:
        (value,) = (
            region["value"][k] for k in ("text", "choices", "number") if k in region["value"]
        )
        out[region["from_name"]] = value if isinstance(value, int | float) else "".join(value)
    return out


def score_fields(drawn: Page, regions: Sequence[dict[str, Any]], read: Read) -> None:
    """Add each field of one receipt, those that are absent apart."""
    given = values(regions)
    for name, true in drawn.values.items():
        (read.absent if true is None else read.fields).append(given.get(name) == true)


def score_choice(
    name: str,
) -> Callable[[Page, Sequence[dict[str, Any]], Read], None]:
    """Return what adds one choice of a page; an empty page has none."""

    def score(drawn: Page, regions: Sequence[dict[str, Any]], read: Read) -> None:
        true = drawn.values[name]
        right = values(regions).get(name) == true
        (read.absent if true is None else read.choices).append(right)

    return score


def score_count(shape: str) -> Callable[[Page, Sequence[dict[str, Any]], Read], None]:
    """Return what adds one number."""

    def score(drawn: Page, regions: Sequence[dict[str, Any]], read: Read) -> None:
        true = sum(figure.shape == shape for figure in drawn.figures)
        read.counts.append(int(values(regions).get("count", 0)) - true)

    return score


def measure(backend: BackendClient, pictures: int, seed: int) -> Read:
    """Return the scores of new pictures, `pictures` of each kind."""
    read = Read()
    asked = [("lines", LINES, score_lines), ("receipt", RECEIPT, score_fields)]
    asked += [("single", choice_config(name), score_choice(name)) for name in CHOICES]
    for kind, config, score in asked:
        _ask(backend, [page(seed + n, kind) for n in range(pictures)], config, score, read)
    pages = [page(seed + n, "count") for n in range(pictures)]
    for number, shape in enumerate(SHAPES):
        part = [one for n, one in enumerate(pages) if SHAPES.index(most(one)) == number]
        _ask(backend, part, count_config(shape), score_count(shape), read)
    screens = [page(seed + n, "screen") for n in range(pictures)]
    tasks = [screen_task(one, n) for n, one in enumerate(screens)]
    for one, entry in zip(screens, answers(backend, tasks, SCREEN), strict=True):
        score_button(one, entry["result"] if entry else [], read)
    measure_films(backend, pictures // 3, seed, read)
    return read


def measure_films(backend: BackendClient, films: int, seed: int, read: Read) -> None:
    """Add the scores of new films."""
    drawn = [film(seed + n) for n in range(films)]
    tasks = [film_task(one, n) for n, one in enumerate(drawn)]
    for one, entry in zip(drawn, answers(backend, tasks, SPANS), strict=True):
        score_spans(one, entry["result"] if entry else [], read)


def most(drawn: Page) -> str:
    """Return the shape that a page has most of."""
    return max(SHAPES, key=lambda shape: sum(one.shape == shape for one in drawn.figures))


def _ask(
    backend: BackendClient,
    pages: Sequence[Page],
    config: str,
    score: Callable[[Page, Sequence[dict[str, Any]], Read], None],
    read: Read,
) -> None:
    entries = answers(backend, [task(one, n) for n, one in enumerate(pages)], config)
    for drawn, entry in zip(pages, entries, strict=True):
        score(drawn, entry["result"] if entry else [], read)


def rows(read: Read) -> list[Row]:
    """Return the measurements with their goals."""
    exact = [off == 0 for off in read.counts]
    near = [abs(off) <= 1 for off in read.counts]
    listed = (
        ("lines found and read exactly", read.lines, 0.70),
        ("regions that are a line, read exactly", read.extra, 0.70),
        ("fields", read.fields, 0.80),
        ("choices", read.choices, 0.90),
        ("counts exact", exact, 0.80),
        ("counts off by at most one", near, 0.80),
        ("buttons, point inside", read.buttons, 0.85),
        ("shapes not in a film, left out", read.away, 0.90),
        ("absent fields and choices left empty", read.absent, 0.90),
    )
    spans = ("spans in films, mean IoU", sum(read.spans) / max(1, len(read.spans)), 0.70)
    return [(*spans, len(read.spans))] + [
        (name, sum(flags) / max(1, len(flags)), goal, len(flags)) for name, flags, goal in listed
    ]


@click.command()
@click.option("--pictures", default=150, show_default=True, help="How many of each kind.")
@click.option("--seed", default=FIRST_SEED, show_default=True, help="The first picture's seed.")
@click.option("--model", default=str(READING), show_default=True, help="The checkpoint.")
def main(pictures: int, seed: int, model: str) -> None:
    """Measure the reading checkpoint; exit 1 if a goal is missed."""
    from benchmarks.accuracy.shapes import report

    console = Console()
    with local_backend(model=model) as backend:
        with console.status("starting") as status:
            backend.wait_ready(status.update)
        read = measure(backend, pictures, seed)
    table, reached = report(rows(read), title="The reading checkpoint, through /predict")
    off = sum(map(abs, read.counts)) / max(1, len(read.counts))
    console.print(table)
    console.print(f"Counts are off by {off:.2f} on average.")
    sys.exit(0 if reached else 1)


if __name__ == "__main__":
    main()
