"""Lets so many requests through at a time, those of waiting people first."""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class PrioritySemaphore:
    """A door for `width` at once. Who waits enters in order of arrival, the urgent before others.

    The server queues what exceeds its batch, out of our sight and in its own order: waiting on
    this side of the wire is what lets a person go past the bulk on any server.
    """

    def __init__(self, width: int) -> None:
        self._lock = threading.Lock()
        self._room = width
        self._arrivals = itertools.count()
        self._queue: list[tuple[bool, int, threading.Event]] = []

    @contextmanager
    def enter(self, *, urgent: bool) -> Iterator[None]:
        """Run the block inside, once there is room."""
        self._wait(urgent)
        try:
            yield
        finally:
            self._leave()

    def _wait(self, urgent: bool) -> None:
        with self._lock:
            if self._room:
                self._room -= 1
                return
            called = threading.Event()
            heapq.heappush(self._queue, (not urgent, next(self._arrivals), called))
        called.wait()

    def _leave(self) -> None:
        """Hand the place to the first who waits, whom alone it wakes; else give it back."""
        with self._lock:
            if self._queue:
                heapq.heappop(self._queue)[-1].set()
            else:
                self._room += 1
