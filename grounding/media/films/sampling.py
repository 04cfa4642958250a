"""Which frames of a film the model is shown, and how large: the rules of qwen-vl-utils.

The library reads whole films itself and hands them on as one; here each frame is a picture, with
its time in words beside it, so that no host's own handling of films can shift the times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from grounding.geometry import Frame, PixelBounds, model_frame

PAIR = 2
"""Frames that share their tokens in a film, of which the library takes an even number."""

FEWEST_FRAMES = 4
MIN_FRAME_TOKENS, MAX_FRAME_TOKENS = 128, 768
SLACK = 1.05
"""The largest frame is at least so much larger than the smallest, so that sizes can be rounded."""

OVERLAP = 0.1
"""Share of a window that the next one shows again: what happens at a seam is seen whole once."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How densely a film is looked at.

    `fps` frames a second, `fine_fps` around the ends of what was found; one question has at most
    `max_frames` frames of together at most `max_tokens` image tokens.
    """

    fps: float = 2.0
    fine_fps: float = 8.0
    max_frames: int = 128
    max_tokens: int = 16_384

    def most(self, image: Frame, factor: int) -> int:
        """Return how many frames of a film one question has at most, each as small as it may be."""
        smallest = _smallest(factor)
        area = max(smallest.max_pixels, model_frame(image, smallest).bounds().area)
        fit = self.max_tokens * factor**2 / area
        return max(PAIR, min(self.max_frames, int(fit)))


def count_frames(total: int, rate: float, fps: float, most: int) -> int:
    """Return how many of the `total` frames of a film of `rate` frames a second are shown.

    That of `smart_nframes` of qwen-vl-utils; a film of one frame has one.
    """
    if total < PAIR:
        return total
    highest = _even(min(most, total))
    wanted = min(max(total / rate * fps, FEWEST_FRAMES), highest, total)
    return _even(wanted)


def frame_bounds(frames: int, total_pixels: float, factor: int) -> PixelBounds:
    """Return the bounds of each frame's area, where `frames` share `total_pixels`.

    Those of `fetch_video` of qwen-vl-utils.
    """
    smallest = _smallest(factor)
    share = min(MAX_FRAME_TOKENS * factor**2, total_pixels / frames * PAIR)
    return smallest._replace(max_pixels=int(max(share, smallest.max_pixels)))


def picture_bounds(frames: int, sampling: Sampling, factor: int) -> PixelBounds:
    """Return the bounds of each frame that goes as a picture: it shares no token with another."""
    return frame_bounds(frames, sampling.max_tokens * factor**2 / PAIR, factor)


def _smallest(factor: int) -> PixelBounds:
    """Return the bounds of the smallest frames."""
    low = MIN_FRAME_TOKENS * factor**2
    return PixelBounds(factor, low, int(low * SLACK))


def spread(first: float, last: float, count: int) -> tuple[float, ...]:
    """Return `count` times from `first` to `last`, both included, equally far apart."""
    if count < PAIR:
        return (first,) * count
    step = (last - first) / (count - 1)
    return tuple(first + step * at for at in range(count))


def windows(whole: tuple[float, float], seconds: float) -> Sequence[tuple[float, float]]:
    """Return spans of at most `seconds` that together cover a film, each overlapping the next."""
    first, last = whole
    if last - first <= seconds:
        return [whole]
    stride = seconds * (1 - OVERLAP)
    count = 1 + math.ceil((last - first - seconds) / stride)
    starts = spread(first, last - seconds, count)
    return [(start, start + seconds) for start in starts]


def _even(count: float) -> int:
    return math.floor(count / PAIR) * PAIR
