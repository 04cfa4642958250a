"""One thread that answers what many threads ask, several questions at a time.

A model step costs nearly the same for one row as for eight, and a model must not be shared
between threads: it keeps the last call's positions on itself. So all questions meet here. Knows
nothing of models: `answer` is any function from questions to as many answers, in order.

Urgent questions go first, and never in one batch with others: a batch takes as long as its
longest answer, and a person waits.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from itertools import count
from typing import Generic, TypeVar

from grounding.engines.local.watchdog import Watchdog
from grounding.errors import DeviceBroken, EngineError, GroundingError

log = logging.getLogger(__name__)

GATHER_SECONDS = 0.01
"""How long a batch waits for the next question: a third of one step of a 7B model."""

Q = TypeVar("Q")
A = TypeVar("A")


CLOSE, URGENT, USUAL = range(3)
"""The ranks of what waits, the first first."""


@dataclass(slots=True)
class _Waiting(Generic[Q, A]):
    question: Q
    future: Future[A] = field(default_factory=Future)


Place = tuple[int, int, "_Waiting[Q, A] | None"]
"""A rank, a number that rises with each, and who waits; nobody, where it is for the end."""


class Batcher(Generic[Q, A]):
    """Puts questions from many threads to `answer`, at most `max_batch` at once.

    `watchdog` ends the process where `answer` hangs.
    """

    def __init__(
        self,
        answer: Callable[[Sequence[Q]], Sequence[A]],
        *,
        max_batch: int,
        watchdog: Watchdog | None = None,
    ) -> None:
        self._answer = answer
        self._max_batch = max_batch
        self._watchdog = watchdog or Watchdog(0)
        self._queue: queue.PriorityQueue[Place[Q, A]] = queue.PriorityQueue()
        self._numbers = count()
        self._gate = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    def ask(self, question: Q, *, urgent: bool = False) -> A:
        """Return the answer to `question`, or raise what `answer` raised for it alone.

        A batch that fails is halved until the culprit stands alone, be it too large for the
        memory or a stumbling block of another kind; only `DeviceBroken` concerns all at once.
        Anything foreign becomes `EngineError`. After `close`, `EngineError`.
        """
        waiting: _Waiting[Q, A] = _Waiting(question)
        with self._gate:
            if self._closed:
                raise _closing()
            rank = URGENT if urgent else USUAL
            self._queue.put((rank, next(self._numbers), waiting))
        return waiting.future.result()

    def close(self) -> None:
        """End the thread after the batch in hand; what still waits fails with `EngineError`."""
        with self._gate:
            self._closed = True
            self._queue.put((CLOSE, next(self._numbers), None))
        self._thread.join()

    def _run(self) -> None:
        while not self._closed:
            if batch := self._gather():
                self._settle(batch)
        while not self._queue.empty():
            if waiting := self._queue.get()[2]:
                waiting.future.set_exception(_closing())

    def _gather(self) -> list[_Waiting[Q, A]]:
        """Wait for a question and the company it gets in time; none where closed meanwhile."""
        batch: list[_Waiting[Q, A]] = []
        first: int | None = None
        while len(batch) < self._max_batch:
            try:
                place = self._queue.get(timeout=GATHER_SECONDS if batch else None)
            except queue.Empty:
                break
            rank, _, waiting = place
            if waiting is None:
                break
            if first is not None and rank != first:
                self._queue.put(place)  # its turn is the next
                break
            first = rank
            batch.append(waiting)
        return batch

    def _settle(self, batch: Sequence[_Waiting[Q, A]]) -> None:
        outcome = self._attempt([waiting.question for waiting in batch])
        if self._may_concern_one(outcome) and len(batch) > 1:
            half = len(batch) // 2
            self._settle(batch[:half])
            self._settle(batch[half:])
        elif isinstance(outcome, GroundingError):
            for waiting in batch:
                waiting.future.set_exception(_again(outcome))
        else:
            for waiting, answer in zip(batch, outcome, strict=True):
                waiting.future.set_result(answer)

    def _may_concern_one(self, outcome: object) -> bool:
        """Say whether the others of a failed batch may fare better: not at the model's end."""
        fault = isinstance(outcome, GroundingError) and not isinstance(outcome, DeviceBroken)
        return fault and not self._closed

    def _attempt(self, questions: Sequence[Q]) -> Sequence[A] | GroundingError:
        """Return the answers, or what went wrong; the error itself is not kept.

        An exception holds the frames it passed through, and these hold the batch's tensors: a
        smaller batch could not use their memory.
        """
        try:
            with self._watchdog.watching():
                answers = self._answer(questions)
        except GroundingError as exc:
            return _again(exc)
        except Exception as exc:  # The thread must outlive whatever one batch does to it.
            log.exception("the model failed on a batch of %d", len(questions))
            return EngineError(f"the model failed: {type(exc).__name__}: {_first_line(exc)}")
        if len(answers) != len(questions):
            return EngineError(f"{len(questions)} questions got {len(answers)} answers")
        return answers


def _again(error: GroundingError) -> GroundingError:
    """Return a fresh error like `error`: one object raised in two threads mixes their traces."""
    return type(error)(error.cause, code=error.code, hint=error.hint)


def _closing() -> EngineError:
    return EngineError("the model is being unloaded", hint="Ask again once it is loaded")


def _first_line(exc: Exception) -> str:
    return next(iter(str(exc).splitlines()), "")
