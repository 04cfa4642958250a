"""What one process holds: its leases, kept alive by a thread, and the right to run alone."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice

from redis.exceptions import RedisError

from grounding.jobs.store import JobStore

log = logging.getLogger(__name__)

PASSES = 8
"""How many that people wait for a waiting job lets pass: as many as have slots at once."""


class Leases:
    """Renews the leases of all jobs in flight, three times within their term."""

    def __init__(self, store: JobStore, owner: str) -> None:
        self._store = store
        self._owner = owner
        self._held: set[str] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin; returns at once."""
        threading.Thread(target=self._loop, name="leases", daemon=True).start()

    def stop(self) -> None:
        """Renew no more."""
        self._stopped.set()

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Keep the lease on `key` alive inside the block."""
        with self._lock:
            self._held.add(key)
        try:
            yield
        finally:
            with self._lock:
                self._held.discard(key)

    def release(self) -> None:
        """Give back every job in flight at once, for others to take."""
        self._store.release(self._snapshot(), self._owner)

    def _snapshot(self) -> list[str]:
        with self._lock:
            return list(self._held)

    def _loop(self) -> None:
        while not self._stopped.wait(self._store.limits.lease_ttl / 3):
            try:
                self._store.renew(self._snapshot(), self._owner)
            except RedisError as exc:  # Redis may be away for a while; leases outlive two misses
                log.warning("leases wait for Redis: %s", exc)
            except Exception:  # without a next round every job in flight would be taken for dead
                log.exception("the leases were not renewed; it tries again")


@dataclass(slots=True, eq=False)
class _Turn:
    urgent: bool
    passed: int = 0


class ExclusiveRunner:
    """Lets jobs run side by side, and a job whose last holder died run with none beside it.

    Such a job may take its process down again; alone, it takes no other with it and no other
    can be blamed for its death.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queue: deque[_Turn] = deque()
        self._running = 0
        self._solo = False

    @contextmanager
    def enter(self, *, alone: bool, urgent: bool = False) -> Iterator[None]:
        """Run the block beside others, or with `alone` once no other runs.

        In order of arrival, without which a job that must run alone would wait for ever on a busy
        process; but what a person waits for goes before others, each of which lets few pass.
        """
        turn = _Turn(urgent)
        with self._changed:
            self._queue.insert(self._place(urgent), turn)
            self._changed.wait_for(lambda: self._queue[0] is turn and self._room(alone))
            self._queue.popleft()
            self._running += 1
            self._solo = alone
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._solo = False
                self._changed.notify_all()

    def _place(self, urgent: bool) -> int:
        """Return where in the queue to stand; who is passed by takes note."""
        patient = [not turn.urgent and turn.passed < PASSES for turn in self._queue]
        if not urgent or True not in patient:
            return len(self._queue)
        place = patient.index(True)
        for turn in islice(self._queue, place, None):
            turn.passed += 1
        return place

    def _room(self, alone: bool) -> bool:
        return not self._solo and not (alone and self._running)
