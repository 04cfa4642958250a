"""The slots of one worker process, the leases of the jobs that they hold, and exclusive runs.

A slot is an RQ worker in a thread of its own, on exactly one queue: with one queue RQ moves a job
in one atomic step, with several it can lose one. A slot runs one job at a time: it fetches and
prepares media in its own thread, and waits for the engine's futures.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import count, islice

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker
from rq.exceptions import DequeueTimeout, StopRequested
from rq.intermediate_queue import IntermediateQueue
from rq.job import Job as RqJob
from rq.timeouts import TimerDeathPenalty

from grounding.jobs.connection import REDIS_BACKOFF, limit_lock
from grounding.jobs.queues import KeyJob, rq_name
from grounding.jobs.store import JobStore, QueueName
from grounding.waiting import Check, no_check

log = logging.getLogger(__name__)

Work = Callable[[str], None]
Connect = Callable[[], Redis]

MAINTENANCE_SECONDS = 30
TAKE_SECONDS = 1
"""How long one blocking read waits for a key, and so how late a slot notices that it must stop."""
LONG_SECONDS = 30.0
"""How long a job that runs alone keeps others waiting, and others keep it: annotators wait 60 s."""
LOOK_SECONDS = 0.5
"""How often a job that waits for its turn looks how long others have run."""
MAX_OVERTAKES = 8
"""How many urgent jobs may overtake a waiting one: one for each interactive slot with
GROUNDING_ENGINE=openai."""


class KeyIntermediateQueue(IntermediateQueue):
    """Where RQ keeps keys that a slot has taken and not yet started."""

    def set_first_seen(self, job_id: str) -> bool:
        """Note when a key was first seen here; return False if it was seen before.

        RQ considers a key lost after a minute, so a note must outlive two more rounds of
        maintenance. RQ's own notes stay a day, also those of keys that were started.
        """
        key = self.get_first_seen_key(job_id)
        return bool(self.connection.set(key, time.time(), nx=True, ex=5 * MAINTENANCE_SECONDS))


class KeyQueue(Queue):
    """An RQ queue whose maintenance resumes soon after a process died during it."""

    @property
    def intermediate_queue(self) -> KeyIntermediateQueue:
        """Where this queue's keys are on their way to a slot."""
        return KeyIntermediateQueue(self.key, connection=self.connection)

    def acquire_maintenance_lock(self) -> bool:
        """Take the lock of RQ's maintenance; say whether this slot may do it now.

        RQ's own lock outlives a killed holder by 15 minutes. Meanwhile the records of jobs that
        killed workers held would fill Redis.
        """
        lock = self.registry_cleaning_key
        limit_lock(self.connection, lock, 1000 * MAINTENANCE_SECONDS)
        return bool(self.connection.set(lock, 1, nx=True, ex=MAINTENANCE_SECONDS))


class Slot(SimpleWorker):
    """An RQ worker that runs in a thread and calls one fixed function with each key."""

    job_class = KeyJob
    queue_class = KeyQueue
    death_penalty_class = TimerDeathPenalty
    work_on: Work

    @classmethod
    def on(cls, queue_name: QueueName, redis: Redis, work: Work) -> Slot:
        """Return a slot that calls `work` with each key of `queue_name`."""
        slot = cls(
            [rq_name(queue_name)],
            connection=redis,
            serializer="json",
            log_job_description=False,
            worker_ttl=17,
            maintenance_interval=MAINTENANCE_SECONDS,
        )
        slot.log_result_lifespan = False
        slot.work_on = work
        return slot

    def execute_job(self, job: RqJob, queue: Queue) -> None:
        """Run one job in this thread."""
        job.work = self.work_on  # type: ignore[attr-defined]
        super().execute_job(job, queue)

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[RqJob, Queue] | None:
        """Return the next key, however long that takes; raises `StopRequested` to end.

        Unlike RQ's own method, it ends soon after a stop is requested, even without Redis.
        """
        failures = 0
        while not self._stop_requested:
            try:
                self.heartbeat()
                if self.should_run_maintenance_tasks:
                    self.run_maintenance_tasks()  # type: ignore[no-untyped-call]
                return self._take()
            except DequeueTimeout:
                failures = 0
            except RedisError as exc:
                log.warning("a slot waits for Redis: %s", exc)
                time.sleep(REDIS_BACKOFF.delay(failures))
                failures += 1
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
        """Return a key to the front of the queue that was taken just as the slot had to stop.

        If the process is killed before this, the reconciler queues the key within seconds.
        """
        pipe = self.connection.pipeline()
        pipe.lrem(queue.intermediate_queue_key, 1, job.id)
        queue.push_job_id(job.id, pipeline=pipe, at_front=True)
        pipe.execute()

    def subscribe(self) -> None:
        """Do nothing: RQ's workers take commands over a channel, and a slot takes none.

        Anyone who can publish could stop a slot, and RQ leaves a listening thread behind at each
        outage of Redis.
        """

    def _install_signal_handlers(self) -> None:
        """Do nothing: only the main thread of a process can handle signals."""


class Slots:
    """All slots of one process: a number of threads for each queue."""

    def __init__(self, connect: Connect, work: Work, counts: dict[QueueName, int]) -> None:
        self._connect = connect
        self._work = work
        self._stopping = threading.Event()
        self._live: set[Slot] = set()
        self._threads = [
            threading.Thread(
                target=self._loop, args=(queue_name,), name=f"{queue_name}-{n}", daemon=True
            )
            for queue_name, number in counts.items()
            for n in range(number)
        ]

    def start(self) -> None:
        """Start to take jobs; returns at once."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take no more jobs; the running ones are finished. Returns at once."""
        self._stopping.set()
        for slot in list(self._live):
            slot._stop_requested = True

    def join(self) -> None:
        """Wait until the last running job is finished."""
        for thread in self._threads:
            # In short waits, because Python handles a signal only between them.
            while thread.is_alive():
                thread.join(0.2)

    def _loop(self, queue_name: QueueName) -> None:
        with closing(self._connect()) as redis:
            for failures in count():
                if self._stopping.is_set():
                    return
                try:
                    self._run_slot(queue_name, redis)
                except Exception:  # RQ raises all kinds of errors, mostly when Redis is away
                    log.warning("a slot of %s restarts", queue_name, exc_info=True)
                    self._stopping.wait(REDIS_BACKOFF.delay(failures))

    def _run_slot(self, queue_name: QueueName, redis: Redis) -> None:
        slot = Slot.on(queue_name, redis, self._work)
        self._live.add(slot)
        # `stop` reaches every slot in the set; this one may have missed it.
        if self._stopping.is_set():
            slot._stop_requested = True
        try:
            slot.work(logging_level="WARNING")
        finally:
            self._live.discard(slot)


class Leases:
    """Renews the leases of all running jobs, three times within their lifetime."""

    def __init__(self, store: JobStore, owner: str) -> None:
        self._store = store
        self._owner = owner
        self._held: set[str] = set()
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def start(self) -> None:
        """Start the thread that renews."""
        threading.Thread(target=self._loop, name="leases", daemon=True).start()

    def stop(self) -> None:
        """Stop renewing."""
        self._stopped.set()

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Renew the lease on job `key` inside the block."""
        with self._lock:
            self._held.add(key)
        try:
            yield
        finally:
            with self._lock:
                self._held.discard(key)

    def release(self) -> None:
        """Release the leases of all running jobs, so that other workers take them at once."""
        self._store.release(self._snapshot(), self._owner)

    def _snapshot(self) -> list[str]:
        with self._lock:
            return list(self._held)

    def _loop(self) -> None:
        while not self._stopped.wait(self._store.limits.lease_ttl / 3):
            try:
                self._store.renew(self._snapshot(), self._owner)
            except RedisError as exc:  # a lease outlives two missed renewals
                log.warning("the leases wait for Redis: %s", exc)
            except Exception:  # if this thread ended, every running job would lose its lease
                log.exception("the leases were not renewed; trying again")


@dataclass(slots=True, eq=False)
class _Turn:
    urgent: bool
    alone: bool
    overtaken: int = 0
    begun: float = math.inf


class ExclusiveRunner:
    """Runs jobs concurrently, but a job whose last worker died runs exclusively.

    Such a job may crash its process again. Alone, it takes no other job with it, and no other can
    be blamed for the crash: so for `LONG_SECONDS`. What has run for longer, such as a film, keeps
    no other waiting any more, and a crash is then blamed on each that was to run alone.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[_Turn] = deque()
        self._running: set[_Turn] = set()

    @contextmanager
    def enter(
        self, *, alone: bool, urgent: bool = False, check: Check = no_check
    ) -> Iterator[None]:
        """Run the block concurrently with others, or with `alone` once no other has just begun.

        Blocks start in order of arrival; otherwise a busy process would never run an exclusive
        one. An urgent block overtakes the others, each of which is overtaken a few times only.
        What `check` raises ends the wait.
        """
        turn = _Turn(urgent, alone)
        with self._changed:
            self._waiting.insert(self._place(urgent), turn)
        try:
            while not self._begin(turn):
                check()  # without the lock: it may take long
            yield
        finally:
            with self._changed:
                if turn in self._waiting:
                    self._waiting.remove(turn)
                self._running.discard(turn)
                self._changed.notify_all()

    def _begin(self, turn: _Turn) -> bool:
        """Let a block run when it is its turn; say whether that came soon."""
        with self._changed:
            if not self._may_begin(turn):
                self._changed.wait(LOOK_SECONDS)  # running jobs grow long without notice
            if not self._may_begin(turn):
                return False
            self._waiting.popleft()
            self._running.add(turn)
            turn.begun = time.monotonic()
            self._changed.notify_all()
            return True

    def _may_begin(self, turn: _Turn) -> bool:
        return self._waiting[0] is turn and self._has_room(turn.alone)

    def _place(self, urgent: bool) -> int:
        """Return the index at which a new turn waits, and count whom it overtakes."""
        yields = [not turn.urgent and turn.overtaken < MAX_OVERTAKES for turn in self._waiting]
        if not urgent or True not in yields:
            return len(self._waiting)
        place = yields.index(True)
        for turn in islice(self._waiting, place, None):
            turn.overtaken += 1
        return place

    def _has_room(self, alone: bool) -> bool:
        before = time.monotonic() - LONG_SECONDS
        recent = [turn for turn in self._running if turn.begun > before]
        return not any(alone or turn.alone for turn in recent)
