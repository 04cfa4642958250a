"""Batches of rows, and endless streams of them."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np
import torch
from torch.utils.data import IterableDataset

from tools.reading.rows import UNSAID, Row, make_row
from tools.shapes.batches import pad, sight

KEPT = 1200
"""Rows that are kept to be learnt from again."""
FILM_EVERY = 5
"""One batch in so many is of films, which are longer: half as many fill it."""

SHARES = {
    "lines": 0.24,
    "dense": 0.07,
    "receipt": 0.19,
    "count": 0.32,
    "single": 0.03,
    "screen": 0.15,
}
LOOKED_AT = {"dense": 0.75, "receipt": 0.1, "count": 0.1, "single": 0.05}
"""Shares of the kinds of pages: of those that are asked about, and of those only looked at."""


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


def collate(rows: list[Row]) -> Batch:
    """Return `rows` as one batch, padded on the right."""
    length = max(len(row.ids) for row in rows)
    segments = pad([row.segments for row in rows], length, -1)
    return Batch(
        ids=pad([row.ids for row in rows], length, 0),
        places=pad([row.places for row in rows], length, 0).permute(2, 0, 1),
        mask=sight(segments),
        weights=pad([row.weights for row in rows], length, 0),
        told=pad([row.told for row in rows], length, UNSAID),
        patches=torch.from_numpy(np.concatenate([row.patches for row in rows])),
        grids=torch.tensor([grid for row in rows for grid in row.grids]),
        chars=torch.from_numpy(np.concatenate([row.chars for row in rows])),
        facts=torch.from_numpy(np.concatenate([row.facts for row in rows])),
        extents=torch.from_numpy(np.concatenate([row.extents for row in rows])),
    )


class Stream(IterableDataset[Batch]):
    """Endless batches from number `start`: a third of each is new, the rest comes back from before.

    On a busy core, drawing a page takes a third as long as learning from it.
    """

    def __init__(self, start: int, pictures: int, kinds: dict[str, float], films: int = 0) -> None:
        self.start = start
        self.pictures = pictures
        self.kinds = kinds
        self.films = films
        self.known: tuple[deque[Row], deque[Row]] = deque(maxlen=KEPT), deque(maxlen=KEPT // 2)

    def __iter__(self) -> Iterator[Batch]:
        for number in count(self.start):
            if self.films and number % FILM_EVERY == 0:
                yield self._batch(number, self.films, {"film": 1.0}, self.known[1])
            else:
                yield self._batch(number, self.pictures, self.kinds, self.known[0])

    def _batch(self, number: int, size: int, kinds: dict[str, float], known: deque[Row]) -> Batch:
        fresh = size // 3 if len(known) >= (known.maxlen or 0) // 2 else size
        first = number * self.pictures
        rows = [make_row(seed, kinds) for seed in range(first, first + fresh)]
        again = random.Random(number).sample(known, size - fresh)
        known.extend(rows)
        return collate([*rows, *again])
