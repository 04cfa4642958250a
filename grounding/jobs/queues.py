"""The two RQ queues. They carry job keys and nothing else: the ledger holds the rest.

Whoever can write to Redis could name any function in an RQ job, or any callback, and RQ would
import and call it. `KeyJob` therefore never looks at those names: it hands the key to the
slot that runs it, and all else that a job may carry is ignored.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence

from redis import Redis
from rq import Queue
from rq.job import Job as RqJob
from rq.queue import EnqueueData

from grounding.jobs.store import QueueName

FUNCTION = "grounding.ground"
"""What RQ's own tools show as the job's function; nothing imports it."""

NO_TIMEOUT = -1


class KeyJob(RqJob):
    """An RQ job reduced to its key."""

    work: Callable[[str], None]

    success_callback = failure_callback = stopped_callback = None

    def perform(self) -> None:
        """Hand the key to the slot's own work, whatever function the record names."""
        (key,) = self.args
        self.work(str(key))

    def send_webhooks(self, *args: object, **kwargs: object) -> None:
        """Send none: no record in Redis makes this process call an address."""


class Queues:
    """The queues of one Redis, for putting keys in and looking what waits there."""

    def __init__(self, redis: Redis) -> None:
        self._queues = {
            queue: Queue(queue, connection=redis, serializer="json", job_class=KeyJob)
            for queue in QueueName
        }

    def put(self, queue: QueueName, keys: Sequence[str], *, first: bool = False) -> None:
        """Queue `keys` in order, with `first` before all others.

        A key queued twice is harmless, since claims are exclusive.
        """
        # One by one to the front turns their order round.
        ordered = reversed(keys) if first else keys
        self._queues[queue].enqueue_many([self._entry(key, first=first) for key in ordered])

    def waiting(self) -> set[str]:
        """Return the keys that wait in either queue."""
        ids = [job_id for rq_queue in self._queues.values() for job_id in rq_queue.job_ids]
        return {job_id.rpartition("-")[0] for job_id in ids}

    def depths(self) -> dict[QueueName, int]:
        """Return how many entries wait in each lane."""
        return {queue: rq_queue.count for queue, rq_queue in self._queues.items()}

    def _entry(self, key: str, *, first: bool) -> EnqueueData:
        # A fresh id each time: an older entry of the same key may still stand in RQ's registries.
        return Queue.prepare_data(
            FUNCTION,
            args=[key],
            job_id=f"{key}-{secrets.token_hex(4)}",
            at_front=first,
            timeout=NO_TIMEOUT,
            result_ttl=0,
            failure_ttl=60,
            description=key,
        )
