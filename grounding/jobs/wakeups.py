"""Wakes the requests of a web process when the jobs that they wait for are finished."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from redis.exceptions import RedisError

from grounding.jobs.store import JobStore

log = logging.getLogger(__name__)

FEW = 4
FEW_POLL_SECONDS = 0.01
MANY_POLL_SECONDS = 0.2


class Wakeups:
    """The finished jobs of one Redis, as the requests of this process wait for them."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def start(self) -> None:
        """Begin; returns at once."""

    def stop(self) -> None:
        """End; requests that still wait return at once."""

    def wait(self, keys: Sequence[str], until: float) -> None:
        """Return when all jobs in `keys` are finished, at `until` (monotonic) at the latest."""
        left = keys
        while (left := self._unfinished(left)) and time.monotonic() < until:
            time.sleep(FEW_POLL_SECONDS if len(left) <= FEW else MANY_POLL_SECONDS)

    def _unfinished(self, keys: Sequence[str]) -> Sequence[str]:
        try:
            return self._store.unfinished(keys)
        except RedisError as exc:  # What was accepted is kept: Redis may be back in time.
            log.warning("a request waits for Redis: %s", exc)
            return keys
