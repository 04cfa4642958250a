"""The two RQ queues. They carry job keys and nothing else: the job store holds the rest.

Whoever can write to Redis could name any function in an RQ job, or any callback, and RQ would
import and call it. `KeyJob` therefore never looks at those names: it hands the key to the
slot that runs it, and ignores all else that a job may carry.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence

from redis import Redis
from redis.client import Pipeline
from rq import Queue
from rq.job import Job as RqJob
from rq.queue import EnqueueData

from grounding.jobs.keys import LAYOUT, text
from grounding.jobs.scripts import MARK_QUEUED
from grounding.jobs.store import QueueName

FUNCTION = "grounding.ground"
"""What RQ's own tools show as the job's function; nothing imports it."""

NO_TIMEOUT = -1


def rq_name(queue: QueueName) -> str:
    """Return what RQ calls a queue. Releases with another layout of keys have other queues."""
    return f"grounding-{LAYOUT}-{queue.value}"


RQ_TYPES: Mapping[str, str] = {
    name.format(rq_name(queue)): kind
    for queue in QueueName
    for kind, names in {
        "list": "rq:queue:{0} rq:queue:{0}:intermediate",
        "set": "rq:queues rq:workers rq:workers:{0} rq:groups",
        "zset": "rq:wip:{0} rq:finished:{0} rq:failed:{0} rq:deferred:{0} rq:scheduled:{0}"
        " rq:canceled:{0} rq:ready:{0}",
        "string": "rq:clean_registries:{0} rq:clean_groups",
    }.items()
    for name in names.split()
}
"""Redis's type of each key of RQ's that all its workers share, by its whole name."""


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
        self._redis = redis
        self._mark_queued = MARK_QUEUED.bind(redis)
        self._queues = {
            queue: Queue(rq_name(queue), connection=redis, serializer="json", job_class=KeyJob)
            for queue in QueueName
        }

    def put(self, queue: QueueName, keys: Sequence[str], *, first: bool = False) -> None:
        """Queue `keys` in order, with `first` before all others.

        A key queued twice is harmless, since claims are exclusive.
        """
        # A fresh id each time: RQ's registries may still have an older entry of the same key.
        entries = {key: f"{key}-{secrets.token_hex(4)}" for key in keys}
        # One by one to the front turns their order round.
        ordered = reversed(entries) if first else entries
        pipe = self._redis.pipeline()
        self._queues[queue].enqueue_many(
            [_rq_job(key, entries[key], first=first) for key in ordered], pipeline=pipe
        )
        self._mark_queued(pipe, entries=json.dumps(entries))
        pipe.execute()

    def waiting(self) -> set[str]:
        """Return the keys that wait in either queue."""
        ids = [entry for rq_queue in self._queues.values() for entry in rq_queue.job_ids]
        return {key_of(entry) for entry in ids}

    def in_transit(self) -> list[str]:
        """Return the entries that slots have taken and not finished: a few for each slot."""
        pipe = self._redis.pipeline(transaction=False)
        for rq_queue in self._queues.values():
            pipe.lrange(rq_queue.intermediate_queue_key, 0, -1)
            pipe.zrange(rq_queue.started_job_registry.key, 0, -1)
        taken: list[str] = []
        running: list[str] = []
        for number, entries in enumerate(pipe.execute()):
            (running if number % 2 else taken).extend(text(entry) for entry in entries)
        # RQ names what runs ENTRY:EXECUTION.
        return taken + [entry.rpartition(":")[0] for entry in running]

    def depths(self) -> dict[QueueName, int]:
        """Return how many entries wait in each queue."""
        return {queue: rq_queue.count for queue, rq_queue in self._queues.items()}

    def add_counts(self, pipe: Pipeline) -> None:
        """Add three commands a queue to `pipe`: how many wait, are taken, and are being run."""
        for rq_queue in self._queues.values():
            pipe.llen(rq_queue.key)
            pipe.llen(rq_queue.intermediate_queue_key)
            pipe.zcard(rq_queue.started_job_registry.key)


def key_of(entry: str) -> str:
    """Return the job's key that an entry of RQ's is about."""
    return entry.rpartition("-")[0]


def _rq_job(key: str, entry: str, *, first: bool) -> EnqueueData:
    return Queue.prepare_data(
        FUNCTION,
        args=[key],
        job_id=entry,
        at_front=first,
        timeout=NO_TIMEOUT,
        result_ttl=0,
        failure_ttl=60,
        description=key,
    )
