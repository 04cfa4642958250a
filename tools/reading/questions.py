"""Questions about a page in the product's wordings, and their right answers.

Lines are answered from top to bottom, and counted things in the order of the image tokens that
hold their middles, so that each question has one right answer. Coordinates are rounded to `STEP`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from grounding.geometry import Box, Frame, Point, image_frame
from grounding.queries import (
    CHOICE,
    Act,
    Count,
    Field,
    Fill,
    FindSpans,
    Query,
    TextUnit,
    Transcribe,
    ValueKind,
    ValueType,
)
from grounding.qwen.queries import act, count, fill, spans, transcribe
from tools.reading.films import standing
from tools.reading.pages import BUTTONS, FIELDS, Button, Figure, Page, Print
from tools.shapes.films import Film
from tools.shapes.scenes import COLOURS, SHAPES

STEP = 4
FACTOR = 28
TEXT = ValueType(ValueKind.TEXT)
RECEIPT = tuple(Field(name, type=TEXT) for name in FIELDS)
CHOSEN = {
    "shape": Field("shape", choices=SHAPES, type=CHOICE),
    "colour": Field("colour", choices=tuple(COLOURS), type=CHOICE),
}


@dataclass(frozen=True, slots=True)
class Case:
    """A question about a page, and its answer in pieces: text, item, field, and index in it.

    The item is the rank of a line or counted thing; field and index belong to characters. -1
    stands for none.
    """

    query: Query
    prompt: str
    pieces: tuple[tuple[str, int, int, int], ...]
    system: str | None = None
    """The text before the picture: equal for all questions about it."""

    @property
    def answer(self) -> str:
        """The answer's text."""
        return "".join(piece[0] for piece in self.pieces)


def lines(page: Page, frame: Frame) -> Case:
    """Return the question for all print of a page of lines."""
    query = Transcribe(TextUnit.LINE, ("Text",))
    prompt = transcribe.write_prompt(query, frame, strict=False)
    if not page.prints:
        return Case(query, prompt, (("```json\n[]\n```", 0, -1, -1),))
    pieces = [('```json\n[\n    {\n        "bbox_2d": [', 0, -1, -1)]
    for rank, one in enumerate(page.prints):
        x1, y1, x2, y2 = edges(one, page, frame)
        pieces += [(f"{n}, ", rank, -1, -1) for n in (x1, y1, x2)] + [(f"{y2}", rank, -1, -1)]
        pieces += [('],\n        "text_content": "', rank, -1, -1)]
        pieces += [(char, rank, -1, k) for k, char in enumerate(one.text)]
        last = rank + 1 == len(page.prints)
        end = '",\n    },\n]\n```' if last else '",\n    },\n    {\n        "bbox_2d": ['
        pieces.append((end, rank, -1, len(one.text)))
    return Case(query, prompt, tuple(pieces))


def fields(page: Page) -> Case:
    """Return the question for the fields of a receipt."""
    return _filled(Fill(RECEIPT), page, dict(enumerate(FIELDS)))


def choices(page: Page, names: tuple[str, ...]) -> Case:
    """Return the question for shape, colour or both of a page's only thing."""
    return _filled(Fill(tuple(CHOSEN[name] for name in names)), page, dict(enumerate(names)))


def counted(page: Page, shape: str, frame: Frame) -> Case:
    """Return the question for the number of a shape."""
    query = Count(f"every {shape}")
    prompt = count.write_prompt(query, frame, "qwen2.5", strict=False)
    found = ranked(page, shape, frame)
    if not found:
        none = ("```json\n[]\n```\n\nThere are ", "0", ".")
        return Case(query, prompt, tuple((piece, 0, -1, -1) for piece in none))
    pieces = [('```json\n[\n\t{"point_2d": [', 0, -1, -1)]
    for rank, figure in enumerate(found):
        x, y = middle(figure, page, frame)
        pieces += [(f"{x}, ", rank, -1, -1), (f"{y}", rank, -1, -1)]
        last = rank + 1 == len(found)
        end = '"}\n]\n```\n\nThere are ' if last else '"},\n\t{"point_2d": ['
        pieces.append((f'], "label": "{shape}{end}', rank, -1, -1))
    pieces += [(f"{len(found)}", len(found), -1, -1), (".", len(found), -1, -1)]
    return Case(query, prompt, tuple(pieces))


def press(name: str) -> Act:
    """Return the query of a screen for the button of a name."""
    return Act(f"Press {name}", ("click", "terminate"))


def pressed(page: Page, name: str, frame: Frame) -> Case:
    """Return the question where the button of a name is; a call that gives up where it is not."""
    query = press(name)
    system = act.write_system(query, frame)
    prompt = act.write_prompt(query)
    call = '<tool_call>\n{"name": "mobile_use", "arguments": {"action": "'
    found = [one for one in page.buttons if one.name == name]
    if not found:
        whole = f'{call}terminate", "status": "failure"}}}}\n</tool_call>'
        return Case(query, prompt, ((whole, -1, -1, -1),), system)
    x, y = middle(found[0], page, frame)
    texts = (f'{call}click", "coordinate": [', f"{x}, ", f"{y}", "]}}\n</tool_call>")
    return Case(query, prompt, tuple((text, -1, -1, -1) for text in texts), system)


def stood(film: Film, shape: str) -> Case:
    """Return the question when a shape stands in a film."""
    query = FindSpans((shape,))
    prompt = spans.write_prompt(query, None, strict=False)
    frames = standing(film, shape)
    if not frames:
        return Case(query, prompt, (("```json\n[]\n```", 0, -1, -1),))
    start, end = frames[0] / film.fps, (frames[-1] + 1) / film.fps
    last = len(frames) - 1
    pieces = (
        ('```json\n[\n\t{"start_time": ', 0, -1, frames[0]),
        (f"{start:.1f}", 0, -1, frames[0]),
        (', "end_time": ', last, -1, frames[-1]),
        (f"{end:.1f}", last, -1, frames[-1]),
        ("}\n]\n```", -1, -1, -1),
    )
    return Case(query, prompt, pieces)


def center(figure: Figure | Button, page: Page, frame: Frame) -> Point:
    """Return the center of a figure's box in the model's frame."""
    return Box(*figure.box, image_frame(page.width, page.height)).center.to(frame)


def ranked(page: Page, shape: str, frame: Frame) -> list[Figure]:
    """Return the figures of a shape in the order of the image tokens of their middles."""

    def cell(figure: Figure) -> tuple[int, int, float]:
        at = center(figure, page, frame)
        return int(at.y // FACTOR), int(at.x // FACTOR), at.x

    return sorted((one for one in page.figures if one.shape == shape), key=cell)


def edges(one: Print, page: Page, frame: Frame) -> tuple[int, ...]:
    """Return the box of a line in the model's frame, rounded to `STEP`."""
    box = Box(*one.box, image_frame(page.width, page.height)).to(frame).clip()
    return tuple(STEP * round(n / STEP) for n in (box.x1, box.y1, box.x2, box.y2))


def middle(figure: Figure | Button, page: Page, frame: Frame) -> tuple[int, int]:
    """Return the middle of a figure in the model's frame, rounded to `STEP`."""
    at = center(figure, page, frame)
    return STEP * round(at.x / STEP), STEP * round(at.y / STEP)


def pose(page: Page, frame: Frame, rng: random.Random) -> list[Case]:
    """Return the questions of a training picture."""
    names = rng.choice((("shape",), ("colour",), ("shape", "colour")))
    if page.kind in ("lines", "dense"):
        return [lines(page, frame)]
    if page.kind == "receipt":
        return [fields(page)]
    if page.kind == "single":
        return [choices(page, names)]
    if page.kind == "screen":
        here = [one.name for one in page.buttons]
        absent = rng.choice([name for name in BUTTONS if name not in here])
        return [pressed(page, name, frame) for name in (*here, absent)]
    main = max(SHAPES, key=lambda shape: sum(one.shape == shape for one in page.figures))
    other = rng.choice([s for s in SHAPES if s != main])
    asked = (main, other) if rng.random() < 0.4 else (main,)
    return [counted(page, shape, frame) for shape in asked]


def _filled(query: Fill, page: Page, names: dict[int, str]) -> Case:
    pieces = [('```json\n{\n  "', -1, -1, -1)]
    for number, name in names.items():
        value, last = page.values.get(name), number + 1 == len(names)
        which = FIELDS.index(name) if name in FIELDS else -1
        pieces.append((name, -1, which, -1))
        if value is None:
            pieces.append(('": null' + ("\n}\n```" if last else ',\n  "'), -1, which, -1))
            continue
        pieces.append(('": "', -1, which, -1))
        parts = value if name in FIELDS else (value,)
        pieces += [(char, -1, which, k) for k, char in enumerate(parts)]
        pieces.append(('"\n}\n```' if last else '",\n  "', -1, which, len(parts)))
    return Case(query, fill.write_prompt(query), tuple(pieces))
