"""The reconciler: puts back what is pending, unleased and not queued. One thread per process.

A lock in Redis lets one process at a time do it; when that one dies, the lock lapses and the
next takes over. It is what makes a killed worker, a killed web process between accepting and
queueing, and a Redis that lost RQ's lists harmless.
"""

from __future__ import annotations

import logging
import threading
import time

from redis import Redis
from redis.exceptions import RedisError

from grounding.errors import WorkerDied
from grounding.jobs.lanes import Lanes
from grounding.jobs.ledger import MAX_DEATHS, PREFIX, Lane, Ledger

log = logging.getLogger(__name__)

LOCK = PREFIX + "reconciler"
LOCK_SECONDS = 5
PERIOD_SECONDS = 2.0
GRACE_SECONDS = 2.0
"""How long after its acceptance a job may still be on its way into the queue."""


class Reconciler:
    """Runs `reconcile` every two seconds in a daemon thread until `stop`."""

    def __init__(self, redis: Redis, ledger: Ledger) -> None:
        self._redis = redis
        self._ledger = ledger
        self._lanes = Lanes(redis)
        self._stopped = threading.Event()

    def start(self) -> None:
        """Begin; returns at once."""
        threading.Thread(target=self._loop, name="reconciler", daemon=True).start()

    def stop(self) -> None:
        """End within one period."""
        self._stopped.set()

    def reconcile(self) -> int:
        """Put back every stranded job, and return how many there were."""
        now = time.time()
        old = [
            k for k, accepted in self._ledger.pending().items() if now - accepted > GRACE_SECONDS
        ]
        held = self._ledger.leased(old)
        waiting = self._lanes.waiting()
        loose = [key for key in old if key not in held]
        back = [key for key in loose if self._alive(key) and key not in waiting]
        self._queue(back)
        return len(back)

    def _alive(self, key: str) -> bool:
        deaths = self._ledger.lapse(key)
        if deaths < MAX_DEATHS:
            return True
        self._ledger.bury(key, WorkerDied(f"the worker died {deaths} times at this task"))
        return False

    def _queue(self, keys: list[str]) -> None:
        lanes = self._ledger.lanes(keys)
        for lane in Lane:
            mine = [key for key in keys if lanes.get(key) is lane]
            if mine:
                log.warning("put back %d stranded %s jobs", len(mine), lane)
                self._lanes.put(lane, mine)

    def _loop(self) -> None:
        while not self._stopped.wait(PERIOD_SECONDS):
            try:
                if self._redis.set(LOCK, "1", nx=True, ex=LOCK_SECONDS):
                    self.reconcile()
                    self._redis.delete(LOCK)
            except RedisError as exc:  # Redis may be away for a while; the next round finds out
                log.warning("the reconciler waits for Redis: %s", exc)
