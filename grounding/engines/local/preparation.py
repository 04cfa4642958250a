"""Cuts the pictures that the model reads next, while the model still works on others.

Otherwise all rows would wait while a picture is copied and cut. What is ready and waits is bounded,
and belongs to the requests that come next: whatever else was begun is let go of.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

log = logging.getLogger(__name__)

AHEAD_BYTES = 128 * 2**20
"""Most memory of patches that wait: five pictures of the default size."""


class Preparation:
    """Runs `cut` ahead of the model in one thread; the model's thread calls all methods.

    `size_of` tells how many bytes `cut` returns. A picture that is larger than `most` by itself
    is cut when it is taken, and so is one that nobody announced, one whose cutting ahead failed,
    and all while the system has no thread left.
    """

    def __init__(
        self,
        cut: Callable[[Image], Tensor],
        size_of: Callable[[Image], int],
        most: int = AHEAD_BYTES,
    ) -> None:
        self._cut = cut
        self._size_of = size_of
        self._most = most
        self._pool = _make_pool()
        self._warned = False
        self._begun: dict[int, tuple[Image, Future[Tensor | None]]] = {}
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

    def take(self, picture: Image) -> Tensor:
        """Return the patches of a picture; one that is not begun waits for no other."""
        _, begun = self._begun.pop(id(picture), (None, None))
        patches = None if begun is None or begun.cancel() else begun.result()
        return self._cut(picture) if patches is None else patches

    def close(self) -> None:
        """End the thread, and let go of what is ready."""
        self._pool.shutdown(cancel_futures=True)
        self._begun.clear()

    def _try(self, picture: Image) -> Tensor | None:
        """Cut a picture, or leave it to `take`: a full memory may have room by then.

        The error is not kept, for it holds the frames it passed through, and these hold tensors.
        """
        with suppress(Exception):
            return self._cut(picture)
        return None

    def _do_without_thread(self, error: RuntimeError) -> None:
        """Let go of a pool that cannot start its thread: it keeps what it was given."""
        if not self._warned:
            log.warning("no picture is cut ahead of the model: %s", error)
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
