"""Short films of moving shapes, of which each is there in one part of the film, or not at all.

A film has as many frames a second as the product looks at, so that it sees every one of them.
"""

from __future__ import annotations

import random

from tools.shapes.films import Film, Way
from tools.shapes.scenes import COLOURS, SHAPES

FPS = 2
FRAMES = (8, 10, 12)
MOST_FRAMES = max(FRAMES)
FRAME_TOKENS = 12
"""Image tokens of a frame; one question has up to a dozen frames."""

LANES = 3
SIZE = (224, 168)
"""Seen at half of it, the shapes are as large as those to be counted."""


def film(seed: int | str) -> Film:
    """Return the film of `seed`: up to three shapes, no two of one kind."""
    rng = random.Random(f"film {seed}")
    frames = rng.choice(FRAMES)
    chosen = rng.sample(SHAPES, rng.randint(1, LANES))
    ways = (_way(rng, shape, frames, lane) for lane, shape in enumerate(chosen))
    return Film(tuple(ways), frames, FPS, SIZE)


def _way(rng: random.Random, shape: str, frames: int, lane: int) -> Way:
    """Return the way of a shape, up and down in a lane of its own: none hides another."""
    wide = SIZE[0] // LANES
    side = rng.randint(40, 64)
    first, last = (lane * wide + rng.uniform(0, wide - side) for _ in range(2))
    start = first, rng.uniform(0, SIZE[1] - side)
    speed = (last - first) / frames, rng.uniform(-16, 16)
    length = rng.randint(2, frames)
    begin = rng.randint(0, frames - length)
    return Way(rng.choice(list(COLOURS)), shape, side, start, speed, ((begin, begin + length),))


def standing(film: Film, shape: str) -> range:
    """Return the frames from 0 in which a shape is there."""
    return next((range(*way.spans[0]) for way in film.ways if way.shape == shape), range(0))
