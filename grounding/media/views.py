"""Views: the pixels that the model sees, the part of the picture that they cover, and a cache."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from cachetools import TTLCache
from PIL import Image

from grounding.geometry import (
    Box,
    Frame,
    PixelBounds,
    Point,
    crop_frame,
    image_frame,
    model_frame,
)


@dataclass(frozen=True, slots=True)
class View:
    """What the model sees: RGB `pixels` of exactly the size of `frame`, a model frame.

    `image` is the frame of the upright original. The extent of `frame` is the rectangle of the
    original that the view covers: all of it, a tile or a crop. Of a film it is one frame: `time` is
    in seconds from the film's start, and `index` the frame's number from 0; both are None for a
    still picture.
    """

    pixels: Image.Image
    frame: Frame
    image: Frame
    time: float | None = None
    index: int | None = None


def whole(picture: Image.Image, bounds: PixelBounds) -> View:
    """Return the view of a whole upright RGB picture; raises `ImageTooThin` above 200:1."""
    image = image_frame(*picture.size)
    frame = model_frame(image, bounds)
    size = (int(frame.width), int(frame.height))
    return View(picture.resize(size, Image.Resampling.BICUBIC), frame, image)


def around(picture: Image.Image, place: Box | Point, bounds: PixelBounds) -> View:
    """Return the view of what is around a place of an upright RGB picture, enlarged if small."""
    image = image_frame(*picture.size)
    part, corners = crop_frame(place, image)
    frame = model_frame(part, bounds)
    size = (int(frame.width), int(frame.height))
    return View(picture.resize(size, Image.Resampling.BICUBIC, box=corners), frame, image)


THUMBNAIL_SIDE = 240
THUMBNAIL_QUALITY = 70


def thumbnail(view: View) -> bytes:
    """Return the pixels of a view as a small JPEG, of a few kilobytes."""
    small = view.pixels.copy()
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=THUMBNAIL_QUALITY)
    return out.getvalue()


MAX_BYTES = 128 * 2**20
"""Room for 40 views of 1280 tokens with 28×28 pixels each."""

MAX_AGE_SECONDS = 300.0

CHANNELS = 3


class ImageCache:
    """Views under the keys of their tasks; safe to share between threads.

    Beyond `max_bytes` of pixels the least recently used view is dropped. A view expires
    `max_age` seconds after it was kept, however often it is used. `clock` returns seconds.
    """

    def __init__(
        self,
        max_bytes: int = MAX_BYTES,
        max_age: float = MAX_AGE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lock = threading.Lock()
        self._views: TTLCache[Hashable, View] = TTLCache(
            max_bytes, max_age, timer=clock, getsizeof=_size
        )

    def find(self, key: Hashable) -> View | None:
        """Return the view under `key`, or None if there is none or it has expired."""
        with self._lock:
            return self._views.get(key)

    def keep(self, key: Hashable, view: View) -> None:
        """Keep a view in place of the one under `key`, unless it alone exceeds the bound."""
        with self._lock:
            self._views.pop(key, None)
            if _size(view) <= self._views.maxsize:
                self._views[key] = view


def _size(view: View) -> int:
    """Return the bytes of a view's pixels."""
    return view.pixels.width * view.pixels.height * CHANNELS
