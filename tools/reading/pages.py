"""Random pictures of print and shapes, with the truth of each.

A `Page` is plain data made from a seed: the same seed gives the same picture. All places are in
pixels of the picture. A page has one of five kinds: lines of print, a receipt of up to three
fields, many small shapes to count, one large shape, or a screen of buttons.
"""

from __future__ import annotations

import math
import random
import string
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import cast

from PIL import Image, ImageDraw, ImageFont

from tools.shapes.scenes import COLOURS, OUTLINES, SHAPES, Corners, Rgb

ALPHABET = string.ascii_uppercase + string.digits + ".-"
LETTERS = "".join(sorted(set(string.ascii_uppercase) - {"I", "O"}))
"""What random texts have: in several fonts, I and O look like the digits 1 and 0."""
FIELDS = ("shop", "date", "total")
BUTTONS = ("SAVE", "SEND", "STOP", "PLAY", "HELP", "BACK", "NEXT", "EDIT", "COPY", "UNDO")
"""What is written on the buttons of screens."""
FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansMono", "")
"""Files in `fonts`; the empty name is the one that comes with Pillow."""

AREA = 50 * 28**2
"""About the area at which the model sees a page, in pixels: sizes below are for this area."""

ASPECTS = {"receipt": (1.25, 2.0), "screen": (0.6, 1.6)}
"""Least and largest width of a page for its height, where it is not 1 to 2."""

MOST_COUNTED = 12
SCALES = (0.9, 2.0)
TRIES = 60


@dataclass(frozen=True, slots=True)
class Print:
    """One printed line: `spans` are the left and right ends of each character."""

    text: str
    font: str
    size: int
    at: tuple[float, float]
    ink: Rgb
    box: Corners
    spans: tuple[tuple[float, float], ...]
    name: str = ""
    """Which field this is the value of, or "key total" for what names one; empty elsewhere."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One coloured shape that fills its box."""

    colour: str
    shape: str
    box: Corners
    paint: Rgb


@dataclass(frozen=True, slots=True)
class Button:
    """One button of a screen: a filled rectangle around its name."""

    name: str
    box: Corners
    paint: Rgb


@dataclass(frozen=True, slots=True)
class Page:
    """A picture of `width` by `height` pixels, and what is on it."""

    kind: str
    width: int
    height: int
    ground: Rgb
    prints: tuple[Print, ...] = ()
    figures: tuple[Figure, ...] = ()
    buttons: tuple[Button, ...] = ()
    values: dict[str, str | None] = field(default_factory=dict)

    def draw(self) -> Image.Image:
        """Return the RGB picture."""
        picture = Image.new("RGB", (self.width, self.height), self.ground)
        pen = ImageDraw.Draw(picture)
        for button in self.buttons:
            pen.rounded_rectangle(button.box, (button.box[3] - button.box[1]) / 6, button.paint)
        for one in self.prints:
            pen.text(one.at, one.text, one.ink, typeface(one.font, one.size))
        for figure in self.figures:
            x1, y1, x2, y2 = figure.box
            corners = OUTLINES[figure.shape]
            pen.polygon(
                [(x1 + u * (x2 - x1 - 1), y1 + v * (y2 - y1 - 1)) for u, v in corners],
                fill=figure.paint,
            )
        return picture


@lru_cache(maxsize=1000)
def typeface(name: str, size: int) -> ImageFont.FreeTypeFont:
    """Return a font at `size` pixels."""
    if not name:
        return cast(ImageFont.FreeTypeFont, ImageFont.load_default(size))
    return ImageFont.truetype(Path(__file__).parent / "fonts" / f"{name}.ttf", size)


def page(seed: int | str, kind: str) -> Page:
    """Return the page of `seed`: one of `KINDS`."""
    rng = random.Random(f"{kind} {seed}")
    scale = math.exp(rng.uniform(math.log(SCALES[0]), math.log(SCALES[1])))
    low, high = ASPECTS.get(kind, (1.0, 2.0))
    aspect = rng.uniform(low, high)
    size = round(math.sqrt(AREA * aspect) * scale), round(math.sqrt(AREA / aspect) * scale)
    return KINDS[kind](rng, size, scale)


def lines_page(rng: random.Random, size: tuple[int, int], scale: float) -> Page:
    """Return a page with one to four short lines of print."""
    height = size[1]
    rows = min(rng.choice((1, 2, 2, 3, 3, 4)), int(height / (34 * scale)))
    return _with_lines(rng, size, scale, rows)


def dense_page(rng: random.Random, size: tuple[int, int], scale: float) -> Page:
    """Return a page with as many lines of print as it holds."""
    return _with_lines(rng, size, scale, int(size[1] / (34 * scale)), 5)


def _with_lines(
    rng: random.Random, size: tuple[int, int], scale: float, rows: int, least: int = 3
) -> Page:
    width, height = size
    ground = _light(rng)
    prints = []
    for row in range(rows):
        text = "".join(rng.choices(_letters(rng), k=rng.randint(least, 6)))
        font, points = rng.choice(FONTS), round(rng.uniform(24, 32) * scale)
        high, wide = height / rows, typeface(font, points).getlength(text)
        x = rng.uniform(4 * scale, max(4 * scale, width - wide - 4 * scale))
        y = row * high + rng.uniform(2 * scale, max(2 * scale, high - points - 4 * scale))
        prints.append(printed(text, font, points, (x, y), _dark(rng)))
    return Page("lines", width, height, ground, tuple(prints))


def receipt_page(rng: random.Random, size: tuple[int, int], scale: float) -> Page:
    """Return a receipt; each of its fields is there or not."""
    width, height = size
    here = [name for name in FIELDS if rng.random() < 0.75]
    if rng.random() < 0.3:
        rng.shuffle(here)
    font, points, ink = rng.choice(FONTS), round(rng.uniform(21, 25) * scale), _dark(rng)
    face = typeface(font, points)
    values: dict[str, str | None] = dict.fromkeys(FIELDS)
    left, column = rng.uniform(3, 8) * scale, rng.uniform(8, 16) * scale
    column += left + face.getlength("TOTAL")
    pitch = rng.uniform(33, min(45, height / scale / 3)) * scale
    top = rng.uniform(2 * scale, height - pitch * max(1, len(here)))
    prints = []
    for row, name in enumerate(here):
        values[name] = text = _value(name, rng)
        y = top + row * pitch
        prints.append(printed(name.upper(), font, points, (left, y), ink, f"key {name}"))
        prints.append(printed(text, font, points, (column, y), ink, name))
    return Page("receipt", width, height, _light(rng), tuple(prints), values=values)


def count_page(rng: random.Random, size: tuple[int, int], scale: float) -> Page:
    """Return a page of up to twelve small shapes of one kind, and a few of others."""
    main, *others = rng.sample(SHAPES, len(SHAPES))
    wanted = [main] * rng.randint(0, MOST_COUNTED) + rng.choices(others, k=rng.randint(0, 3))
    rng.shuffle(wanted)
    middles: list[tuple[float, float]] = []
    figures = []
    for shape in wanted:
        spot = _free(rng, size, scale, middles)
        if spot is None:
            break
        middles.append(spot)
        colour, side = rng.choice(list(COLOURS)), rng.uniform(18, 25) * scale
        x, y = round(spot[0] - side / 2), round(spot[1] - side / 2)
        box = (x, y, x + round(side), y + round(side))
        figures.append(Figure(colour, shape, box, _paint(rng, colour)))
    return Page("count", *size, _light(rng), figures=tuple(figures))


def single_page(rng: random.Random, size: tuple[int, int], scale: float) -> Page:
    """Return a page with one large shape, or with none."""
    if rng.random() < 0.12:
        return Page("single", *size, _light(rng), values=dict.fromkeys(("shape", "colour")))
    side = round(rng.uniform(40, min(size) / scale - 8) * scale)
    x, y = rng.randint(0, size[0] - side), rng.randint(0, size[1] - side)
    colour, shape = rng.choice(list(COLOURS)), rng.choice(SHAPES)
    figure = Figure(colour, shape, (x, y, x + side, y + side), _paint(rng, colour))
    values: dict[str, str | None] = {"shape": shape, "colour": colour}
    return Page("single", *size, _light(rng), figures=(figure,), values=values)


def screen_page(rng: random.Random, size: tuple[int, int], scale: float) -> Page:
    """Return a screen with up to five buttons in a grid, no two of one name."""
    columns = max(1, int(size[0] / (92 * scale)))
    rows = int(size[1] / (44 * scale))
    count = min(rng.randint(1, 5), columns * rows)
    cells = rng.sample([(x, y) for x in range(columns) for y in range(rows)], count)
    font, points = rng.choice(FONTS), round(rng.uniform(20, 24) * scale)
    wide, high = size[0] / columns, size[1] / rows
    prints, buttons = [], []
    for name, (x, y) in zip(rng.sample(BUTTONS, count), cells, strict=True):
        ink, paint = (_dark(rng), _light(rng)) if rng.random() < 0.5 else (_light(rng), _dark(rng))
        one = printed(name, font, points, (0, 0), ink)
        across, down = one.box[2] - one.box[0], one.box[3] - one.box[1]
        pad = min(rng.uniform(5, 14) * scale, (wide - across) / 2 - 1)
        rise = min(rng.uniform(6, 11) * scale, (high - down) / 2 - 1)
        left = x * wide + rng.uniform(pad, wide - across - pad)
        top = y * high + rng.uniform(rise, high - down - rise)
        at = left - one.box[0], top - one.box[1]
        prints.append(printed(name, font, points, at, ink))
        x1, y1, x2, y2 = prints[-1].box
        box = round(x1 - pad), round(y1 - rise), round(x2 + pad), round(y2 + rise)
        buttons.append(Button(name, box, paint))
    ground = _light(rng)
    return Page("screen", *size, ground, tuple(prints), buttons=tuple(buttons))


KINDS = {
    "lines": lines_page,
    "dense": dense_page,
    "receipt": receipt_page,
    "count": count_page,
    "single": single_page,
    "screen": screen_page,
}


def printed(
    text: str, font: str, size: int, at: tuple[float, float], ink: Rgb, name: str = ""
) -> Print:
    """Return a line whose drawing begins at `at`, with its box and the ends of its characters."""
    face = typeface(font, size)
    at = round(at[0]), round(at[1])
    mask, (x, y) = face.getmask2(text)
    x1, y1, x2, y2 = mask.getbbox()  # without the space around the ink that `getbbox` of fonts has
    box = (at[0] + x + x1, at[1] + y + y1, at[0] + x + x2, at[1] + y + y2)
    ends = [0.0, *(face.getlength(text[: k + 1]) for k in range(len(text)))]
    spans = tuple((at[0] + a, at[0] + b) for a, b in pairwise(ends))
    return Print(text, font, size, at, ink, box, spans, name)


def _value(name: str, rng: random.Random) -> str:
    if name == "shop":
        return "".join(rng.choices(LETTERS, k=rng.randint(3, 5)))
    if name == "date":
        return f"{rng.randint(1, 28):02}-{rng.randint(1, 12):02}"
    return f"{rng.randint(1, 99)}.{rng.randint(0, 99):02}"


def _letters(rng: random.Random) -> str:
    return rng.choice((LETTERS, string.digits, LETTERS + string.digits))


def _free(
    rng: random.Random, size: tuple[int, int], scale: float, taken: list[tuple[float, float]]
) -> tuple[float, float] | None:
    edge, gap = 15 * scale, 27 * scale
    for _ in range(TRIES):
        x, y = rng.uniform(edge, size[0] - edge), rng.uniform(edge, size[1] - edge)
        if all(max(abs(x - a), abs(y - b)) >= gap for a, b in taken):
            return x, y
    return None


def _light(rng: random.Random) -> Rgb:
    return rng.randint(200, 255), rng.randint(200, 255), rng.randint(200, 255)


def _dark(rng: random.Random) -> Rgb:
    return rng.randint(0, 90), rng.randint(0, 90), rng.randint(0, 90)


def _paint(rng: random.Random, colour: str) -> Rgb:
    r, g, b = (min(255, max(0, c + rng.randint(-14, 14))) for c in COLOURS[colour])
    return r, g, b
