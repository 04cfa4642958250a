"""Asks the model about many tasks at once in this process, and keeps what was said."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from typing import Any

from grounding.engines.base import Completion, Engine, ModelRequest
from grounding.errors import GroundingError, fault_of
from grounding.pipeline import WorkerContext, predict
from grounding.qwen.profiles import Profile
from grounding.tasks import Task

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Exchange:
    """What the model was asked, and its answer as it wrote it."""

    prompt: str
    answer: str


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of a task: its prediction or the error, and what was said, in order."""

    task: Task
    prediction: dict[str, Any] | None
    error: GroundingError | None
    exchanges: tuple[Exchange, ...]
    seconds: float


@dataclass(slots=True)
class Recorder:
    """An engine that keeps the requests of one task, with their futures; it closes nothing."""

    engine: Engine
    asked: list[tuple[ModelRequest, Future[Completion]]] = field(default_factory=list)

    @property
    def profile(self) -> Profile:
        """That of the engine."""
        return self.engine.profile

    def submit(self, requests: Sequence[ModelRequest]) -> list[Future[Completion]]:
        """Submit the requests to the engine."""
        futures = self.engine.submit(requests)
        self.asked += zip(requests, futures, strict=True)
        return futures

    def drain(self) -> None:
        """Leave that to whoever owns the engine."""

    def close(self) -> None:
        """Leave that to whoever owns the engine."""

    @property
    def exchanges(self) -> tuple[Exchange, ...]:
        """Return what has been answered."""
        return tuple(
            Exchange(request.text, future.result().text)
            for request, future in self.asked
            if future.done() and not future.cancelled() and future.exception() is None
        )


def ask(task: Task, worker: WorkerContext) -> Asked:
    """Return what comes of one task; whatever it raises is part of it, and costs it alone."""
    recorder, begun = Recorder(worker.engine), time.monotonic()
    prediction, failure = None, None
    try:
        prediction = predict(task, replace(worker, engine=recorder)).prediction
    except GroundingError as error:
        failure = error
    except Exception as error:  # one task's edge: a bug costs its answer, no more
        log.exception("task %s: a fault of this program", task.id)
        failure = fault_of(error)
    return Asked(task, prediction, failure, recorder.exchanges, time.monotonic() - begun)


def ask_all(tasks: Sequence[Task], worker: WorkerContext, slots: int) -> Iterator[Asked]:
    """Yield what comes of each task as it comes, with so many in the engine at once.

    What is not begun when the caller stops is dropped.
    """
    pool = ThreadPoolExecutor(max_workers=slots)
    try:
        futures = [pool.submit(ask, task, worker) for task in tasks]
        for future in as_completed(futures):
            yield future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
