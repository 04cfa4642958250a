"""The reconciler: queues every pending job that no queue has. One thread per process.

A killed worker, a killed web process between accepting and queueing, and a Redis that lost RQ's
lists are therefore harmless. A lock in Redis lets one process at a time do it. The lock lasts for
one round, so that another process takes over when that one dies; two at once do no harm.

What a round costs grows with what changed, not with what waits:

- the job store lists the jobs that are not queued, and those that workers hold;
- what slots have taken and not claimed is in RQ's own lists, a few entries for each slot;
- a comparison of counts shows that RQ has lost entries. Then, and now and then anyhow, a sweep
  looks at every pending job. Sweeps take at most a fiftieth of the time.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Iterable, Sequence
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from grounding.errors import WorkerDied
from grounding.jobs import scripts
from grounding.jobs.connection import limit_lock
from grounding.jobs.keys import PREFIX, SWEPT, redis_key, text
from grounding.jobs.migration import Migration
from grounding.jobs.operating.foreign import ForeignKeys
from grounding.jobs.queues import Queues, key_of
from grounding.jobs.store import (
    CONFIGS,
    DEADLINES,
    LEASED,
    MAX_DEATHS,
    PENDING,
    UNQUEUED,
    JobStore,
    QueueName,
)

log = logging.getLogger(__name__)

LOCK = PREFIX + "reconciler"
SHORT = PREFIX + "short"
"""Exists for a few seconds after the counts did not agree."""
KEPT = PREFIX + "kept"
"""Exists until the labelling configs in use are prolonged again."""
KEEPING_SHARE = 0.25
"""Part of a config's own time after which it is prolonged: two processes may die at it in a row."""
PERIOD_SECONDS = 1.0
PERIOD_MS = 1000
SHORT_MS = 5000
SWEEP_MS = 5000
"""Shortest time between two sweeps."""
LONGEST_SWEEP_MS = 600_000
SWEEP_SHARE = 0.02
"""Part of the time that sweeps may take."""
REPLACED = "\N{REPLACEMENT CHARACTER}"
"""In names that are no text."""
BATCH = 1000
"""Jobs that one round queues. A full batch goes behind what waits: it is no small mishap."""


class Reconciler:
    """Runs `reconcile` every second in a daemon thread until `stop`."""

    def __init__(self, redis: Redis, store: JobStore) -> None:
        self._redis = redis
        self._store = store
        self._queues = Queues(redis)
        self._migration = Migration(redis)
        self._foreign = ForeignKeys(redis)
        self._due = scripts.DUE.bind(redis)
        self._note_in_transit = scripts.NOTE_IN_TRANSIT.bind(redis)
        self._note_missing = scripts.NOTE_MISSING.bind(redis)
        self._forget_projects = scripts.FORGET_PROJECTS.bind(redis)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="reconciler", daemon=True)

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def stop(self) -> None:
        """End after the current round, which takes at most as long as Redis may take to answer."""
        self._stopped.set()
        self._thread.join()

    def reconcile(self) -> int:
        """Queue every job that is due, and return how many there were.

        Also adopts what an older release left, ends the jobs whose askers' time is over, and
        expires the leases of workers that died.
        """
        self._foreign.remove()
        self._migration.run()
        self._store.cancel_unwaited()
        self._expire_leases()
        self._look_in_transit()
        self._keep_configs()
        if self._is_sweep_due():
            self._sweep()
        return self._queue_due()

    def _expire_leases(self) -> None:
        for key in (key for key, alive in self._store.leased().items() if not alive):
            deaths = self._store.expire(key)
            if deaths >= MAX_DEATHS:
                self._store.fail(key, WorkerDied(f"the worker died {deaths} times at this task"))

    def _look_in_transit(self) -> None:
        """Note the jobs that slots have taken: those of a killed slot fall due."""
        pipe = self._redis.pipeline(transaction=False)
        for entry in self._queues.in_transit():
            self._note_in_transit(pipe, key=key_of(entry), entry=entry)
        pipe.execute()

    def _is_sweep_due(self) -> bool:
        """Say whether it is time for a sweep, or the counts have disagreed twice in a row."""
        if not self._redis.exists(SWEPT):
            return True
        limit_lock(self._redis, SWEPT, LONGEST_SWEEP_MS)
        if self._missing() <= 0:
            return False
        if self._redis.set(SHORT, 1, nx=True, px=SHORT_MS):
            return False
        self._redis.delete(SHORT)
        return True

    def _missing(self) -> int:
        """Return how many pending jobs RQ does not have, at the least: some are in transit."""
        pipe = self._redis.pipeline()
        pipe.zcard(PENDING)
        pipe.scard(LEASED)
        pipe.zcard(UNQUEUED)
        self._queues.add_counts(pipe)
        pending, leased, unqueued, *counts = pipe.execute()
        waiting, taken, running = (sum(counts[kind::3]) for kind in range(3))
        in_transit = taken + max(0, running - leased)
        return int(pending - leased - unqueued - waiting - in_transit)

    def _sweep(self) -> None:
        """Note every pending job that RQ does not have, and drop what nobody needs any more."""
        begun = time.monotonic()
        self._redis.set(SWEPT, 1, px=SWEEP_MS)  # a long sweep outlives the lock
        # In this order: what is queued, taken or finished meanwhile is noted in vain, not missed.
        pending: Any = self._redis.zrange(PENDING, 0, -1)
        known: Any = self._redis.zrange(UNQUEUED, 0, -1)
        waiting = self._queues.waiting()
        noticed = {*known, *(key.encode() for key in waiting)}
        missing = [text(key) for key in pending if key not in noticed]
        self._note_lost(missing)
        self._drop_strange(pending)
        self._forget_projects(limit=BATCH)
        took_ms = (time.monotonic() - begun) * 1000
        pause = min(max(SWEEP_MS, took_ms / SWEEP_SHARE), LONGEST_SWEEP_MS)
        self._redis.set(SWEPT, 1, px=int(pause))

    def _note_lost(self, keys: Sequence[str]) -> None:
        """Note which of `keys` are to be queued; those without a record of ours fail."""
        lost = 0
        for start in range(0, len(keys), BATCH):
            lost += self._note_missing(missing=json.dumps(keys[start : start + BATCH]))
        if lost:
            log.error("%d tasks fail, since their records are gone or not ours", lost)

    def _drop_strange(self, pending: Iterable[bytes]) -> None:
        """Drop what no job of ours can be called."""
        leased: Any = self._redis.smembers(LEASED)
        waited: Any = self._redis.zrange(DEADLINES, 0, -1)
        names = [one for one in {*pending, *leased, *waited} if REPLACED in text(one)]
        if names:
            for key in (PENDING, UNQUEUED, DEADLINES):
                self._redis.zrem(key, *names)
            self._redis.srem(LEASED, *names)
            log.error("%d entries of the queue are no names of tasks; they are dropped", len(names))

    def _keep_configs(self) -> None:
        """Prolong the labelling configs that unfinished jobs need, long before they expire.

        This does not wait for a sweep: the time between two sweeps may exceed a config's own.
        """
        ttl = self._store.limits.result_ttl
        pause = int(ttl * 1000 * KEEPING_SHARE)
        limit_lock(self._redis, KEPT, pause)
        if not self._redis.set(KEPT, 1, nx=True, px=pause):
            return
        digests: Any = self._redis.hkeys(CONFIGS)
        pipe = self._redis.pipeline(transaction=False)
        for digest in digests:
            pipe.expire(redis_key("config", digest=text(digest)), ttl)
        pipe.execute()

    def _queue_due(self) -> int:
        due: Any = self._due(limit=BATCH)
        names = [text(word) for word in due]
        jobs = dict(zip(names[::2], names[1::2], strict=True))
        for queue in QueueName:
            mine = [key for key, name in jobs.items() if QueueName.of(name) is queue]
            if mine:
                log.warning("queued %d stranded %s jobs", len(mine), queue)
                self._queues.put(queue, mine, first=len(jobs) < BATCH)
        if jobs:
            self._store.count("reconciled", len(jobs))
        return len(jobs)

    def _is_our_turn(self) -> bool:
        """Take the lock, so that all processes together look once in a period.

        It expires by itself, and a process killed under it delays nothing.
        """
        if self._redis.set(LOCK, os.getpid(), nx=True, px=PERIOD_MS):
            return True
        limit_lock(self._redis, LOCK, PERIOD_MS)
        return False

    def _loop(self) -> None:
        while not self._stopped.wait(PERIOD_SECONDS):
            try:
                if self._is_our_turn():
                    self.reconcile()
            except RedisError as exc:  # Redis may be away for a while; the next round finds out
                log.warning("the reconciler waits for Redis: %s", exc)
            except Exception:  # whatever this round met, without a next one jobs would be lost
                log.exception("the reconciler failed; it tries again")
