"""The worker process: loads the model once, then runs jobs until it must stop."""

from __future__ import annotations

import logging
import math
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import count
from queue import Empty, SimpleQueue
from types import FrameType
from typing import NoReturn

from redis.exceptions import RedisError

from grounding.engines.base import DeviceMemory, OnDevice
from grounding.errors import (
    EXIT_SETTINGS,
    DeadlinePassed,
    DeviceBroken,
    EngineAway,
    GroundingError,
    SettingError,
    fault_of,
)
from grounding.jobs.connection import REDIS_BACKOFF, check_keeping, connect
from grounding.jobs.heartbeat import Heartbeat
from grounding.jobs.metrics import CounterBuffer, MeteredEngine, MeteredFetcher
from grounding.jobs.operating.progress import note_progress
from grounding.jobs.operating.thumbnails import AnswerRecorder
from grounding.jobs.outbox.delivery import Delivery
from grounding.jobs.payloads import build, restore
from grounding.jobs.queues import Queues
from grounding.jobs.reconciler import Reconciler
from grounding.jobs.slots import ExclusiveRunner, Leases, Slots
from grounding.jobs.store import MAX_DEATHS, NOTED, Claim, JobStore, QueueName, StoreLimits
from grounding.media.memory import memory_limit, resident_bytes
from grounding.pipeline import TaskResult, WorkerContext, predict
from grounding.settings import Settings
from grounding.tasks import Task, model_version
from grounding.waiting import Unwanted, now_and_then

log = logging.getLogger(__name__)

LoadContext = Callable[[Settings, Callable[..., None]], WorkerContext]

EXIT_FORCED = 1
EXIT_NO_MODEL = 3
EXIT_DEVICE = 4
SIGNAL_SECONDS = 0.5
AWAY_SECONDS = 3.0
"""How long a slot rests after the model's server answered none of its requests."""
DRAIN_SECONDS = 85.0
"""How long running jobs may take once the process is to end; it would be killed after 100 s."""


class _Cancelled(Unwanted):
    """The job was dropped while it ran: it has ended, and nothing is to be written."""


class _Ending(Unwanted):
    """The process is to end before the job could: another takes it."""


class JobRunner:
    """Runs one job per slot: claims it, predicts, and writes its result or its failure."""

    def __init__(
        self,
        owner: str,
        store: JobStore,
        context: WorkerContext,
        settings: Settings,
    ) -> None:
        self.leases = Leases(store, owner)
        self._owner = owner
        self._store = store
        self._settings = settings
        self._is_draining = False
        self._ends = math.inf
        self._queues = Queues(store.redis)
        self._exclusive = ExclusiveRunner()
        self._counters = CounterBuffer(store.redis)
        films = context.film_reader
        self._recorder = AnswerRecorder(store.redis, settings.shown_answers)
        self._context = replace(
            context,
            engine=MeteredEngine(context.engine, self._counters),
            fetcher=MeteredFetcher(context.fetcher, self._counters),
            films=replace(films, fetcher=MeteredFetcher(films.fetcher, self._counters)),
        )

    def run(self, key: str) -> None:
        """Run the job `key`, unless it is finished or another worker holds it.

        A key may be queued twice; the claim is exclusive.
        """
        claim = self._store.claim(key, self._owner)
        if claim is None:
            return
        try:
            check = now_and_then(partial(self._check_wanted, claim))
            turn = self._exclusive.enter(alone=claim.alone, urgent=claim.urgent, check=check)
            with self.leases.hold(key), turn:
                # After a long wait and an outage of Redis the lease may be lost.
                if not claim.alone or self._store.start_alone(key, self._owner):
                    self._answer(claim)
        except EngineAway as exc:
            self._postpone(claim, exc)
        except DeadlinePassed as exc:
            self._let_go(claim, exc)
        except _Ending:
            log.info("task %s: given back, since this process ends before it could", claim.task)
            self._give_back(claim)
        except _Cancelled:
            log.info("task %s: cancelled while it ran", claim.task)
        self._counters.flush()

    def drain(self) -> None:
        """Let requests fail instead of waiting for a server that is away.

        Their jobs are released, so that another worker takes them at once.
        """
        self._is_draining = True
        self._context.engine.drain()

    def hurry(self) -> None:
        """Release what still runs `DRAIN_SECONDS` from now; a signal handler may call this."""
        self._ends = time.monotonic() + DRAIN_SECONDS

    def close(self) -> None:
        """Close the engine, and write the counts that are still in memory."""
        self._context.engine.close()
        self._counters.flush()

    def _answer(self, claim: Claim) -> None:
        """Predict, and write the result or the failure.

        Raises `EngineAway` if the job may wait, `DeadlinePassed` if nobody waits for it,
        `_Cancelled` and `_Ending`.
        """
        try:
            result = self._predict(claim)
            self._write(claim, partial(self._finish, claim.key, result))
            self._recorder.note(claim.payload, result)  # it never raises
        except DeviceBroken as exc:
            _exit_broken(exc)
        except (DeadlinePassed, Unwanted):
            raise
        except GroundingError as exc:
            if isinstance(exc, EngineAway) and (self._is_draining or not claim.waited):
                raise
            log.warning("task %s: %s (%s)", claim.task, exc, exc.code)
            self._fail(claim, exc)
        except Exception as exc:  # the worker's edge: a bug costs one task, no more
            log.exception("task %s: a fault of this program", claim.task)
            self._fail(claim, fault_of(exc))

    def _finish(self, key: str, result: TaskResult) -> bool:
        left_out, dropped = result.left_out.stored(), result.dropped
        return self._store.finish(key, result.prediction, result.verdict, left_out, dropped)

    def _predict(self, claim: Claim) -> TaskResult:
        task = build(Task, restore(claim))
        self._check_version(task)
        note = partial(note_progress, self._store.redis, claim.key)
        context = replace(
            self._context,
            urgent=claim.urgent,
            on_progress=note,
            check_wanted=partial(self._check_wanted, claim),
            deadline=math.inf if claim.deadline is None else claim.deadline,
        )
        result = predict(task, context)
        if result.dropped:
            counts = ", ".join(f"{number} {reason}" for reason, number in result.dropped.items())
            log.info("task %s: left out %s", task.id, counts)
        self._counters.add({NOTED + name: number for name, number in result.warnings.items()})
        return result

    def _check_wanted(self, claim: Claim) -> None:
        """Raise `DeadlinePassed` or `_Cancelled` where nobody wants the answer any more.

        Also `_Ending`, where it would not come.
        """
        if time.monotonic() > self._ends:
            raise _Ending
        if claim.deadline is not None and time.monotonic() > claim.deadline:
            raise DeadlinePassed()
        try:
            if self._store.is_known(claim.key):
                return
        except RedisError as exc:  # nobody can have cancelled it meanwhile
            log.warning("task %s: whether it is still wanted waits for Redis: %s", claim.task, exc)
            return
        raise _Cancelled

    def _check_version(self, task: Task) -> None:
        """Refuse a task for another model version: its prediction would carry the wrong name."""
        version = model_version(self._settings, task.label_config, task.extra_params)
        if task.model_version != version:
            raise GroundingError(
                f"the task is for {task.model_version}, this worker answers as {version}",
                code="model_differs",
                hint="Give the server and its workers the same settings",
            )

    def _postpone(self, claim: Claim, error: EngineAway) -> None:
        """Return a job to the bulk queue because the model's server is away.

        A job that may have crashed the server fails when that has happened too often.
        """
        log.warning("task %s waits for the server: %s (%s)", claim.task, error, error.code)
        try:
            if self._is_draining:
                self._give_back(claim)
                return
            if self._store.postpone(claim.key, self._owner, suspect=error.suspect) >= MAX_DEATHS:
                self._store.fail(claim.key, error)
            else:
                self._queues.put(QueueName.BULK, [claim.key], first=True)
        except RedisError as exc:  # then its lease expires, or the reconciler queues it
            log.warning("task %s was not put back: %s", claim.task, exc)
        time.sleep(AWAY_SECONDS)

    def _let_go(self, claim: Claim, error: DeadlinePassed) -> None:
        """Drop a job that nobody waits for; one that somebody asked again meanwhile is queued."""
        log.info("task %s: ended: %s", claim.task, error.cause)
        self._give_back(claim)
        with suppress(RedisError):  # then the reconciler drops it
            self._store.cancel_unwaited()

    def _give_back(self, claim: Claim) -> None:
        """Make a job pending again, without blame."""
        try:
            self._store.release([claim.key], self._owner)
        except RedisError as exc:  # then its lease expires
            log.warning("task %s was not put back: %s", claim.task, exc)

    def _fail(self, claim: Claim, error: GroundingError) -> None:
        self._write(claim, lambda: self._store.fail(claim.key, error))

    def _write(self, claim: Claim, write: Callable[[], bool]) -> None:
        """Write an outcome, however long Redis is away: it cost a model call."""
        for failures in count():
            try:
                write()
            except RedisError as exc:
                log.warning("task %s: its outcome waits for Redis: %s", claim.task, exc)
                time.sleep(REDIS_BACKOFF.delay(failures))
            else:
                return


class Worker:
    """One worker process. `load` builds its context and may take minutes."""

    def __init__(self, settings: Settings, url: str, load: LoadContext) -> None:
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._settings = settings
        self._load = load
        self._connect = partial(connect, url, mends=True)
        self._redis = self._connect()
        self._store = JobStore(self._redis, StoreLimits.of(settings))
        self._heartbeat = Heartbeat(self._redis, self.name, settings.model_name)
        self._runner: JobRunner | None = None
        self._signals: SimpleQueue[int] = SimpleQueue()
        self._stop_requested = False

    def run(self) -> int:
        """Work until SIGTERM; return 0, 2 for a wrong setting, or 3 without a model.

        SIGTERM finishes the running jobs, and so does memory beyond GROUNDING_MAX_WORKER_RSS. A
        second SIGTERM releases them for other workers and exits at once with 1. A broken device
        exits with 4, a hanging one with 1: Python finishes nothing then, so the leases expire.
        """
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._on_signal)
        self._heartbeat.start()
        try:
            runner = self._load_runner()
        except GroundingError as exc:
            self._heartbeat.update(phase="failed", done=None, detail=str(exc))
            return EXIT_SETTINGS if isinstance(exc, SettingError) else EXIT_NO_MODEL
        self._serve(runner)
        return 0

    def _check_queue(self) -> None:
        """Log what is unsafe about the queue's server; `SettingError` where it loses tasks."""
        try:
            for note in check_keeping(self._redis, self._settings):
                log.warning("%s", note)
        except RedisError as exc:  # /ready says it when Redis is there
            log.warning("the queue's server was not checked: %s", exc)

    def _load_runner(self) -> JobRunner:
        self._check_queue()
        context = self._load(self._settings, self._heartbeat.update)
        self._runner = JobRunner(self.name, self._store, context, self._settings)
        self._check_memory_limit()
        engine = context.engine
        self._heartbeat.measure = lambda: (
            (engine.memory() if isinstance(engine, OnDevice) else None) or _own_memory()
        )
        return self._runner

    def _serve(self, runner: JobRunner) -> None:
        """Run jobs until a signal, then stop each part after those that use it."""
        reconciler = Reconciler(self._redis, self._store)
        delivery = Delivery.of(self._settings, self._redis)
        slots = Slots(self._connect, self._work, self._slot_counts())
        background = [reconciler, delivery] if delivery else [reconciler]
        for part in (runner.leases, *background, slots):
            part.start()
        self._heartbeat.update(phase="ready", done=1.0, detail=self._settings.model_name)
        self._await_signal()
        slots.stop()
        runner.drain()
        slots.join()
        for part in (*background, runner.leases, self._heartbeat):
            part.stop()
        runner.close()

    def _slot_counts(self) -> dict[QueueName, int]:
        return {
            QueueName.BULK: self._settings.bulk_slots,
            QueueName.INTERACTIVE: self._settings.interactive_slots,
        }

    def _work(self, key: str) -> None:
        if self._runner is not None:  # slots start after it is loaded
            self._runner.run(key)
        self._recycle_if_grown()

    def _await_signal(self) -> None:
        """Return when a signal has come.

        In short waits, because Python runs a signal handler only between its own steps: a signal
        that comes just before the thread blocks is handled when the wait ends.
        """
        while True:
            with suppress(Empty):
                self._signals.get(timeout=SIGNAL_SECONDS)
                return

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._stop_requested:
            self._exit_at_once()
        self._stop_requested = True
        self._signals.put(signum)  # the only kind of queue that a signal handler may use
        if self._runner is None:
            sys.exit(0)  # still loading: no job is running
        self._runner.hurry()

    def _exit_at_once(self) -> NoReturn:
        try:
            if self._runner is not None:
                self._runner.leases.release()
        except RedisError as exc:  # then they expire
            log.warning("the leases were not released: %s", exc)
        os._exit(EXIT_FORCED)

    def _check_memory_limit(self) -> None:
        """Refuse a memory limit below what the loaded model takes: each job would exceed it."""
        if 0 < self._settings.max_worker_rss <= (taken := resident_bytes()):
            raise SettingError(
                f"GROUNDING_MAX_WORKER_RSS is below the {taken} bytes that the loaded model takes",
                hint="Raise it, or set it to 0",
            )

    def _recycle_if_grown(self) -> None:
        """Stop this process if its memory exceeds the limit; its supervisor starts a new one."""
        if 0 < self._settings.max_worker_rss < (taken := resident_bytes()):
            log.warning("memory has grown to %d bytes: this worker ends for a new one", taken)
            self._signals.put(signal.SIGTERM)


def _own_memory() -> DeviceMemory:
    """Return how much of what it may use this process uses: where the model is on no GPU."""
    return DeviceMemory("this process", resident_bytes(), memory_limit())


def _exit_broken(error: DeviceBroken) -> NoReturn:
    """Exit; the leases expire, so that the running jobs run alone next and show the culprit."""
    log.critical("%s; this process ends", error)
    logging.shutdown()
    os._exit(EXIT_DEVICE)
