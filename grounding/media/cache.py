"""Cache of the views that annotators ask about, so that a second request fetches nothing.

Views are small, because they have the size that the model sees. They expire after minutes,
because a picture may change at its host.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable

from cachetools import TTLCache

from grounding.media.views import View

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
