"""From pages to tensors: a picture's questions share it, and none sees another.

Helper truths stand on image tokens (which characters have their middle there, of which line or
field, and where that is) and on answer tokens (which line, field and character is being written).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from PIL import Image
from torch.utils.data import IterableDataset

from grounding.geometry import Box, Frame, Point, image_frame, model_frame
from tools.reading.model import FACTOR, MAX_PIXELS, MIN_PIXELS
from tools.reading.pages import ALPHABET, FIELDS, Page, Print, page
from tools.reading.questions import CHOSEN, STEP, Case, edges, middle, pose, ranked
from tools.reading.tokens import WIDEST, tokenizer
from tools.shapes.batches import still_patches
from tools.shapes.model import PATCH
from tools.shapes.scenes import COLOURS, SHAPES
from tools.shapes.tokens import IMAGE, TURN_END, TURN_START, VISION_END, VISION_START

SLOTS = 3
"""Most characters whose middles are in one image token; further ones are not told."""
BLANK = len(ALPHABET)
NO_KIND = len(SHAPES) * len(COLOURS)
MOST_RANK, MOST_INDEX, PARTS = 14, 16, 2 * len(FIELDS)
BINS = WIDEST // STEP + 1
KEPT = 1200
"""Rows that are kept to be learnt from again."""
UNSAID = -100
"""What cross entropy leaves out."""

SHARES = {"lines": 0.3, "dense": 0.12, "receipt": 0.28, "count": 0.2, "single": 0.1}
LOOKED_AT = {"dense": 0.75, "receipt": 0.1, "count": 0.1, "single": 0.05}
"""Shares of the kinds of pages: of those that are asked about, and of those only looked at."""
FIXED = (
    *('],\n        "text_content": "', '```json\n{\n  "', '```json\n[\n\t{"point_2d": ['),
    *(*CHOSEN, *FIELDS),
)
FIXED_WEIGHT = 0.2
"""Of the loss on pieces that follow from those before them."""


@dataclass(frozen=True, slots=True)
class Row:
    """One picture with its questions; arrays over its L tokens, of which N are of the image."""

    ids: np.ndarray  # (L,)
    places: np.ndarray  # (L, 3) time, row, column positions
    segments: np.ndarray  # (L,) 0 for the picture, then 1, 2, …
    weights: np.ndarray  # (L,) of the loss on this token
    told: np.ndarray  # (L, 3) of answer tokens: rank, field and index
    patches: np.ndarray  # (4N, 588), of one frame
    grid: tuple[int, int, int]
    chars: np.ndarray  # (N, SLOTS) characters with their middles here
    facts: np.ndarray  # (N, 4) kind of the figure, rank, part and index of the first character
    extents: np.ndarray  # (N, 4) bins of the line's box, or of the figure's middle


@dataclass(frozen=True, slots=True)
class Batch:
    """B rows padded to L tokens; what belongs to image tokens is concatenated."""

    ids: torch.Tensor
    places: torch.Tensor  # (3, B, L)
    mask: torch.Tensor  # (B, 1, L, L)
    weights: torch.Tensor
    told: torch.Tensor
    patches: torch.Tensor
    grids: torch.Tensor
    chars: torch.Tensor
    facts: torch.Tensor
    extents: torch.Tensor


def seen_at(width: int, height: int) -> Frame:
    """Return the model frame of a picture of `width` by `height` pixels."""
    return model_frame(image_frame(width, height), FACTOR, MIN_PIXELS, MAX_PIXELS)


def make_row(seed: int, kinds: dict[str, float] = SHARES) -> Row:
    """Return the training row of `seed`."""
    rng = random.Random(seed)
    drawn = page(rng.getrandbits(62), rng.choices(list(kinds), list(kinds.values()))[0])
    frame = seen_at(drawn.width, drawn.height)
    wide, high = int(frame.width), int(frame.height)
    picture = drawn.draw().resize((wide, high), Image.Resampling.BICUBIC)
    cells = high // FACTOR, wide // FACTOR
    cases = pose(drawn, frame, rng)
    chars, facts, extents = _seen(drawn, frame, cells, cases)
    return Row(
        **_joined(cells, cases),
        patches=still_patches(picture).reshape(-1, 3 * PATCH**2),
        grid=(1, high // PATCH, wide // PATCH),
        chars=chars,
        facts=facts,
        extents=extents,
    )


def collate(rows: list[Row]) -> Batch:
    """Return `rows` as one batch, padded on the right."""
    length = max(len(row.ids) for row in rows)
    segments = _padded([row.segments for row in rows], length, -1)
    return Batch(
        ids=_padded([row.ids for row in rows], length, 0),
        places=_padded([row.places for row in rows], length, 0).permute(2, 0, 1),
        mask=_sight(segments),
        weights=_padded([row.weights for row in rows], length, 0),
        told=_padded([row.told for row in rows], length, UNSAID),
        patches=torch.from_numpy(np.concatenate([row.patches for row in rows])),
        grids=torch.tensor([row.grid for row in rows]),
        chars=torch.from_numpy(np.concatenate([row.chars for row in rows])),
        facts=torch.from_numpy(np.concatenate([row.facts for row in rows])),
        extents=torch.from_numpy(np.concatenate([row.extents for row in rows])),
    )


class Stream(IterableDataset[Batch]):
    """Endless batches from number `start`: a third of each is new, the rest comes back from before.

    On a busy core, drawing a page takes a third as long as learning from it.
    """

    def __init__(self, start: int, pictures: int, kinds: dict[str, float]) -> None:
        self.start = start
        self.pictures = pictures
        self.kinds = kinds

    def __iter__(self) -> Iterator[Batch]:
        known: deque[Row] = deque(maxlen=KEPT)
        for number in count(self.start):
            rng = random.Random(number)
            fresh = self.pictures // 3 if len(known) >= KEPT // 2 else self.pictures
            first = number * self.pictures
            rows = [make_row(seed, self.kinds) for seed in range(first, first + fresh)]
            again = rng.sample(known, self.pictures - fresh)
            known.extend(rows)
            yield collate([*rows, *again])


def encode(text: str) -> list[int]:
    """Return the token ids of a text."""
    return list(tokenizer()(text, add_special_tokens=False)["input_ids"])


def _joined(cells: tuple[int, int], cases: list[Case]) -> dict[str, np.ndarray]:
    (image,) = encode(IMAGE)
    size = cells[0] * cells[1]
    head = [*encode(f"{TURN_START}user\n{VISION_START}"), *[image] * size, *encode(VISION_END)]
    before = len(head) - 1 - size
    start = _head_places(before, cells)
    parts = [_part(head, start, 0)]
    for number, case in enumerate(cases, 1):
        given = encode(f"{case.prompt}{TURN_END}\n{TURN_START}assistant\n")
        told = [*encode(case.answer), *encode(TURN_END)]
        places = np.tile(np.arange(len(given) + len(told)) + start.max() + 1, (3, 1))
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


def _head_places(before: int, cells: tuple[int, int]) -> np.ndarray:
    """Return (3, tokens) positions of `before` texts, the picture's cells and one text more."""
    rows, columns = np.indices(cells).reshape(2, -1)
    image = np.stack([np.zeros_like(rows), rows, columns]) + before
    text = np.tile(np.arange(before), (3, 1))
    return np.concatenate([text, image, np.full((3, 1), before + max(cells))], axis=1)


def _seen(
    drawn: Page, frame: Frame, cells: tuple[int, int], cases: list[Case]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the helper truths of the image tokens, row by row."""
    chars = np.full((*cells, SLOTS), BLANK)
    facts = np.full((*cells, 4), UNSAID)
    facts[..., 0] = NO_KIND
    extents = np.full((*cells, 4), UNSAID)
    for rank, one in enumerate(drawn.prints):
        _print(one, rank, drawn, frame, (chars, facts, extents))
    for shape in SHAPES:
        for rank, figure in enumerate(ranked(drawn, shape, frame)):
            box = Box(*figure.box, image_frame(drawn.width, drawn.height)).to(frame)
            x, y = middle(figure, drawn, frame)
            kind = SHAPES.index(shape) * len(COLOURS) + list(COLOURS).index(figure.colour)
            row, column = int(box.center.y // FACTOR), int(box.center.x // FACTOR)
            facts[row, column] = (kind, rank, UNSAID, UNSAID)
            extents[row, column, :2] = (x // STEP, y // STEP)
            if drawn.kind == "single":
                _spread(kind, box, facts)
    size = cells[0] * cells[1]
    return chars.reshape(size, -1), facts.reshape(size, -1), extents.reshape(size, -1)


def _spread(kind: int, box: Box, facts: np.ndarray) -> None:
    """Tell the kind of a large figure on every image token whose middle is in its box."""
    middle_y, middle_x = (np.indices(facts.shape[:2]) + 0.5) * FACTOR
    inside = (np.abs(middle_x - box.center.x) < box.width / 2) & (
        np.abs(middle_y - box.center.y) < box.height / 2
    )
    facts[inside, 0] = kind


def _print(
    one: Print,
    rank: int,
    drawn: Page,
    frame: Frame,
    truths: tuple[np.ndarray, np.ndarray, np.ndarray],
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
        if slot == 0:
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


def _padded(arrays: list[np.ndarray], length: int, value: int) -> torch.Tensor:
    out = np.full((len(arrays), length, *arrays[0].shape[1:]), value, arrays[0].dtype)
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return torch.from_numpy(out)


def _sight(segments: torch.Tensor) -> torch.Tensor:
    """Return a (B, 1, L, L) mask: tokens attend to earlier ones of picture and own segment."""
    query, key = segments[:, :, None], segments[:, None, :]
    earlier = torch.ones(query.shape[1], key.shape[2], dtype=torch.bool).tril()
    return (((key == 0) | (key == query)) & earlier)[:, None]
