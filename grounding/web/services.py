"""What all requests of one web process share: the settings, the open queue, and who waits."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import BoundedSemaphore, Lock

from redis import Redis

from grounding.jobs.connection import connect, queue_url
from grounding.jobs.heartbeat import any_ready
from grounding.jobs.metrics import CounterBuffer
from grounding.jobs.outbox.delivery import Delivery
from grounding.jobs.outbox.outbox import Outbox
from grounding.jobs.queues import Queues
from grounding.jobs.reconciler import Reconciler
from grounding.jobs.store import JobStore, StoreLimits
from grounding.settings import Settings
from grounding.web.bodies import RequestKind
from grounding.web.wakeups import Wakeups

log = logging.getLogger(__name__)


class Places:
    """The waiting places of one web process, by kind of request; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self.bounds: Mapping[RequestKind, int] = {
            RequestKind.INTERACTIVE: settings.max_interactive_requests,
            RequestKind.PAGE: settings.max_page_requests,
            RequestKind.BULK: settings.max_bulk_requests,
        }
        self._free = {kind: BoundedSemaphore(bound) for kind, bound in self.bounds.items()}

    @contextmanager
    def take(self, kind: RequestKind) -> Iterator[bool]:
        """Hold a place around the block; yield False if none was free."""
        taken = self._free[kind].acquire(blocking=False)
        try:
            yield taken
        finally:
            if taken:
                self._free[kind].release()


def deadline(kind: RequestKind, settings: Settings, redis: Redis) -> float:
    """Return how many seconds after its arrival a request is answered at the latest.

    A page gets 0 while no worker has its model loaded: it would hang for nothing.
    """
    if kind is RequestKind.PAGE and not any_ready(redis):
        return 0.0
    return {
        RequestKind.INTERACTIVE: settings.interactive_deadline,
        RequestKind.PAGE: settings.page_deadline,
        RequestKind.BULK: settings.bulk_deadline,
    }[kind]


ANSWER_SECONDS = 1.5
"""Longest wait for one answer of Redis, after which the request is refused."""
PATIENT_SECONDS = 20.0
"""The same for an answer to megabytes, which Redis has to take in and write to its file first."""
MAX_WARNINGS = 10_000


@dataclass(frozen=True, slots=True)
class OpenQueue:
    """The connection to Redis, what works through it, and the threads of this process."""

    redis: Redis
    patient_redis: Redis
    store: JobStore
    outbox: Outbox
    queues: Queues
    counters: CounterBuffer
    reconciler: Reconciler
    delivery: Delivery | None
    wakeups: Wakeups

    @classmethod
    def open(cls, settings: Settings) -> OpenQueue:
        """Return the queue that the settings name; its threads run, nothing is sent yet."""
        url, limits = queue_url(settings), StoreLimits.of(settings)
        redis = connect(url, answer_seconds=ANSWER_SECONDS, mends=True)
        patient = connect(url, answer_seconds=PATIENT_SECONDS, mends=True)
        store = JobStore(redis, limits)
        wakeups, reconciler = Wakeups(store), Reconciler(redis, store)
        delivery = Delivery.of(settings, redis)
        opened = cls(
            redis=redis,
            patient_redis=patient,
            store=store,
            outbox=Outbox(redis),
            queues=Queues(redis),
            counters=CounterBuffer(redis),
            reconciler=reconciler,
            delivery=delivery,
            wakeups=wakeups,
        )
        wakeups.start()
        reconciler.start()
        if delivery is not None:
            delivery.start()
        return opened

    def with_patience(self) -> OpenQueue:
        """Return the same queue for a request of megabytes, which Redis answers late."""
        redis = self.patient_redis
        store = JobStore(redis, self.store.limits)
        return replace(self, redis=redis, store=store, outbox=Outbox(redis), queues=Queues(redis))

    def close(self) -> None:
        """End the threads and the connections."""
        self.wakeups.stop()
        self.reconciler.stop()
        if self.delivery is not None:
            self.delivery.stop()
        self.redis.close()
        self.patient_redis.close()


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
