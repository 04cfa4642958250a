"""One thread that owns the model: what waits, what runs next, and what becomes of failures.

A model must not be shared between threads, because it keeps the last call's positions on itself,
and one step costs nearly the same for one row as for eight. So all requests meet here, in one
queue: interactive ones first, equals in the order of submission. This module knows no model: a
`DecodeLoop` runs the requests, whatever they are.
"""

from __future__ import annotations

import copy
import faulthandler
import heapq
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, count
from typing import Generic, Protocol, TypeVar

from grounding.engines.base import Priority, on_cancel, resolve
from grounding.errors import DeadlinePassed, DeviceBroken, EngineError, GroundingError

log = logging.getLogger(__name__)

GATHER_SECONDS = 0.01
"""How long an idle loop waits for one more request: a third of one step of a 7B model."""

AHEAD = 8
"""Waiting requests that the loop hears of, so that it can prepare them."""

STDERR = 2

R = TypeVar("R")
A = TypeVar("A")
A_co = TypeVar("A_co", covariant=True)


class DecodeLoop(Protocol[R, A_co]):
    """Runs requests on the model, several at a time; requests are told apart by identity.

    One thread calls `admit`, `expect` and `step`. After an error of `step` nothing runs any more.
    """

    @property
    def joins(self) -> bool:
        """Whether requests join what runs; if not, they are gathered for a moment."""
        ...

    @property
    def room(self) -> int:
        """How many more requests may run now."""
        ...

    def admit(self, requests: Sequence[R]) -> int:
        """Take the first requests, as many as may run together now, and return how many."""
        ...

    def expect(self, requests: Sequence[R]) -> None:
        """Hear which requests wait and are likely to be admitted next, in order.

        Where nothing runs or waits any more it hears of none.
        """
        ...

    def step(self) -> Sequence[tuple[R, A_co]]:
        """Go on with what runs, and return each request that has finished with its answer.

        An admitted request finishes in some step, unless it is evicted.
        """
        ...

    def evict(self, request: R) -> None:
        """End a request at its next token; any thread may call it, even during `step`.

        Does nothing for a request that has finished.
        """
        ...

    def close(self) -> None:
        """End the loop's own threads; nothing runs any more."""
        ...


@dataclass(slots=True, eq=False)
class Pending(Generic[R, A]):
    """A request on its way to its outcome, which nobody waits for after `deadline`."""

    request: R
    priority: Priority = Priority.BULK
    future: Future[A] = field(default_factory=Future)
    deadline: float = math.inf

    @property
    def is_late(self) -> bool:
        """Whether the deadline, in seconds of `time.monotonic`, has passed."""
        return self.deadline <= time.monotonic()


class Watchdog:
    """Ends this process with status 1, all stacks on stderr, `seconds` after the last step.

    Nothing else gets a GPU out of a call that never returns. The clock runs in a thread of C that
    needs no interpreter lock, so it fires even while native code holds that lock, where no Python
    timer, signal handler or exception could run. Whoever started the process starts it again; its
    leases expire, and other workers take up its jobs.

    It watches only inside `watching`. With 0 seconds it never fires. A process has one such
    clock, so only one thread may use it.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Expect the block, or each step in it, to end within the time."""
        self.step()
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()

    def step(self) -> None:
        """Restart the clock: the work makes progress."""
        if self._seconds:
            # By its number, because a replaced sys.stderr may have no file descriptor.
            faulthandler.dump_traceback_later(self._seconds, exit=True, file=STDERR)


class Scheduler(Generic[R, A]):
    """Feeds a decode loop from many threads' requests; the thread starts at once.

    `watchdog` ends the process where a step hangs.
    """

    def __init__(self, loop: DecodeLoop[R, A], watchdog: Watchdog | None = None) -> None:
        self._loop = loop
        self._watchdog = watchdog or Watchdog(0)
        self._changed = threading.Condition()
        self._waiting: list[tuple[Priority, int, Pending[R, A]]] = []
        self._retries: deque[list[Pending[R, A]]] = deque()
        self._running: dict[int, Pending[R, A]] = {}
        self._isolated = False
        self._arrivals = count()
        self._closed = False
        self._end = EngineError("the model is being unloaded", hint="Ask again once it is loaded")
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    def submit(self, pending: Sequence[Pending[R, A]]) -> None:
        """Queue requests; their futures get the answer, or the error that concerns them alone.

        Requests that fail together are halved until the cause stands alone, whether it is too
        large for the memory or fails in another way; only `DeviceBroken` concerns all at once.
        One whose deadline passes is ended at the next step, with `DeadlinePassed`.
        A foreign error becomes `EngineError`, and so does the end by `close`; a fault outside the
        model's step, after which nothing is answered any more, is `DeviceBroken`.
        """
        with self._changed:
            if accepted := not self._closed:
                for one in pending:
                    heapq.heappush(self._waiting, (one.priority, next(self._arrivals), one))
                self._changed.notify_all()
        for one in pending:
            if accepted:
                on_cancel(one.future, partial(self._drop, one))
            else:
                resolve(one.future, copy.copy(self._end))

    def close(self) -> None:
        """Evict what runs, fail all that is unfinished with `EngineError`, end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            running = list(self._running.values())
        for one in running:
            self._loop.evict(one.request)
        self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        try:
            while self._admit():
                self._stop_late()
                outcome = self._attempt()
                if isinstance(outcome, GroundingError):
                    self._fail(outcome)
                else:
                    self._finish(outcome)
        except Exception as exc:  # without this thread nothing is ever answered again
            log.exception("the model's thread has ended")
            with self._changed:
                self._closed = True
                self._end = DeviceBroken(f"the model's thread has ended: {type(exc).__name__}")
        self._abandon()

    def _admit(self) -> bool:
        """Wait for work and start what may run now; False once the scheduler is closed."""
        with self._changed:
            if not self._has_work():
                self._loop.expect(())
            self._changed.wait_for(self._has_work)
            if self._running and self._isolated:
                return not self._closed  # a group that failed before runs alone
            self._isolated = bool(self._retries) and not self._running
            if not self._isolated:
                self._gather()
            if self._closed:
                return False
            if self._isolated:
                self._start_retry()
            else:
                self._start_waiting()
            return True

    def _has_work(self) -> bool:
        return bool(self._closed or self._running or self._retries or self._waiting)

    def _gather(self) -> None:
        """Let the requests of an idle loop wait a moment for more, while there is room."""
        if self._loop.joins:
            return
        while not (self._running or self._closed) and len(self._waiting) < self._loop.room:
            if not self._changed.wait(GATHER_SECONDS):
                return

    def _start_retry(self) -> None:
        group = self._retries.popleft()
        if rest := self._start(group):
            self._retries.appendleft(rest)

    def _start_waiting(self) -> None:
        room = min(self._loop.room, len(self._waiting))
        entries = [heapq.heappop(self._waiting) for _ in range(room)]
        rest = set(self._start([one for _, _, one in entries]))
        for entry in entries:
            if entry[-1] in rest:
                heapq.heappush(self._waiting, entry)
        following = heapq.nsmallest(AHEAD, self._waiting)
        self._loop.expect([one.request for *_, one in following if not one.future.cancelled()])

    def _start(self, group: Sequence[Pending[R, A]]) -> list[Pending[R, A]]:
        """Admit the first of a group that are not cancelled; return those without room."""
        alive = [one for one in group if not one.future.cancelled()]
        try:
            taken = self._loop.admit([one.request for one in alive]) if alive else 0
        except BaseException:
            self._retries.appendleft(alive)
            raise
        self._running |= {id(one.request): one for one in alive[:taken]}
        return alive[taken:]

    def _stop_late(self) -> None:
        """End what nobody waits for any more, whether it runs, waits or failed in a group."""
        with self._changed:
            running = [one for one in self._running.values() if one.is_late]
            waiting = [entry for entry in self._waiting if entry[-1].is_late]
            failed = [one for group in self._retries for one in group if one.is_late]
            for one in running:
                del self._running[id(one.request)]
            if waiting:
                self._waiting = [entry for entry in self._waiting if entry not in waiting]
                heapq.heapify(self._waiting)
            if failed:
                rests = ([one for one in group if one not in failed] for group in self._retries)
                self._retries = deque(rest for rest in rests if rest)
        for one in running:
            self._loop.evict(one.request)
        for one in (*running, *failed, *(one for *_, one in waiting)):
            resolve(one.future, DeadlinePassed())

    def _attempt(self) -> Sequence[tuple[R, A]] | GroundingError:
        """Return what has finished, or what went wrong; the error itself is not kept.

        An exception holds the frames it passed through, and these hold the batch's tensors: a
        smaller batch could not use their memory.
        """
        try:
            with self._watchdog.watching():
                return self._loop.step()
        except GroundingError as exc:
            return copy.copy(exc)
        # The model thread's edge: whatever one batch raises, the thread must go on.
        except Exception as exc:
            log.exception("the model failed on %d requests", len(self._running))
            return EngineError(f"the model failed: {type(exc).__name__}: {_read_first_line(exc)}")

    def _finish(self, finished: Sequence[tuple[R, A]]) -> None:
        for request, answer in finished:
            with self._changed:
                pending = self._running.pop(id(request), None)
            if pending:
                resolve(pending.future, answer)

    def _fail(self, error: GroundingError) -> None:
        """Halve the group that failed; fail it where halving cannot help."""
        with self._changed:
            group = list(self._running.values())
            self._running.clear()
            if len(group) > 1 and not (isinstance(error, DeviceBroken) or self._closed):
                half = len(group) // 2
                self._retries.extendleft([group[half:], group[:half]])
                return
        for one in group:
            resolve(one.future, error)

    def _drop(self, cancelled: Pending[R, A]) -> None:
        """Evict a request if it runs; one that waits is left out when its turn comes."""
        with self._changed:
            if self._running.pop(id(cancelled.request), None):
                self._loop.evict(cancelled.request)

    def _abandon(self) -> None:
        with self._changed:
            waiting = [one for _, _, one in sorted(self._waiting, key=lambda entry: entry[:2])]
            unfinished = [*self._running.values(), *chain(*self._retries), *waiting]
            self._running.clear()
            self._retries.clear()
            self._waiting.clear()
        for one in unfinished:
            resolve(one.future, copy.copy(self._end))


def _read_first_line(exc: Exception) -> str:
    return next(iter(str(exc).splitlines()), "")
