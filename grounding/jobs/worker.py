"""The model process: loads the model once, then answers jobs until it is told to stop."""

from __future__ import annotations

import logging
import os
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType
from typing import NoReturn

from redis.exceptions import RedisError

from grounding.errors import (
    EXIT_SETTINGS,
    DeviceBroken,
    EngineAway,
    GroundingError,
    SettingError,
)
from grounding.jobs.connection import connect
from grounding.jobs.heartbeat import Heartbeat
from grounding.jobs.leases import ExclusiveRunner, Leases
from grounding.jobs.metrics import MeteredEngine, MeteredFetcher
from grounding.jobs.outbox.delivery import Delivery
from grounding.jobs.payloads import build, restore
from grounding.jobs.queues import Queues
from grounding.jobs.reconciler import Reconciler
from grounding.jobs.slots import Slots
from grounding.jobs.store import DROPPED, MAX_DEATHS, NOTED, Claim, JobStore, QueueName, StoreLimits
from grounding.pipeline import TaskResult, WorkerContext, predict
from grounding.settings import Settings
from grounding.tasks import Task

log = logging.getLogger(__name__)

LoadContext = Callable[[Settings, Callable[..., None]], WorkerContext]

EXIT_FORCED = 1
EXIT_NO_MODEL = 3
EXIT_DEVICE = 4
REDIS_RETRY_SECONDS = 0.3
SIGNAL_SECONDS = 0.5
AWAY_SECONDS = 3.0
"""How long a slot rests after the server would have none of its questions."""


class Worker:
    """One model process. `load` brings the engine and may take minutes."""

    def __init__(self, settings: Settings, url: str, load: LoadContext) -> None:
        self._settings = settings
        self._load = load
        self._redis = connect(url)
        self.name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._store = JobStore(self._redis, StoreLimits.of(settings))
        self._leases = Leases(self._store, self.name)
        self._queues = Queues(self._redis)
        self._runner = ExclusiveRunner()
        self._heartbeat = Heartbeat(self._redis, self.name, settings.model_name)
        self._reconciler = Reconciler(self._redis, self._store)
        self._delivery = Delivery.of(settings, self._redis)
        counts = {
            QueueName.BULK: settings.bulk_slots,
            QueueName.INTERACTIVE: settings.interactive_slots,
        }
        self._slots = Slots(lambda: connect(url), self._work, counts)
        self._signals: SimpleQueue[int] = SimpleQueue()
        self._asked_to_stop = False

    def run(self) -> int:
        """Work until SIGTERM; return the exit status: 0, 2 for a wrong setting, 3 without a model.

        SIGTERM finishes the jobs in hand, and so does a memory grown beyond
        GROUNDING_MAX_WORKER_RSS; a second SIGTERM frees them for others and ends at once, with 1.
        A broken device ends the process with 4, and a hanging one with 1: neither lets Python
        finish anything, so the leases lapse.
        """
        for name in (signal.SIGTERM, signal.SIGINT):
            signal.signal(name, self._on_signal)
        self._heartbeat.start()
        try:
            tools = self._load(self._settings, self._heartbeat.tell)
            self._tools = replace(
                tools,
                engine=MeteredEngine(tools.engine, self._store),
                fetcher=MeteredFetcher(tools.fetcher, self._store),
            )
            self._check_room()
        except GroundingError as exc:
            self._heartbeat.tell(phase="failed", done=None, detail=str(exc))
            return EXIT_SETTINGS if isinstance(exc, SettingError) else EXIT_NO_MODEL
        self._serve()
        return 0

    def _serve(self) -> None:
        self._leases.start()
        self._reconciler.start()
        if self._delivery is not None:
            self._delivery.start()
        self._slots.start()
        self._heartbeat.tell(phase="ready", done=1.0, detail=self._settings.model_name)
        self._await_signal()
        self._slots.stop()
        self._tools.engine.drain()
        self._slots.join()
        self._reconciler.stop()
        if self._delivery is not None:
            self._delivery.stop()
        self._leases.stop()
        self._heartbeat.stop()
        self._tools.engine.close()

    def _await_signal(self) -> None:
        """Wait to be told to stop.

        In short waits, since Python runs a signal's handler between its own steps: one that comes
        just before the thread falls asleep is handled when it wakes.
        """
        while True:
            with suppress(Empty):
                self._signals.get(timeout=SIGNAL_SECONDS)
                return

    def _check_room(self) -> None:
        """Refuse a limit that the loaded model exceeds: each task would end the process."""
        if 0 < self._settings.max_worker_rss <= (taken := _resident_bytes()):
            raise SettingError(
                f"GROUNDING_MAX_WORKER_RSS is below the {taken} bytes that the loaded model takes",
                hint="Raise it, or set it to 0",
            )

    def _recycle_if_grown(self) -> None:
        """End this process in good order if its memory has grown too large; another one follows."""
        if 0 < self._settings.max_worker_rss < (taken := _resident_bytes()):
            log.warning("memory has grown to %d bytes: this process ends, for a new one", taken)
            self._signals.put(signal.SIGTERM)

    def _work(self, key: str) -> None:
        claim = self._store.claim(key, self.name)
        if claim is None:
            return  # finished, or in another's hands: a key may be queued twice
        try:
            turn = self._runner.enter(alone=claim.alone, urgent=claim.urgent)
            with self._leases.hold(key), turn:
                # It may have waited for long, and lost its lease to a Redis that was away.
                if not claim.alone or self._store.start_alone(key, self.name):
                    self._answer(claim)
        except EngineAway as exc:
            self._postpone(key, exc)
        self._recycle_if_grown()

    def _answer(self, claim: Claim) -> None:
        """Answer one job, or write why not. Raises `EngineAway` where it may be asked later."""
        number = claim.payload.get("id")
        try:
            task = build(Task, restore(claim))
            self._check_version(task)
            grounded = predict(task, replace(self._tools, urgent=claim.urgent))
            self._report(task, grounded)
            self._write(
                lambda: self._store.finish(claim.key, grounded.prediction, grounded.verdict)
            )
        except DeviceBroken as exc:
            _end_broken(exc)
        except GroundingError as exc:
            if isinstance(exc, EngineAway) and (self._asked_to_stop or not claim.waited):
                raise
            log.warning("task %s: %s (%s)", number, exc, exc.code)
            self._fail(claim, exc)
        except Exception as exc:  # the worker's edge: a fault of ours costs one task, no more
            log.exception("task %s: a fault of this program", number)
            fault = GroundingError(f"a fault of this program ({type(exc).__name__})", code="fault")
            self._fail(claim, fault)

    def _postpone(self, key: str, error: EngineAway) -> None:
        """Put a job back into the queue for which the model's server is away.

        One that may have brought it down is dead when that has happened too often.
        """
        log.warning("a task waits for the server: %s (%s)", error, error.code)
        try:
            if self._asked_to_stop:
                self._store.release([key], self.name)
                return
            if self._store.postpone(key, self.name, suspect=error.suspect) >= MAX_DEATHS:
                self._store.fail(key, error)
            else:
                self._queues.put(QueueName.BULK, [key], first=True)
        except RedisError as exc:  # then its lease lapses, or the reconciler finds it
            log.warning("a job was not put back: %s", exc)
        time.sleep(AWAY_SECONDS)

    def _check_version(self, task: Task) -> None:
        """Refuse a task that was asked of another model: the answer would pass for that one's."""
        mine = self._settings.model_version(task.label_config, task.extra_params)
        if task.model_version != mine:
            raise GroundingError(
                f"the task is for {task.model_version}, this worker answers as {mine}",
                code="model_differs",
                hint="Give the server and its workers the same settings",
            )

    def _fail(self, claim: Claim, error: GroundingError) -> None:
        self._write(lambda: self._store.fail(claim.key, error, waited=claim.waited))

    def _write(self, result: Callable[[], bool]) -> None:
        """Write a result, however long Redis is away: it cost a model call."""
        while True:
            try:
                result()
            except RedisError as exc:
                log.warning("a result waits for Redis: %s", exc)
                time.sleep(REDIS_RETRY_SECONDS)
            else:
                return

    def _report(self, task: Task, grounded: TaskResult) -> None:
        if grounded.dropped:
            counts = ", ".join(f"{count} {reason}" for reason, count in grounded.dropped.items())
            log.info("task %s: left out %s", task.id, counts)
        tallies = {DROPPED: grounded.dropped, NOTED: grounded.warnings}
        try:
            for prefix, tally in tallies.items():
                for name, count in tally.items():
                    self._store.count(prefix + name, count)
        except RedisError as exc:  # a count is not worth a task
            log.warning("what was left out of task %s is not counted: %s", task.id, exc)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if self._asked_to_stop:
            self._end_at_once()
        self._asked_to_stop = True
        self._signals.put(signum)  # of all queues and events, only this one may be set from here
        if not hasattr(self, "_tools"):
            sys.exit(0)  # still loading: nothing is in hand

    def _end_at_once(self) -> NoReturn:
        try:
            self._leases.release()
        except RedisError as exc:  # then they lapse
            log.warning("the leases were not freed: %s", exc)
        os._exit(EXIT_FORCED)


def _resident_bytes() -> int:
    """Return how much memory this process has in use; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _end_broken(error: DeviceBroken) -> NoReturn:
    """End the process: its leases lapse, so that what it held runs alone and the cause is found."""
    log.critical("%s; this process ends", error)
    logging.shutdown()
    os._exit(EXIT_DEVICE)
