"""The pictures that people ask about, kept for their next question.

A second question on the same picture then fetches and decodes nothing. What is kept is small,
the size that the model sees, and for a few minutes only, since a picture may change at its host.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from grounding.media.views import View

MAX_BYTES = 128 * 2**20
"""Forty pictures of 1280 patches of 28×28 pixels, or more of smaller ones."""

MAX_AGE_SECONDS = 300.0

CHANNELS = 3


class ImageCache:
    """Prepared pictures under the keys of their tasks, the last used kept longest.

    Bounded by bytes of pixels and by seconds since a picture was fetched; safe to share between
    threads. `clock` tells seconds.
    """

    def __init__(
        self,
        max_bytes: int = MAX_BYTES,
        max_age: float = MAX_AGE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._max_bytes = max_bytes
        self._max_age = max_age
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[Hashable, tuple[float, View]] = OrderedDict()
        self._bytes = 0

    def find(self, key: Hashable) -> View | None:
        """Return the picture kept under `key`, unless there is none or it is too old."""
        with self._lock:
            self._forget_old()
            if key not in self._kept:
                return None
            self._kept.move_to_end(key)
            return self._kept[key][1]

    def keep(self, key: Hashable, picture: View) -> None:
        """Keep a picture, and let go of the longest unused beyond the bound."""
        with self._lock:
            self._drop(key)
            self._kept[key] = (self._clock(), picture)
            self._bytes += _size(picture)
            while self._bytes > self._max_bytes:
                self._drop(next(iter(self._kept)))

    def _forget_old(self) -> None:
        oldest = self._clock() - self._max_age
        for key in [key for key, (kept, _) in self._kept.items() if kept < oldest]:
            self._drop(key)

    def _drop(self, key: Hashable) -> None:
        if key in self._kept:
            self._bytes -= _size(self._kept.pop(key)[1])


def _size(picture: View) -> int:
    width, height = picture.pixels.size
    return width * height * CHANNELS
