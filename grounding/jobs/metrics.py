"""How long the model and fetching take, counted in Redis where every web process can tell it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

from redis.exceptions import RedisError

from grounding.engines.base import Completion, Engine, ModelRequest
from grounding.errors import GroundingError, OutOfMemory
from grounding.jobs.store import JobStore
from grounding.media.fetch import Fetches
from grounding.qwen.profiles import Profile

log = logging.getLogger(__name__)

BOUNDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Upper bounds of the histogram's buckets, in seconds."""
MODEL, FETCH = "model:", "fetch:"
"""Before the counters of answers, and of fetches, whose outcome comes next."""
OUT_OF_MEMORY = "oom"
NS = 1e-9


class MeteredEngine:
    """An `Engine` that counts how long each request waited for its completion.

    A thread of its own counts, because futures are completed in the engine's thread, which must
    not wait for Redis.
    """

    def __init__(self, engine: Engine, store: JobStore) -> None:
        self._engine = engine
        self._store = store
        self._counting = ThreadPoolExecutor(1, "metrics")

    @property
    def profile(self) -> Profile:
        """The engine's own."""
        return self._engine.profile

    def submit(self, requests: Sequence[ModelRequest]) -> list[Future[Completion]]:
        """Return the engine's futures."""
        futures = self._engine.submit(requests)
        for future in futures:
            future.add_done_callback(partial(self._measure, time.monotonic_ns()))
        return futures

    def drain(self) -> None:
        """Drain the engine."""
        self._engine.drain()

    def close(self) -> None:
        """Close the engine, and count what it answered last."""
        self._engine.close()
        self._counting.shutdown()

    def _measure(self, begun: int, future: Future[Completion]) -> None:
        full = not future.cancelled() and isinstance(future.exception(), OutOfMemory)
        counts = _timed(MODEL, begun) | ({OUT_OF_MEMORY: 1} if full else {})
        self._counting.submit(_count, self._store, counts)


class MeteredFetcher:
    """A way to pictures that counts how long each fetch took, by what came of it."""

    def __init__(self, fetcher: Fetches, store: JobStore) -> None:
        self._fetcher = fetcher
        self._store = store

    def fetch(self, value: str, task_id: int | None = None) -> bytes:
        """Return what the fetcher returns, or raise what it raises."""
        begun = time.monotonic_ns()
        outcome = "fault"
        try:
            data = self._fetcher.fetch(value, task_id)
            outcome = "ok"
            return data
        except GroundingError as exc:
            outcome = exc.code
            raise
        finally:
            _count(self._store, _timed(f"{FETCH}{outcome}:", begun))


def _timed(prefix: str, begun: int) -> dict[str, int]:
    took = time.monotonic_ns() - begun
    bucket = next((str(bound) for bound in BOUNDS if took * NS <= bound), "+Inf")
    return {prefix + bucket: 1, prefix + "ns": took}


def _count(store: JobStore, counts: Mapping[str, int]) -> None:
    try:
        for name, by in counts.items():
            store.count(name, by)
    except RedisError as exc:  # a number less in the statistics; the answer matters more
        log.debug("a duration was not counted: %s", exc)


def histogram(counted: Mapping[str, int], prefix: str) -> Iterator[tuple[str, float]]:
    """Yield each bucket's bound and how many took no longer, from the ledger's counters."""
    total = 0
    for bound in (*map(str, BOUNDS), "+Inf"):
        total += counted.get(prefix + bound, 0)
        yield bound, total


def outcomes(counted: Mapping[str, int]) -> list[str]:
    """Return what has come of fetches so far: "ok" and the codes of errors."""
    found = {name.split(":")[1] for name in counted if name.startswith(FETCH)}
    return sorted(found)
