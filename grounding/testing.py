"""Helpers for tests of this project and of code that extends it: engines without a model."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from copy import copy
from itertools import takewhile

from PIL.Image import Image

from grounding.engines.base import Completion, Engine, ModelRequest, Token, resolve
from grounding.engines.detokenizer import cut
from grounding.engines.local.scheduler import Pending, Scheduler, Watchdog
from grounding.errors import GroundingError
from grounding.geometry import Frame, image_frame
from grounding.media.views import View
from grounding.qwen.profiles import PROFILES, Profile

Answers = Callable[[Sequence[ModelRequest]], Sequence[Completion]]
"""Answers a batch of requests, in order, or raises what the whole batch fails with."""


class ScriptedLoop:
    """A `DecodeLoop` whose step calls a function with the whole batch."""

    def __init__(self, answer: Answers, max_batch: int) -> None:
        self._answer = answer
        self._max_batch = max_batch
        self._batch: list[ModelRequest] = []
        self._evicted: list[ModelRequest] = []

    @property
    def joins(self) -> bool:
        """A batch that runs takes nobody in."""
        return False

    @property
    def room(self) -> int:
        """All rows, or none while a batch waits for its step."""
        return 0 if self._batch else self._max_batch

    def admit(self, requests: Sequence[ModelRequest]) -> int:
        """Take the first requests of equal priority, and return how many."""
        if self._batch:
            return 0
        alike = takewhile(lambda one: one.priority == requests[0].priority, requests)
        self._batch = list(alike)[: self._max_batch]
        return len(self._batch)

    def expect(self, requests: Sequence[ModelRequest]) -> None:
        """Do nothing: a function needs no preparation."""

    def step(self) -> list[tuple[ModelRequest, Completion]]:
        """Answer the whole batch; evicted requests are missing in the result."""
        if not self._batch:
            return []
        batch, evicted = self._batch, self._evicted
        try:
            answered = list(zip(batch, self._answer(batch), strict=True))
            return [(one, cut(got, one.stop)) for one, got in answered if not _has(evicted, one)]
        finally:
            self._batch, self._evicted = [], []

    def evict(self, request: ModelRequest) -> None:
        """Leave a request out of the step's result; the function runs on."""
        self._evicted.append(request)

    def close(self) -> None:
        """Do nothing: there is no thread."""


class ScriptedEngine:
    """An `Engine` whose completions are a function of the requests; it has no model.

    `answer` gets up to `max_batch` requests of one priority at a time, in the engine's thread.
    `requests` lists all requests in the order in which they were answered.
    """

    def __init__(
        self,
        answer: Answers,
        profile: Profile = PROFILES["qwen2.5-vl"],
        *,
        max_batch: int = 8,
        watchdog: Watchdog | None = None,
    ) -> None:
        """Start the engine's thread."""
        self.profile = profile
        self.requests: list[ModelRequest] = []
        self._answer = answer
        self._scheduler = Scheduler(ScriptedLoop(self.compute, max_batch), watchdog)

    def submit(self, requests: Sequence[ModelRequest]) -> list[Future[Completion]]:
        """Return a future for each request, in order; see `Engine`."""
        futures: list[Future[Completion]] = [Future() for _ in requests]
        ready: list[Pending[ModelRequest, Completion]] = []
        for request, future in zip(requests, futures, strict=True):
            try:
                request.check(self.profile.factor)
            except GroundingError as exc:
                resolve(future, exc)
            else:
                # A copy, because the scheduler tells requests apart by identity.
                one = Pending(copy(request), request.priority, future, request.deadline)
                ready.append(one)
        self._scheduler.submit(ready)
        return futures

    def drain(self) -> None:
        """Do nothing: each request is answered soon."""

    def close(self) -> None:
        """End the engine's thread after the current call of the function."""
        self._scheduler.close()

    def compute(self, batch: Sequence[ModelRequest]) -> Sequence[Completion]:
        """Return the function's completions of a batch; the engine's thread calls it."""
        self.requests.extend(batch)
        return self._answer(batch)


def answer_each(answer: Callable[[ModelRequest], Completion]) -> Answers:
    """Return a function of batches that answers each request by `answer`."""
    return lambda batch: [answer(one) for one in batch]


def make_completion(
    text: str, logprob: float | None = None, *, complete: bool = True
) -> Completion:
    """Return a completion whose tokens are words and spaces, all of the same log-probability.

    Without `logprob` it has no tokens.
    """
    spans = [found.span() for found in re.finditer(r"\S+|\s+", text)]
    tokens = () if logprob is None else tuple(Token(*span, logprob) for span in spans)
    return Completion(text, complete, tokens)


def ask_one(engine: Engine, request: ModelRequest) -> Completion:
    """Return the engine's completion of one request, or raise its error."""
    return engine.submit([request])[0].result()


def make_view(pixels: Image) -> View:
    """Return the view of a whole picture that already has the size that the model sees."""
    return View(pixels, Frame("model", *pixels.size), image_frame(*pixels.size))


def _has(requests: Sequence[ModelRequest], one: ModelRequest) -> bool:
    """Say whether this very request is among them; equal ones are others."""
    return any(request is one for request in requests)
