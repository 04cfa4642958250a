"""From pages and films to arrays: what is seen of one, with the questions about it.

A row's questions share its pictures, and none sees another. Helper truths stand on image tokens
(which characters have their middle there, of which line or field, and where that is) and on answer
tokens (which line, field and character is being written).
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import numpy as np
from PIL import Image

from grounding.geometry import Box, Frame, PixelBounds, Point, image_frame, model_frame
from grounding.qwen.queries.spans import write_time
from tools.reading.films import FPS, FRAME_TOKENS, film
from tools.reading.model import FACTOR, MAX_PIXELS, MIN_PIXELS
from tools.reading.pages import ALPHABET, BUTTONS, FIELDS, Figure, Page, Print, page
from tools.reading.questions import CHOSEN, STEP, Case, edges, middle, pose, ranked, stood
from tools.reading.tokens import WIDEST, tokenizer
from tools.shapes.batches import still_patches
from tools.shapes.films import Film
from tools.shapes.model import PATCH
from tools.shapes.scenes import COLOURS, SHAPES
from tools.shapes.tokens import IMAGE, TURN_END, TURN_START, VISION_END, VISION_START

SLOTS = 3
"""Most characters whose middles are in one image token; further ones are not told."""
BLANK = len(ALPHABET)
FIRST_BUTTON = len(SHAPES) * len(COLOURS)
NO_KIND = FIRST_BUTTON + len(BUTTONS)
MOST_RANK, MOST_INDEX, PARTS = 14, 16, 2 * len(FIELDS)
BINS = WIDEST // STEP + 1
UNSAID = -100
"""What cross entropy leaves out."""
FIXED = (
    *('],\n        "text_content": "', '```json\n{\n  "'),
    *(*CHOSEN, *FIELDS, "]}}\n</tool_call>", ', "end_time": ', "}\n]\n```"),
)
FIXED_WEIGHT = 0.2
"""Of the loss on pieces that follow from those before them."""


@dataclass(frozen=True, slots=True)
class Row:
    """One picture, or the frames of a film, with questions; L tokens, of which N are of images."""

    ids: np.ndarray  # (L,)
    places: np.ndarray  # (L, 3) time, row, column positions
    segments: np.ndarray  # (L,) 0 for what all questions share, then 1, 2, …
    weights: np.ndarray  # (L,) of the loss on this token
    told: np.ndarray  # (L, 3) of answer tokens: rank, field and index, of a film the frame
    patches: np.ndarray  # (4N, 588), of one frame
    grids: tuple[tuple[int, int, int], ...]  # of each picture
    chars: np.ndarray  # (N, SLOTS) characters with their middles here
    facts: np.ndarray  # (N, 4) kind of what is here, rank, part and index of the first character
    extents: np.ndarray  # (N, 4) bins of the line's box, or of the middle of what is here


Truths = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Characters, facts and extents of the image tokens of one picture, row by row."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture as the model sees it, after its time if it is a frame of a film."""

    picture: Image.Image
    truths: Truths
    time: str = ""

    @property
    def cells(self) -> tuple[int, int]:
        """Rows and columns of its image tokens."""
        return self.picture.height // FACTOR, self.picture.width // FACTOR


def seen_at(width: int, height: int) -> Frame:
    """Return the model frame of a picture of `width` by `height` pixels."""
    return model_frame(image_frame(width, height), PixelBounds(FACTOR, MIN_PIXELS, MAX_PIXELS))


def frame_at(width: int, height: int) -> Frame:
    """Return the model frame of a film of `width` by `height` pixels."""
    most = FRAME_TOKENS * FACTOR**2
    return model_frame(image_frame(width, height), PixelBounds(FACTOR, most, most))


def make_row(seed: int, kinds: dict[str, float]) -> Row:
    """Return the training row of `seed`."""
    rng = random.Random(seed)
    kind, own = rng.choices(list(kinds), list(kinds.values()))[0], rng.getrandbits(62)
    return film_row(film(own)) if kind == "film" else page_row(page(own, kind), rng)


def page_row(drawn: Page, rng: random.Random) -> Row:
    """Return the row of a page."""
    frame = seen_at(drawn.width, drawn.height)
    cases = pose(drawn, frame, rng)
    return _row([Seen(_resized(drawn.draw(), frame), _truths(drawn, frame))], cases)


def film_row(drawn: Film) -> Row:
    """Return the row of a film: when each shape stands in it."""
    frame, ranks = frame_at(*drawn.size), dict.fromkeys(SHAPES, 0)
    frames = []
    for number in range(drawn.frames):
        scene = drawn.scene(number)
        here = [Figure(one.colour, one.shape, one.box, one.paint) for one in scene.things]
        truths = _blank(frame)
        for figure in here:
            _figure(
                figure, ranks[figure.shape], Page("film", *drawn.size, (0, 0, 0)), frame, truths
            )
            ranks[figure.shape] += 1
        truths[1][..., 3][truths[1][..., 0] != NO_KIND] = number
        picture = _resized(scene.draw(), frame)
        frames.append(Seen(picture, _flat(truths), write_time(number / FPS)))
    return _row(frames, [stood(drawn, shape) for shape in SHAPES])


def _row(seen: list[Seen], cases: list[Case]) -> Row:
    chars, facts, extents = (
        np.concatenate(each) for each in zip(*(one.truths for one in seen), strict=True)
    )
    patches = [still_patches(one.picture).reshape(-1, 3 * PATCH**2) for one in seen]
    return Row(
        **_joined(seen, cases),
        patches=np.concatenate(patches),
        grids=tuple((1, one.cells[0] * 2, one.cells[1] * 2) for one in seen),
        chars=chars,
        facts=facts,
        extents=extents,
    )


def _resized(picture: Image.Image, frame: Frame) -> Image.Image:
    size = int(frame.width), int(frame.height)
    return picture.resize(size, Image.Resampling.BICUBIC)


def encode(text: str) -> list[int]:
    """Return the token ids of a text."""
    return list(tokenizer()(text, add_special_tokens=False)["input_ids"])


def _joined(seen: list[Seen], cases: list[Case]) -> dict[str, np.ndarray]:
    parts = [_head(seen, cases[0].system)]
    start = parts[0]["places"].max() + 1
    for number, case in enumerate(cases, 1):
        given = encode(f"{case.prompt}{TURN_END}\n{TURN_START}assistant\n")
        told = [*encode(case.answer), *encode(TURN_END)]
        places = np.tile(np.arange(len(given) + len(told)) + start, (3, 1))
        part = _part([*given, *told], places, number)
        part["weights"][len(given) :] = [_weight(piece[0]) for piece in case.pieces] + [0.2]
        marks = np.array([which for _, *which in case.pieces])
        marks[:, 1] = 2 * marks[:, 1] + 1
        part["told"][len(given) : -1] = np.where(marks < 0, UNSAID, marks)
        parts.append(part)
    return {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}


def _weight(text: str) -> float:
    return FIXED_WEIGHT if text in FIXED else 1.0


def _part(ids: list[int], places: np.ndarray, number: int) -> dict[str, np.ndarray]:
    return {
        "ids": np.array(ids),
        "places": places.T,
        "segments": np.full(len(ids), number),
        "weights": np.zeros(len(ids), np.float32),
        "told": np.full((len(ids), 3), UNSAID),
    }


def _head(seen: list[Seen], system: str | None) -> dict[str, np.ndarray]:
    """Return what all questions share: the system's text and the pictures."""
    (image,) = encode(IMAGE)
    told = f"{TURN_START}system\n{system}{TURN_END}\n" if system else ""
    text = encode(f"{told}{TURN_START}user\n")
    ids, places = list(text), [np.tile(np.arange(len(text)), (3, 1))]
    at = len(text)
    for one in seen:
        before = encode(f"{one.time}{VISION_START}")
        rows, columns = np.indices(one.cells).reshape(2, -1)
        after = at + len(before) + max(one.cells)
        ids += [*before, *[image] * rows.size, *encode(VISION_END)]
        places += [
            np.tile(np.arange(at, at + len(before)), (3, 1)),
            np.stack([np.zeros_like(rows), rows, columns]) + at + len(before),
            np.full((3, 1), after),
        ]
        at = after + 1
    return _part(ids, np.concatenate(places, axis=1), 0)


def _blank(frame: Frame) -> Truths:
    """Return the truths of a picture with nothing on it, by rows and columns."""
    cells = int(frame.height) // FACTOR, int(frame.width) // FACTOR
    facts = np.full((*cells, 4), UNSAID)
    facts[..., 0] = NO_KIND
    return np.full((*cells, SLOTS), BLANK), facts, np.full((*cells, 4), UNSAID)


def _flat(truths: Truths) -> Truths:
    chars, facts, extents = (one.reshape(-1, one.shape[-1]) for one in truths)
    return chars, facts, extents


def _truths(drawn: Page, frame: Frame) -> Truths:
    """Return the helper truths of a page."""
    truths = _blank(frame)
    for rank, one in enumerate(drawn.prints):
        _print(one, rank, drawn, frame, truths)
    for shape in SHAPES:
        for rank, figure in enumerate(ranked(drawn, shape, frame)):
            _figure(figure, rank, drawn, frame, truths)
    for button in drawn.buttons:
        box = Box(*button.box, image_frame(drawn.width, drawn.height)).to(frame)
        inside = _inside(box, truths)
        truths[1][inside, 0] = FIRST_BUTTON + BUTTONS.index(button.name)
        truths[2][inside, :2] = [n // STEP for n in middle(button, drawn, frame)]
    return _flat(truths)


def _figure(figure: Figure, rank: int, drawn: Page, frame: Frame, truths: Truths) -> None:
    """Tell a figure on the image token of its middle, and its kind on all of a large one."""
    _, facts, extents = truths
    box = Box(*figure.box, image_frame(drawn.width, drawn.height)).to(frame)
    x, y = middle(figure, drawn, frame)
    kind = SHAPES.index(figure.shape) * len(COLOURS) + list(COLOURS).index(figure.colour)
    row, column = int(box.center.y // FACTOR), int(box.center.x // FACTOR)
    facts[row, column] = (kind, rank, UNSAID, UNSAID)
    extents[row, column, :2] = (x // STEP, y // STEP)
    if drawn.kind == "single":
        facts[_inside(box, truths), 0] = kind


def _inside(box: Box, truths: Truths) -> np.ndarray:
    """Return for each image token whether its middle is in a box."""
    y, x = (np.indices(truths[0].shape[:2]) + 0.5) * FACTOR
    across, down = np.abs(x - box.center.x), np.abs(y - box.center.y)
    return (across < box.width / 2) & (down < box.height / 2)


def _print(
    one: Print,
    rank: int,
    drawn: Page,
    frame: Frame,
    truths: Truths,
) -> None:
    chars, facts, extents = truths
    image = image_frame(drawn.width, drawn.height)
    y = (one.box[1] + one.box[3]) / 2
    filled: dict[tuple[int, int], int] = {}
    for index, (char, (left, right)) in enumerate(zip(one.text, one.spans, strict=True)):
        at = Point((left + right) / 2, y, image).to(frame)
        row = min(int(at.y // FACTOR), chars.shape[0] - 1)
        column = min(int(at.x // FACTOR), chars.shape[1] - 1)
        slot = filled.get((row, column), 0)
        filled[row, column] = slot + 1
        if slot == 0 and not drawn.buttons:
            extents[row, column] = [n // STEP for n in edges(one, drawn, frame)]
            facts[row, column, 1:] = _place(one, rank, index)
        if slot < SLOTS:
            chars[row, column, slot] = ALPHABET.index(char)


def _place(one: Print, rank: int, index: int) -> tuple[int, int, int]:
    if not one.name:
        return rank, UNSAID, index
    name = one.name.removeprefix("key ")
    part = 2 * FIELDS.index(name) + (name == one.name)
    return UNSAID, part, index
