"""From scenes to tensors: several questions share one picture.

A row is one picture followed by several segments, each a question and its answer. A segment attends
to the picture and itself but to no other segment, and its positions start where the picture ends.
So the model computes the picture once, and each segment as if it were alone.
"""

from __future__ import annotations

import random
import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch.utils.data import IterableDataset

from grounding.geometry import Box, Frame, PixelBounds, Point, image_frame, model_frame
from tools.shapes import tokens
from tools.shapes.model import FACTOR, MAX_PIXELS, MERGE, MIN_PIXELS, PATCH
from tools.shapes.names import said
from tools.shapes.places import box_of
from tools.shapes.questions import Case, answer, pose
from tools.shapes.scenes import NAMES, Scene, scene

BIN = 4
"""Pixels of the model frame in one bin of a box edge, which helper heads predict."""
BINS = 56
NOTHING = len(NAMES)
GONE, UNSAID = -1, -2

TRAINING_SIDES = (90, 480)
"""Smaller than the product's pictures, for speed; larger ones would be reduced anyway."""

MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
SYSTEM_SHARE = 0.1
POOL = 8
DIGIT_WEIGHT = 1.0
OTHER_WEIGHT = 0.4


@dataclass(frozen=True, slots=True)
class Row:
    """One picture with its segments; arrays over the L tokens of the row, N image tokens."""

    ids: np.ndarray  # (L,) token ids
    places: np.ndarray  # (3, L) time, row, column positions
    segments: np.ndarray  # (L,) 0 for the picture, then 1, 2, …
    weights: np.ndarray  # (L,) weight of the loss on this token, 0 for what is given
    asked: np.ndarray  # (L,) after a name, and on answers about one, its index in NAMES, or -1
    goals: np.ndarray  # (L, 4) bins of the box that is meant here, GONE for none, UNSAID elsewhere
    spots: np.ndarray  # (L, 4) after a place in a question its bins, UNSAID elsewhere
    items: np.ndarray  # (L,) on answers index in NAMES of the thing told, NOTHING at the end
    extents: np.ndarray  # (L, 4) there its bins, UNSAID elsewhere
    ranks: np.ndarray  # (L,) after a name its rank among those here, or 0; on answers that told
    patches: np.ndarray  # (4N, 1176)
    grid: tuple[int, int, int]  # 1, rows, columns of patches
    names: np.ndarray  # (N,) index into NAMES under each image token, or NOTHING
    edges: np.ndarray  # (N, 4) bins of the enclosing box


@dataclass(frozen=True, slots=True)
class Batch:
    """B rows padded to L tokens; their patches and helper truths are concatenated."""

    ids: torch.Tensor  # (B, L)
    places: torch.Tensor  # (3, B, L)
    mask: torch.Tensor  # (B, 1, L, L), true where a query sees a key
    weights: torch.Tensor  # (B, L)
    asked: torch.Tensor  # (B, L)
    goals: torch.Tensor  # (B, L, 4)
    spots: torch.Tensor  # (B, L, 4)
    items: torch.Tensor  # (B, L)
    extents: torch.Tensor  # (B, L, 4)
    ranks: torch.Tensor  # (B, L)
    patches: torch.Tensor  # (sum of 4N, 1176)
    grids: torch.Tensor  # (B, 3)
    names: torch.Tensor  # (sum of N,)
    edges: torch.Tensor  # (sum of N, 4)
    rows: torch.Tensor  # (sum of N,)
    columns: torch.Tensor  # (sum of N,)


def seen_at(width: int, height: int) -> Frame:
    """Return the model frame of a picture of `width` by `height` pixels."""
    return model_frame(image_frame(width, height), PixelBounds(FACTOR, MIN_PIXELS, MAX_PIXELS))


def patches(picture: Image.Image) -> np.ndarray:
    """Return the (4N, 1176) patches of a `picture` whose sides are multiples of FACTOR."""
    still = still_patches(picture)
    return np.repeat(still, 2, axis=2).reshape(len(still), -1)  # a still is two equal frames


def still_patches(picture: Image.Image) -> np.ndarray:
    """Return the (4N, 3, 1, 196) patches of a `picture` as one frame."""
    pixels = (np.asarray(picture, np.float32) / 255 - MEAN) / STD
    rows, columns = picture.height // PATCH, picture.width // PATCH
    cut = pixels.reshape(rows // MERGE, MERGE, PATCH, columns // MERGE, MERGE, PATCH, 3)
    return cut.transpose(0, 3, 1, 4, 6, 2, 5).reshape(rows * columns, 3, 1, PATCH * PATCH)


def make_row(seed: int, questions: int) -> Row:
    """Return the training row of `seed`, with `questions` about one picture."""
    rng = random.Random(seed)
    drawn = scene(rng.getrandbits(62), TRAINING_SIDES)
    frame = seen_at(drawn.width, drawn.height)
    wide, high = int(frame.width), int(frame.height)
    picture = drawn.draw().resize((wide, high), Image.Resampling.BICUBIC)
    head = _picture_ids(wide // FACTOR * (high // FACTOR), rng.random() < SYSTEM_SHARE)
    segments = [_segment(drawn, frame, rng) for _ in range(questions)]
    names, edges = _helper_truth(drawn, frame)
    return Row(
        **_joined(head, (high // FACTOR, wide // FACTOR), segments),
        patches=patches(picture),
        grid=(1, high // PATCH, wide // PATCH),
        names=names,
        edges=edges,
    )


def collate(rows: list[Row]) -> Batch:
    """Return `rows` as one batch, padded on the right."""
    length = max(len(row.ids) for row in rows)
    grids = torch.tensor([row.grid for row in rows])
    cells = [np.indices((r // MERGE, c // MERGE)).reshape(2, -1) for _, r, c in grids.tolist()]
    spots = torch.from_numpy(np.concatenate(cells, axis=1))
    segments = pad([row.segments for row in rows], length, -1)
    return Batch(
        ids=pad([row.ids for row in rows], length, 0),
        places=torch.stack([pad([r.places[k] for r in rows], length, 0) for k in range(3)]),
        mask=sight(segments),
        weights=pad([row.weights for row in rows], length, 0),
        asked=pad([row.asked for row in rows], length, -1),
        goals=pad([row.goals for row in rows], length, UNSAID),
        spots=pad([row.spots for row in rows], length, UNSAID),
        items=pad([row.items for row in rows], length, UNSAID),
        extents=pad([row.extents for row in rows], length, UNSAID),
        ranks=pad([row.ranks for row in rows], length, UNSAID),
        patches=torch.from_numpy(np.concatenate([row.patches for row in rows])),
        grids=grids,
        names=torch.from_numpy(np.concatenate([row.names for row in rows])),
        edges=torch.from_numpy(np.concatenate([row.edges for row in rows])),
        rows=spots[0],
        columns=spots[1],
    )


class Stream(IterableDataset[Batch]):
    """Endless batches from number `start`; a number always gives the same batch."""

    def __init__(self, start: int, pictures: int, questions: int) -> None:
        self.start, self.pictures, self.questions = start, pictures, questions

    def __iter__(self) -> Iterator[Batch]:
        pool, skipped = divmod(self.start, POOL)
        while True:
            yield from map(collate, self._pool(pool)[skipped:])
            pool, skipped = pool + 1, 0

    def _pool(self, number: int) -> list[list[Row]]:
        """Return `POOL` batches of rows of similar length, so that they have little padding."""
        count = POOL * self.pictures
        seeds = range(number * count, (number + 1) * count)
        rows = sorted((make_row(seed, self.questions) for seed in seeds), key=lambda r: len(r.ids))
        cuts = [rows[k : k + self.pictures] for k in range(0, count, self.pictures)]
        random.Random(number).shuffle(cuts)
        return cuts


@lru_cache(maxsize=100_000)
def _encode(text: str) -> tuple[int, ...]:
    return tuple(tokens.tokenizer()(text, add_special_tokens=False)["input_ids"])


def _picture_ids(count: int, system: bool) -> list[int]:
    opening = f"{tokens.TURN_START}system\n{tokens.SYSTEM}{tokens.TURN_END}\n" if system else ""
    opening += f"{tokens.TURN_START}user\n{tokens.VISION_START}"
    (image,) = _encode(tokens.IMAGE)
    return [*_encode(opening), *[image] * count, *_encode(tokens.VISION_END)]


@dataclass(frozen=True, slots=True)
class Segment:
    """One question and its answer as token ids, and the truths for the helper heads."""

    given: tuple[int, ...]
    told: tuple[int, ...]
    hints: dict[str, np.ndarray]  # asked, goals, spots, items and extents over the tokens of both


def _segment(drawn: Scene, frame: Frame, rng: random.Random) -> Segment:
    case = pose(drawn, frame, rng)
    text = f"{case.prompt}{tokens.TURN_END}\n{tokens.TURN_START}assistant\n"
    given = tokens.tokenizer()(text, add_special_tokens=False, return_offsets_mapping=True)
    text = answer(case, drawn, frame) + tokens.TURN_END
    told = tokens.tokenizer()(text, add_special_tokens=False, return_offsets_mapping=True)
    given_ends, told_ends = ([end for _, end in part["offset_mapping"]] for part in (given, told))
    hints = _hints(case, drawn, frame, given_ends, len(told_ends))
    hints |= _items(case, drawn, frame, len(given_ends), told_ends, text)
    hints["ranks"] = np.concatenate([_ranks(case, given_ends), hints.pop("ordinals")])
    return Segment(tuple(given["input_ids"]), tuple(told["input_ids"]), hints)


def _items(
    case: Case, drawn: Scene, frame: Frame, before: int, ends: list[int], text: str
) -> dict[str, np.ndarray]:
    """Return the thing of each answer token; separators belong to the next thing."""
    items = np.full(before + len(ends), UNSAID)
    extents = np.full((len(items), 4), UNSAID)
    limits = [brace.end() for brace in re.finditer("}", text)]
    ordinals = np.array([1 + bisect_left(limits, end) for end in ends])
    for index, end in enumerate(ends, before):
        number = bisect_left(limits, end)
        thing = case.things[number] if number < len(limits) else None
        items[index] = NAMES.index(thing.name) if thing else NOTHING
        if thing:
            extents[index] = _bins(box_of(thing, drawn).to(frame))
    return {"items": items, "extents": extents, "ordinals": ordinals}


def _ranks(case: Case, ends: list[int]) -> np.ndarray:
    """Return after each name of a list its rank in the answer; 0 for an absent one."""
    ranks = np.full(len(ends), UNSAID)
    told = [thing.name for thing in case.things]
    if case.ask.around or case.sought or told != [n for n in case.names if n in told]:
        return ranks
    for name in case.names:
        for found in re.finditer(re.escape(said(name, case.tongue)), case.prompt):
            after = bisect_left(ends, found.end()) + 1
            ranks[after] = 1 + told.index(name) if name in told else 0
    return ranks


def _hints(
    case: Case, drawn: Scene, frame: Frame, ends: list[int], told: int
) -> dict[str, np.ndarray]:
    """Return the truths for helper heads, each at the token after the one that predicts it.

    The loss of a next token is at the same position. `ends` are the offsets at which the tokens
    of the prompt end, and `told` is the number of tokens of the answer.
    """
    count = len(ends) + told
    asked = np.full(count, -1)
    goals, spots = np.full((count, 4), UNSAID), np.full((count, 4), UNSAID)
    for name in case.names:
        thing = drawn.named(name)
        for found in re.finditer(re.escape(said(name, case.tongue)), case.prompt):
            after = bisect_left(ends, found.end()) + 1
            asked[after] = NAMES.index(name)
            goals[after] = _bins(box_of(thing, drawn).to(frame)) if thing else GONE
    goal = _bins(box_of(case.things[0], drawn).to(frame)) if case.things else GONE
    if case.ask.around:
        after = bisect_left(ends, case.prompt.index("]") + 1) + 1
        spots[after], goals[after] = _spot_bins(case.ask.around.to(frame)), goal
    if case.sought:
        word = said(case.sought, case.spoken)
        after = bisect_left(ends, case.prompt.index(word) + len(word)) + 1
        asked[after], goals[after] = NAMES.index(case.sought), goal
    one = case.sought or (case.names[0] if len(case.names) == 1 else "")
    if one:
        asked[len(ends) :] = NAMES.index(one)
    if one or case.ask.around:
        goals[len(ends) :] = goal
    return {"asked": asked, "goals": goals, "spots": spots}


def _joined(
    head: list[int], cells: tuple[int, int], segments: list[Segment]
) -> dict[str, np.ndarray]:
    """Return the token arrays of a `Row`: a picture, questions and answers."""
    start = _head_places(len(head) - 1 - cells[0] * cells[1], cells)
    parts = [_given(np.array(head), start, 0)]
    for number, segment in enumerate(segments, 1):
        count = len(segment.given) + len(segment.told)
        places = np.tile(np.arange(count) + start.max() + 1, (3, 1))
        part = _given(np.array(segment.given + segment.told), places, number)
        part["weights"][len(segment.given) :] = _weigh(segment.told)
        parts.append(part | segment.hints)
    joined = {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}
    return joined | {"places": joined["places"].T}


def _given(ids: np.ndarray, places: np.ndarray, number: int) -> dict[str, np.ndarray]:
    """Return the token arrays of segment `number`, without any truths."""
    count = len(ids)
    return {
        "ids": ids,
        "places": places.T,
        "segments": np.full(count, number),
        "weights": np.zeros(count, np.float32),
        "asked": np.full(count, -1),
        "goals": np.full((count, 4), UNSAID),
        "spots": np.full((count, 4), UNSAID),
        "items": np.full(count, UNSAID),
        "extents": np.full((count, 4), UNSAID),
        "ranks": np.full(count, UNSAID),
    }


def _head_places(before: int, cells: tuple[int, int]) -> np.ndarray:
    """Return (3, tokens) positions of `before` texts, the picture's cells and one text more."""
    rows, columns = np.indices(cells).reshape(2, -1)
    image = np.stack([np.zeros_like(rows), rows, columns]) + before
    text = np.tile(np.arange(before), (3, 1))
    return np.concatenate([text, image, np.full((3, 1), before + max(cells))], axis=1)


@lru_cache(maxsize=1)
def _hard() -> np.ndarray:
    """Return the token ids that decide: digits, and those for an item or for none."""
    decisions = ['\n[\n\t{"', "\n[]\n```", '"},\n\t{"', '"}\n]\n```']
    return np.array([i for text in [*"0123456789", *decisions] for i in _encode(text)])


def _weigh(told: tuple[int, ...]) -> np.ndarray:
    hard = np.isin(told, _hard())
    return np.where(hard, DIGIT_WEIGHT, OTHER_WEIGHT).astype(np.float32)


def _helper_truth(drawn: Scene, frame: Frame) -> tuple[np.ndarray, np.ndarray]:
    """Return the name (N,) and the box in bins (N, 4) of the thing at each image token."""
    cells = int(frame.height) // FACTOR, int(frame.width) // FACTOR
    middle_y, middle_x = (np.indices(cells) + 0.5) * FACTOR
    names, edges = np.full(cells, NOTHING), np.zeros((*cells, 4), int)
    for thing in drawn.things:
        box = box_of(thing, drawn).to(frame)
        near = (np.abs(middle_x - box.center.x) <= box.width / 2 + 8) & (
            np.abs(middle_y - box.center.y) <= box.height / 2 + 8
        )
        names[near] = NAMES.index(thing.name)
        edges[near] = _bins(box)
    return names.reshape(-1), edges.reshape(-1, 4)


def _bins(box: Box) -> np.ndarray:
    corners = np.array([box.x1, box.y1, box.x2, box.y2])
    bins: np.ndarray = np.minimum(corners // BIN, BINS - 1).astype(int)
    return bins


def _spot_bins(spot: Point | Box) -> np.ndarray:
    ends = (spot.x, spot.y) if isinstance(spot, Point) else (spot.x1, spot.y1)
    others = ends if isinstance(spot, Point) else (spot.x2, spot.y2)
    return _bins(Box(*ends, *others, spot.frame))


def pad(arrays: list[np.ndarray], length: int, value: int) -> torch.Tensor:
    """Return arrays as one of (B, length, …), filled with `value` behind the end of each."""
    out = np.full((len(arrays), length, *arrays[0].shape[1:]), value, arrays[0].dtype)
    for row, array in zip(out, arrays, strict=True):
        row[: len(array)] = array
    return torch.from_numpy(out)


def sight(segments: torch.Tensor) -> torch.Tensor:
    """Return a (B, 1, L, L) mask: tokens attend to earlier ones of picture and own segment."""
    query, key = segments[:, :, None], segments[:, None, :]
    earlier = torch.ones(query.shape[1], key.shape[2], dtype=torch.bool).tril()
    return (((key == 0) | (key == query)) & earlier)[:, None]
