"""Cuts the pictures that the model reads next, while the model still works on others.

Otherwise all rows would wait while a picture is copied and cut. What is ready and waits is bounded,
and belongs to the requests that come next: whatever else was begun is let go of.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

AHEAD_BYTES = 128 * 2**20
"""Most memory of patches that wait: five pictures of the default size."""


class Preparation:
    """Runs `cut` ahead of the model in one thread; the model's thread calls all methods.

    `size_of` tells how many bytes `cut` returns. A picture that is larger than `most` by itself
    is cut when it is taken, and so is one that nobody announced.
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
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="pictures")
        self._begun: dict[int, tuple[Image, Future[Tensor]]] = {}
        """By identity, with the picture, so that no other object takes its place in memory."""

    def expect(self, pictures: Sequence[Image]) -> None:
        """Begin with the first of `pictures`, as many as there is room for, in this order."""
        wanted = self._choose(pictures)
        for key in [key for key in self._begun if key not in wanted]:
            self._begun.pop(key)[1].cancel()
        for key, picture in wanted.items():
            if key not in self._begun:
                self._begun[key] = picture, self._pool.submit(self._cut, picture)

    def take(self, picture: Image) -> Tensor:
        """Return the patches of a picture; one that is not begun waits for no other."""
        _, begun = self._begun.pop(id(picture), (None, None))
        if begun is None or begun.cancel():
            return self._cut(picture)
        return begun.result()

    def close(self) -> None:
        """End the thread, and let go of what is ready."""
        self._pool.shutdown(cancel_futures=True)
        self._begun.clear()

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
