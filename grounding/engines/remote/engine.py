"""The engine behind HTTP: any server that speaks OpenAI's chat completions, or DashScope's own.

The pictures travel as data URIs at the exact size that the model sees. A request is tried
again until it is answered or its time is up, because an outage of a minute must not cost
thousands of tasks.

One thread runs an event loop, in which each request is a task: a request that waits for its turn
or its retry holds neither a thread nor a connection, and cancelling it is cancelling its task.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import json
import logging
import queue
import secrets
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial

from grounding.engines.base import Completion, ModelRequest, Priority, on_cancel, resolve
from grounding.engines.remote.client import Client, DataUris, Endpoint, read_completion
from grounding.engines.remote.failures import Failure, Period, Refusal, explain, judge
from grounding.engines.remote.servers import RequestFormat
from grounding.errors import EngineAway, EngineError, GroundingError, TaskError
from grounding.qwen.profiles import Profile
from grounding.retry import Backoff

log = logging.getLogger(__name__)

BACKOFF = Backoff(0.5, 30.0)
"""Between the tries of one request."""

PICTURE = f"picture-{secrets.token_hex(16)}"
"""Stands for a data URI while the rest of a request is written as JSON; no text can hold it."""

REPORT_SECONDS = 5.0
"""How often an outage is reported at most: dozens of requests meet it at once."""

ENCODERS = 4
"""Threads that encode pictures and look up hosts."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """For how many seconds the engine tries to get an answer.

    `timeout` is for one try, as `Client` says; `bulk` is for all tries of a bulk request,
    `interactive` for those of an interactive one.
    """

    timeout: float = 120
    bulk: float = 600
    interactive: float = 60

    def seconds(self, priority: Priority) -> float:
        """Return how long a request of this priority is tried."""
        return self.interactive if priority is Priority.INTERACTIVE else self.bulk


class PrioritySemaphore:
    """Lets `places` tasks in at once; those that wait enter by priority, then by arrival.

    A server queues what exceeds its batch, in its own order. Waiting on this side is what lets an
    interactive request pass bulk ones at any server. For one event loop.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._arrivals = itertools.count()
        self._waiting: list[tuple[Priority, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def enter(self, priority: Priority) -> AsyncIterator[None]:
        """Run the block inside, once there is a place."""
        await self._acquire(priority)
        try:
            yield
        finally:
            self._release()

    async def _acquire(self, priority: Priority) -> None:
        if self._free:
            self._free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._arrivals), turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # cancelled between its turn and its entry
                self._release()
            raise

    def _release(self) -> None:
        while self._waiting:
            turn = heapq.heappop(self._waiting)[-1]
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


Report = tuple[str, bool]
"""Why answers are missing, and whether a person has to help."""


class OutageReports:
    """Reports why answers are missing, and their return, in words and not too often.

    `report` is called with the words, and with "" once answers come again, and with whether a
    person has to help before any request is answered. It runs in a thread of its own, so that no
    request waits for it or fails with it. While a call lasts, only the latest report waits. The
    methods are for one thread, that of the event loop.
    """

    def __init__(self, report: Callable[[str, bool], None]) -> None:
        """Start the thread."""
        self._report = report
        self._reported = -REPORT_SECONDS
        self._present = False
        self._waiting: queue.Queue[Report | None] = queue.Queue(maxsize=1)
        threading.Thread(target=self._run, name="outage-reports", daemon=True).start()

    def add(self, failure: Failure) -> None:
        """Report a failure, unless one was reported just now."""
        now = time.monotonic()
        if now - self._reported >= REPORT_SECONDS:
            self._reported, self._present = now, True
            log.warning("%s", failure.error)
            self._send((str(failure.error), failure.lasting))

    def clear(self) -> None:
        """Report that answers come, if an outage was reported before."""
        if self._present:
            self._present = False
            self._send(("", False))

    def close(self) -> None:
        """End the thread after the call that runs."""
        self._send(None)

    def _send(self, report: Report | None) -> None:
        with suppress(queue.Empty):
            self._waiting.get_nowait()
        self._waiting.put_nowait(report)

    def _run(self) -> None:
        while (report := self._waiting.get()) is not None:
            try:
                self._report(*report)
            except Exception:  # the edge to the worker: a later one is still reported
                log.exception("an outage of the server, or its end, was not reported")


class RemoteEngine:
    """Answers requests through a server; an `Engine`.

    `on_outage` is called with the reason why answers are missing, at most every few seconds,
    and with "" once they come; and with whether a person has to help first. It may block or fail:
    no request depends on it.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        request_format: RequestFormat,
        profile: Profile,
        policy: RetryPolicy | None = None,
        on_outage: Callable[[str, bool], None] = lambda _why, _lasting: None,
    ) -> None:
        """Start the engine's thread; the first request is the first to reach the server."""
        self.profile = profile
        self._format = request_format
        self._endpoint = endpoint
        self._policy = policy or RetryPolicy()
        self._client = Client(endpoint, self._policy.timeout)
        self._uris = DataUris(request_format.encoding)
        self._places = PrioritySemaphore(endpoint.in_flight)
        self._outage = OutageReports(on_outage)
        self._answered: float | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining, self._closing = asyncio.Event(), asyncio.Event()
        self._lock = threading.Lock()
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(ENCODERS, "model-server"))
        self._thread = threading.Thread(target=self._run, name="model-server", daemon=True)
        self._thread.start()

    def submit(self, requests: Sequence[ModelRequest]) -> list[Future[Completion]]:
        """Return a future for each request, in order; see `Engine`.

        A future raises `ImageError` where the pixels do not have a model frame's size,
        `TaskError` where the server refuses this request alone, and `EngineError` where it was
        not answered in the time of `RetryPolicy`: `EngineAway` where that may not be the
        request's fault. An interactive one fails at once where the server has never answered and
        refuses us altogether.
        """
        futures: list[Future[Completion]] = [Future() for _ in requests]
        calls = list(zip(requests, futures, strict=True))
        with self._lock:
            if accepted := not self._closed:
                self._loop.call_soon_threadsafe(self._start, calls)
        if not accepted:
            for future in futures:
                resolve(future, _closed_error())
        return futures

    def drain(self) -> None:
        """Try nothing again: from now on a failed try is final, with `EngineAway`."""
        with self._lock:
            if not self._closed:
                self._loop.call_soon_threadsafe(self._draining.set)

    def close(self) -> None:
        """Close the connections and end the thread; what is unfinished fails with `EngineAway`."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._loop.call_soon_threadsafe(self._closing.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        await self._closing.wait()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._outage.close()
        await self._client.close()

    def _start(self, calls: Sequence[tuple[ModelRequest, Future[Completion]]]) -> None:
        for request, future in calls:
            task = self._loop.create_task(self._serve_request(request, future))
            self._tasks.add(task)
            task.add_done_callback(partial(self._finish, future))
            on_cancel(future, partial(self._cancel, task))

    def _finish(self, future: Future[Completion], task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        resolve(future, _closed_error())  # a task without an outcome was cancelled by `_serve`

    def _cancel(self, task: asyncio.Task[None]) -> None:
        with self._lock:
            if not self._closed:  # else `_serve` cancels it
                self._loop.call_soon_threadsafe(task.cancel)

    async def _serve_request(self, request: ModelRequest, future: Future[Completion]) -> None:
        """Set the outcome of `future`: the answer, or the error."""
        try:
            outcome: Completion | GroundingError = await self._answer(request)
        except GroundingError as exc:
            outcome = exc
        # The engine's edge: a fault of ours must not leave a submitter waiting for ever.
        except Exception as exc:
            log.exception("a request failed in this program")
            outcome = EngineError(f"a fault of this program ({type(exc).__name__})")
        resolve(future, outcome)

    async def _answer(self, request: ModelRequest) -> Completion:
        """Try until there is an answer; raise when the time is up."""
        request.check(self.profile.factor)
        begun, failures = time.monotonic(), list[Failure]()
        while True:
            try:
                completion = await self._try(request)
            except Failure as exc:
                failures.append(exc)
            else:
                self._outage.clear()
                return completion
            self._outage.add(failures[-1])
            if self._is_hopeless(request, failures[-1]):
                raise failures[-1].error
            if not await self._pause(failures, begun + self._policy.seconds(request.priority)):
                period = Period(begun, time.monotonic(), self._answered)
                raise judge(failures, period, draining=self._draining.is_set())

    async def _try(self, request: ModelRequest) -> Completion:
        """Ask once. Raises `Failure`, or `TaskError` where this request alone is refused."""
        async with self._places.enter(request.priority):
            answer = await self._client.post(self._format.path, await self._encode(request))
        if isinstance(answer, Refusal):
            raise self._explain(answer)
        try:
            completion = read_completion(answer, native=self._format.native)
        except EngineError as exc:
            raise Failure(exc) from exc
        self._answered = time.monotonic()
        return completion

    def _explain(self, refusal: Refusal) -> Failure | TaskError:
        return explain(
            refusal,
            model=self._format.model,
            secret=self._endpoint.api_key,
            task_alone=self._answered is not None,
        )

    def _is_hopeless(self, request: ModelRequest, failure: Failure) -> bool:
        """Say whether an annotator would wait in vain: the server refuses us from the start."""
        first = self._answered is None
        return failure.lasting and first and request.priority is Priority.INTERACTIVE

    async def _pause(self, failures: Sequence[Failure], end: float) -> bool:
        """Wait before the next try; False where it would begin after `end`, or while draining."""
        delay = BACKOFF.delay(len(failures) - 1, failures[-1].retry_after)
        if time.monotonic() + delay > end:
            return False
        with suppress(TimeoutError):
            async with asyncio.timeout(delay):
                await self._draining.wait()
        return not self._draining.is_set()

    async def _encode(self, request: ModelRequest) -> bytes:
        """Return the request's JSON; the data URIs go in last: they need no escaping."""
        uris = [await self._uris.get(view.pixels) for view in request.views]
        body = json.dumps(self._format.build_body(request, [PICTURE] * len(uris)))
        head, *rest = body.encode().split(PICTURE.encode())
        return b"".join([head, *itertools.chain(*zip(uris, rest, strict=True))])


def _closed_error() -> EngineAway:
    return EngineAway("the engine is closed", code=EngineError.code, hint="Ask again")
