"""The reconciler: puts back what is pending, unleased and not queued. One thread per process.

A lock in Redis lets one process at a time do it; it lapses at once, so that another takes over
when that one dies. Two at once would do no harm. It is what makes a killed worker, a killed web
process between accepting and queueing, and a Redis that lost RQ's lists harmless.
"""

from __future__ import annotations

import logging
import os
import threading
import time

from redis import Redis
from redis.exceptions import RedisError

from grounding.errors import WorkerDied
from grounding.jobs.connection import shorten
from grounding.jobs.queues import Queues
from grounding.jobs.store import MAX_DEATHS, PREFIX, JobStore, QueueName

log = logging.getLogger(__name__)

LOCK = PREFIX + "reconciler"
PERIOD_SECONDS = 1.0
PERIOD_MS = 1000
GRACE_SECONDS = 2.0
"""How long after its acceptance a job may still be on its way into the queue."""


class Reconciler:
    """Runs `reconcile` every second in a daemon thread until `stop`."""

    def __init__(self, redis: Redis, store: JobStore) -> None:
        self._redis = redis
        self._store = store
        self._queues = Queues(redis)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="reconciler", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the round in hand: at most as long as Redis may take to answer."""
        self._stopped.set()
        self._thread.join()

    def reconcile(self) -> int:
        """Put back every stranded job, and return how many there were.

        Drops the questions whose askers' time is over, too.
        """
        self._store.cancel_unwaited()
        held = self._store.leased()
        for key in (key for key, alive in held.items() if not alive):
            self._lapse(key)
        # In this order: a job that is finished or taken meanwhile is put back in vain, not missed.
        waiting = self._queues.waiting()
        now = time.time()
        back = [
            key
            for key, accepted in self._store.pending().items()
            # One from the future was accepted by another clock, and may be of any age.
            if not 0 <= now - accepted <= GRACE_SECONDS and not held.get(key) and key not in waiting
        ]
        self._queue(back)
        if back:
            self._store.count("reconciled", len(back))
        return len(back)

    def _is_our_turn(self) -> bool:
        """Take the lock, so that all processes together look once in a period.

        It lapses by itself, and a process killed under it delays nothing.
        """
        if self._redis.set(LOCK, os.getpid(), nx=True, px=PERIOD_MS):
            return True
        shorten(self._redis, LOCK, PERIOD_MS)
        return False

    def _lapse(self, key: str) -> None:
        deaths = self._store.expire(key)
        if deaths >= MAX_DEATHS:
            self._store.fail(key, WorkerDied(f"the worker died {deaths} times at this task"))

    def _queue(self, keys: list[str]) -> None:
        queues = self._store.queues(keys)
        for queue in QueueName:
            mine = [key for key in keys if queues.get(key) is queue]
            if mine:
                log.warning("put back %d stranded %s jobs", len(mine), queue)
                self._queues.put(queue, mine, first=True)  # they have waited once

    def _loop(self) -> None:
        while not self._stopped.wait(PERIOD_SECONDS):
            try:
                if self._is_our_turn():
                    self.reconcile()
            except RedisError as exc:  # Redis may be away for a while; the next round finds out
                log.warning("the reconciler waits for Redis: %s", exc)
            except Exception:  # whatever this round met, without a next one jobs would be lost
                log.exception("the reconciler failed; it tries again")
