"""What all requests of one web process share: the settings, the open queue, the waiting places."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from threading import Lock

from redis import Redis

from grounding.jobs.connection import connect, queue_url
from grounding.jobs.outbox.delivery import Delivery
from grounding.jobs.outbox.outbox import Outbox
from grounding.jobs.queues import Queues
from grounding.jobs.reconciler import Reconciler
from grounding.jobs.store import JobStore, StoreLimits
from grounding.settings import Settings
from grounding.web.waiting import Places
from grounding.web.wakeups import Wakeups

log = logging.getLogger(__name__)

ANSWER_SECONDS = 1.5
"""Longest wait for one answer of Redis, after which the request is refused."""
MAX_WARNINGS = 10_000


@dataclass(frozen=True, slots=True)
class OpenQueue:
    """The connection to Redis, what works through it, and the threads of this process."""

    redis: Redis
    store: JobStore
    outbox: Outbox
    queues: Queues
    reconciler: Reconciler
    delivery: Delivery | None
    wakeups: Wakeups

    @classmethod
    def open(cls, settings: Settings) -> OpenQueue:
        """Return the queue that the settings name; its threads run, nothing is sent yet."""
        redis = connect(queue_url(settings), answer_seconds=ANSWER_SECONDS)
        store = JobStore(redis, StoreLimits.of(settings))
        wakeups, reconciler = Wakeups(store), Reconciler(redis, store)
        delivery = Delivery.of(settings, redis)
        opened = cls(redis, store, Outbox(redis), Queues(redis), reconciler, delivery, wakeups)
        wakeups.start()
        reconciler.start()
        if delivery is not None:
            delivery.start()
        return opened

    def close(self) -> None:
        """End the threads and the connection."""
        self.wakeups.stop()
        self.reconciler.stop()
        if self.delivery is not None:
            self.delivery.stop()
        self.redis.close()


class Services:
    """What requests share; safe to use from many threads."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.places = Places(settings)
        self._opening = Lock()
        self._queue: OpenQueue | None = None
        self._warned: set[tuple[str, str]] = set()

    @property
    def queue(self) -> OpenQueue:
        """The queue, opened at first use: after gunicorn has forked, when threads may start.

        Raises `QueueError` if none is configured and no embedded one runs.
        """
        with self._opening:
            if self._queue is None:
                self._queue = OpenQueue.open(self.settings)
            return self._queue

    def close(self) -> None:
        """End this process's part in the queue."""
        with self._opening:
            if self._queue is not None:
                self._queue.close()
                self._queue = None

    def warn_once(self, project: str, warning: str) -> None:
        """Log a warning about a project the first time only.

        Label Studio connects again each time that somebody looks at a project.
        """
        if (project, warning) in self._warned:
            return
        if len(self._warned) >= MAX_WARNINGS:
            self._warned.clear()
        self._warned.add((project, warning))
        log.warning("project %s: %s", project, warning)
