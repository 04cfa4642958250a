"""Prepares the pictures that the model reads next, while the model still works on others.

Otherwise all rows would wait while a picture is copied and cut, and on a CPU while the vision tower
reads it. What is ready and waits is bounded, and belongs to the requests that come next: whatever
else was begun is let go of.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)

AHEAD_BYTES = 128 * 2**20
"""Most memory of patches that wait: five pictures of the default size."""

T = TypeVar("T")


class Preparation(Generic[T]):
    """Runs `prepare` ahead of the model in one thread; the model's thread calls all methods.

    `size_of` tells how many bytes that takes. A picture that is larger than `most` by itself
    is prepared when it is taken, and so is one that nobody announced, one that failed ahead, and
    all while the system has no thread left.
    """

    def __init__(
        self,
        prepare: Callable[[Image], T],
        size_of: Callable[[Image], int],
        most: int = AHEAD_BYTES,
    ) -> None:
        self._prepare = prepare
        self._size_of = size_of
        self._most = most
        self._pool = _make_pool()
        self._warned = False
        self._begun: dict[int, tuple[Image, Future[T | None]]] = {}
        """By identity, with the picture, so that no other object takes its place in memory."""

    def expect(self, pictures: Sequence[Image]) -> None:
        """Begin with the first of `pictures`, as many as there is room for, in this order."""
        wanted = self._choose(pictures)
        for key in [key for key in self._begun if key not in wanted]:
            self._begun.pop(key)[1].cancel()
        try:
            for key, picture in wanted.items():
                if key not in self._begun:
                    self._begun[key] = picture, self._pool.submit(self._try, picture)
        except RuntimeError as exc:
            self._do_without_thread(exc)

    def is_busy_with(self, picture: Image) -> bool:
        """Say whether a picture was announced and is not ready yet."""
        _, begun = self._begun.get(id(picture), (None, None))
        return begun is not None and not begun.done()

    def take(self, picture: Image) -> T:
        """Return a picture prepared; one that is not begun waits for no other."""
        _, begun = self._begun.pop(id(picture), (None, None))
        ready = None if begun is None or begun.cancel() else begun.result()
        return self._prepare(picture) if ready is None else ready

    def take_all(self, pictures: Sequence[Image]) -> list[T]:
        """Return pictures prepared, in order; one that comes twice is prepared once."""
        # By identity, since pictures compare by their pixels.
        alike = {id(one): one for one in pictures}
        taken = {key: self.take(one) for key, one in alike.items()}
        return [taken[id(one)] for one in pictures]

    def close(self) -> None:
        """End the thread, and let go of what is ready."""
        self._pool.shutdown(cancel_futures=True)
        self._begun.clear()

    def _try(self, picture: Image) -> T | None:
        """Prepare a picture, or leave it to `take`: a full memory may have room by then.

        The error is not kept, for it holds the frames it passed through, and these hold tensors.
        """
        with suppress(Exception):
            return self._prepare(picture)
        return None

    def _do_without_thread(self, error: RuntimeError) -> None:
        """Let go of a pool that cannot start its thread: it keeps what it was given."""
        if not self._warned:
            log.warning("no picture is prepared ahead of the model: %s", error)
        self._warned = True
        self._pool.shutdown(cancel_futures=True)
        self._pool = _make_pool()

    def _choose(self, pictures: Sequence[Image]) -> dict[int, Image]:
        chosen: dict[int, Image] = {}
        left = self._most
        for picture in pictures:
            if id(picture) in chosen:
                continue
            left -= self._size_of(picture)
            if left < 0:
                break
            chosen[id(picture)] = picture
        return chosen


def _make_pool() -> ThreadPoolExecutor:
    """Return a pool of one thread, which starts with its first picture."""
    return ThreadPoolExecutor(1, thread_name_prefix="pictures")
