"""The slots of one model process: RQ workers as threads, each on exactly one queue.

With one queue RQ moves a job in one atomic step; with several it can lose one. A slot holds
one job at a time: it fetches and prepares in its own thread and blocks while the one model
thread answers what all slots asked.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import closing

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker
from rq.exceptions import DequeueTimeout, StopRequested
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job as RqJob
from rq.timeouts import TimerDeathPenalty

from grounding.jobs.queues import KeyJob, rq_name
from grounding.jobs.store import QueueName

log = logging.getLogger(__name__)

Work = Callable[[str], None]
Connect = Callable[[], Redis]

RETRY_SECONDS = 0.3
TIDY_SECONDS = 30
TAKE_SECONDS = 1
"""How long Redis may hold a slot that waits for a key, and so how soon it hears of the end."""


class TidiedIntermediate(IntermediateQueue):
    """Where keys are between the queue and a slot."""

    def set_first_seen(self, job_id: str) -> bool:
        """Note since when a key is here; RQ's own notes stay a day, even of keys that came through.

        RQ takes a key for lost after a minute, so they need to outlive two more looks.
        """
        key = self.get_first_seen_key(job_id)
        return bool(self.connection.set(key, time.time(), nx=True, ex=5 * TIDY_SECONDS))


class TidiedQueue(Queue):
    """A queue whose tidying up is not held up by a process that died at it."""

    @property
    def intermediate_queue(self) -> TidiedIntermediate:
        """Where this queue's keys are on their way to a slot."""
        return TidiedIntermediate(self.key, connection=self.connection)

    def acquire_maintenance_lock(self) -> bool:
        """Say whether it is this slot's turn; RQ's own lock would outlive its holder by 15 minutes.

        Meanwhile what killed workers had in hand would fill Redis.
        """
        taken = self.connection.set(self.registry_cleaning_key, 1, nx=True, ex=TIDY_SECONDS)
        return bool(taken)


class Slot(SimpleWorker):
    """An RQ worker that lives in a thread and does one fixed thing with each key."""

    job_class = KeyJob
    queue_class = TidiedQueue
    death_penalty_class = TimerDeathPenalty
    work_on: Work

    @classmethod
    def on(cls, queue_name: QueueName, redis: Redis, work: Work) -> Slot:
        """Return a slot that hands each key of `queue_name` to `work`."""
        slot = cls(
            [rq_name(queue_name)],
            connection=redis,
            serializer="json",
            log_job_description=False,
            worker_ttl=17,
            maintenance_interval=TIDY_SECONDS,
        )
        slot.log_result_lifespan = False
        slot.work_on = work
        return slot

    def execute_job(self, job: RqJob, queue: Queue) -> None:
        """Run one job here, in this thread."""
        job.work = self.work_on  # type: ignore[attr-defined]
        super().execute_job(job, queue)

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[RqJob, Queue] | None:
        """Take the next key, however long none comes.

        Unlike RQ's own, it ends soon after the slot is to stop, even while Redis is away.
        """
        while not self._stop_requested:
            try:
                self.heartbeat()
                if self.should_run_maintenance_tasks:
                    self.run_maintenance_tasks()  # type: ignore[no-untyped-call]
                return self._take()
            except DequeueTimeout:
                continue
            except RedisError as exc:  # it may be away for a while; the next round finds out
                log.warning("a slot waits for Redis: %s", exc)
                time.sleep(RETRY_SECONDS)
        raise StopRequested

    def _take(self) -> tuple[RqJob, Queue] | None:
        taken = self.queue_class.dequeue_any(
            self._ordered_queues,
            TAKE_SECONDS,
            connection=self.connection,
            job_class=self.job_class,
            serializer=self.serializer,
            death_penalty_class=self.death_penalty_class,
        )
        if taken and self._stop_requested:
            self._give_back(*taken)
            raise StopRequested
        return taken

    def _give_back(self, job: RqJob, queue: Queue) -> None:
        """Put a key that came just as the slot was told to stop back at the front.

        A process killed before this leaves the key to the reconciler, which needs seconds.
        """
        pipe = self.connection.pipeline()
        pipe.lrem(queue.intermediate_queue_key, 1, job.id)
        queue.push_job_id(job.id, pipeline=pipe, at_front=True)
        pipe.execute()

    def subscribe(self) -> None:
        """Take no commands over a channel, as RQ's workers do.

        Whoever may publish could stop a slot, and each outage of Redis was seen to leave behind
        threads that listen.
        """

    def _install_signal_handlers(self) -> None:
        """Leave signals to the process: a thread cannot have them."""


class Slots:
    """All slots of one process: so many threads on each lane."""

    def __init__(self, connect: Connect, work: Work, counts: dict[QueueName, int]) -> None:
        self._connect = connect
        self._work = work
        self._stopping = threading.Event()
        self._live: set[Slot] = set()
        self._threads = [
            threading.Thread(
                target=self._loop, args=(queue_name,), name=f"{queue_name}-{n}", daemon=True
            )
            for queue_name, count in counts.items()
            for n in range(count)
        ]

    def start(self) -> None:
        """Begin to take jobs; returns at once."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take no more jobs; those in hand are finished."""
        self._stopping.set()
        for slot in list(self._live):
            slot._stop_requested = True

    def join(self) -> None:
        """Wait until the last job in hand is finished."""
        for thread in self._threads:
            # In short waits, so that a second signal is heard in between.
            while thread.is_alive():
                thread.join(0.2)

    def _loop(self, queue_name: QueueName) -> None:
        with closing(self._connect()) as redis:
            while not self._stopping.is_set():
                try:
                    self._round(queue_name, redis)
                except Exception:  # a slot outlives whatever RQ raises, Redis being away above all
                    log.warning("a slot of %s starts anew", queue_name, exc_info=True)
                    self._stopping.wait(RETRY_SECONDS)

    def _round(self, queue_name: QueueName, redis: Redis) -> None:
        slot = Slot.on(queue_name, redis, self._work)
        self._live.add(slot)
        if self._stopping.is_set():  # told after this slot was listed, it need not be told again
            slot._stop_requested = True
        try:
            slot.work(logging_level="WARNING")
        finally:
            self._live.discard(slot)
