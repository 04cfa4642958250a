"""The counters, and `/metrics` for Prometheus.

Workers count in memory and add to the counters in Redis once per job, so that every web process
can show the sums of all.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future
from contextlib import contextmanager
from functools import partial
from typing import Any, BinaryIO

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from redis import Redis
from redis.exceptions import RedisError

from grounding.engines.base import Completion, Engine, ModelRequest
from grounding.errors import (
    DeadlinePassed,
    EngineError,
    GroundingError,
    ImageError,
    OutOfMemory,
    TaskError,
    codes_of,
)
from grounding.jobs.heartbeat import worker_statuses
from grounding.jobs.outbox.outbox import DeliveryResult, Outbox
from grounding.jobs.queues import Queues
from grounding.jobs.store import (
    COUNTERS,
    DELIVERIES,
    DROPPED,
    FULL,
    LEASED,
    NOTED,
    PENDING,
    UNUSABLE,
    JobStore,
    State,
    milliseconds,
)
from grounding.labelstudio.controls.base import Drop
from grounding.media.fetch import Fetches
from grounding.qwen.answers import Verdict
from grounding.qwen.profiles import Profile
from grounding.qwen.reading.matches import Note
from grounding.waiting import Check, Unwanted, no_check

log = logging.getLogger(__name__)

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
"""Of `/metrics`: every version of Prometheus reads it."""
PREFIX = "grounding_"
BOUNDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
"""Upper bounds of the buckets of both histograms, in seconds."""
MODEL, FETCH = "model:", "fetch:"
"""Prefixes of the counters of completions, and of fetches; the outcome of a fetch follows."""
HANDSHAKES = "tls:"
"""Prefix of the counters of connections that failed in TLS; the reason follows."""
OUT_OF_MEMORY = "out_of_memory"
NS = 1e-9

FAULT = "fault"
FAILURES = (
    {"cancelled", "nobody_waits", "record_lost"}
    | {GroundingError.code, *GroundingError.special}
    | codes_of(TaskError, EngineError)
)
"""The codes with which a task may fail."""
FETCHES = {"ok", FAULT, "film_no_space", "film_too_large", "task_id_needed"} | codes_of(ImageError)
"""What may come of a fetch."""

LABELLED_COUNTERS: tuple[tuple[str, str, str, str, Iterable[str]], ...] = (
    ("tasks_done", f"{State.DONE}:", "verdict", "Tasks answered", Verdict),
    ("tasks_failed", f"{State.FAILED}:", "code", "Tasks that cannot be answered", FAILURES),
    (
        "attempts",
        "attempts:",
        "reason",
        "Times that a worker took a task",
        ("asked", "worker_died"),
    ),
    (
        "deliveries",
        DELIVERIES,
        "outcome",
        "Predictions for Label Studio, by what became of them",
        (*DeliveryResult, "expired"),
    ),
    (
        "requests_full",
        FULL,
        "kind",
        "Predict requests that found no free place to wait",
        ("interactive", "page", "bulk"),
    ),
    (
        "tls_failures",
        HANDSHAKES,
        "reason",
        "Connections that failed in TLS",
        ("no_tls", "untrusted", "hung_up", "stalled", "other"),
    ),
    (
        "tasks_unusable",
        UNUSABLE,
        "code",
        "Tasks of a request that could not be queued",
        ("data_missing", "data_too_deep", "data_invalid", FAULT),
    ),
    ("findings_dropped", DROPPED, "reason", "Findings that became no region", Drop),
    ("answer_warnings", NOTED, "warning", "Answers that were cut, clipped, repaired, …", Note),
)
"""Metric, prefix of its counters in Redis, the label that the rest of their names is, help, and the
label's known values: each is printed from the start, since Prometheus sees no increase in a series
that begins with 1. Another release may count more.
"""
PLAIN_COUNTERS = (
    ("tasks_accepted", "accepted", "Tasks accepted"),
    ("tasks_refused", "refused", "Tasks over a limit of their project or of memory"),
    ("leases_expired", "expired", "Leases that ran out because their worker died"),
    ("tasks_requeued", "reconciled", "Tasks that the reconciler put back into the queue"),
    ("out_of_memory", OUT_OF_MEMORY, "Model requests too large for the device, even alone"),
)
"""Metric, its counter in Redis, and help."""


class CounterBuffer:
    """Counts in memory, and adds to the counters in Redis in one round trip; thread-safe."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()

    def add(self, counts: Mapping[str, int]) -> None:
        """Add to the counts in memory."""
        with self._lock:
            self._counts.update(counts)

    def flush(self) -> None:
        """Write the counts to Redis; those that it does not take stay in memory."""
        with self._lock:
            counts, self._counts = self._counts, Counter()
        if not counts:
            return
        pipe = self._redis.pipeline()
        for name, by in counts.items():
            pipe.hincrby(COUNTERS, name, by)
        try:
            answers = pipe.execute(raise_on_error=False)
        except RedisError as exc:
            self.add(counts)
            log.debug("the counters wait for Redis: %s", exc)
            return
        told = zip(counts.items(), answers, strict=True)
        self.add({name: by for (name, by), answer in told if isinstance(answer, Exception)})


class MeteredEngine:
    """An `Engine` that counts how long each request took, from submission to completion."""

    def __init__(self, engine: Engine, counters: CounterBuffer) -> None:
        self._engine = engine
        self._counters = counters

    @property
    def profile(self) -> Profile:
        """The engine's profile."""
        return self._engine.profile

    def submit(self, requests: Sequence[ModelRequest]) -> list[Future[Completion]]:
        """Submit `requests` to the engine, and return its futures; cancelled ones do not count."""
        submitted = time.monotonic_ns()
        futures = self._engine.submit(requests)
        for future in futures:
            future.add_done_callback(partial(self._count, submitted))
        return futures

    def drain(self) -> None:
        """Drain the engine."""
        self._engine.drain()

    def close(self) -> None:
        """Close the engine."""
        self._engine.close()

    def _count(self, submitted: int, future: Future[Completion]) -> None:
        if future.cancelled():
            return
        counts = _duration(MODEL, submitted)
        if isinstance(future.exception(), OutOfMemory):
            counts[OUT_OF_MEMORY] = 1
        self._counters.add(counts)


class MeteredFetcher:
    """A fetcher that counts how long each fetch took, by outcome: "ok" or the error's code.

    One that ended because nobody wanted it any more does not count.
    """

    def __init__(self, fetcher: Fetches, counters: CounterBuffer) -> None:
        self._fetcher = fetcher
        self._counters = counters

    def fetch(self, value: str, task_id: int | None = None, check: Check = no_check) -> bytes:
        """Return what the fetcher returns, or raise what it raises."""
        with self._counted():
            return self._fetcher.fetch(value, task_id, check)

    def fetch_into(
        self, sink: BinaryIO, value: str, task_id: int | None = None, check: Check = no_check
    ) -> None:
        """Do what the fetcher does, or raise what it raises."""
        with self._counted():
            self._fetcher.fetch_into(sink, value, task_id, check)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        begun = time.monotonic_ns()
        outcome = "ok"
        try:
            yield
        except (DeadlinePassed, Unwanted):
            outcome = ""  # it says nothing of the host
            raise
        except Exception as exc:
            outcome = exc.code if isinstance(exc, GroundingError) else FAULT
            raise
        finally:
            if outcome:
                self._counters.add(_duration(f"{FETCH}{outcome}:", begun))


def _duration(prefix: str, begun: int) -> dict[str, int]:
    took = time.monotonic_ns() - begun
    bound = next((bound for bound in BOUNDS if took * NS <= bound), math.inf)
    return {prefix + _bucket(bound): 1, prefix + "ns": took}


def _bucket(bound: float) -> str:
    return "+Inf" if bound == math.inf else str(bound)


def render_metrics(store: JobStore) -> bytes:
    """Return all metrics in Prometheus' text format, of type `CONTENT_TYPE`; times in seconds."""
    registry = CollectorRegistry()
    registry.register(StoreCollector(store))
    return generate_latest(registry)


class StoreCollector(Collector):
    """Reads the metrics of all processes from Redis at each collection."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def describe(self) -> Iterable[Metric]:
        """Return nothing: registering must not read Redis."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield every metric; accepted = done + failed + pending at any moment."""
        counters, pending = self._store.read_totals()
        for name, prefix, label, text, known in LABELLED_COUNTERS:
            family = CounterMetricFamily(PREFIX + name, text, labels=[label])
            counts = {**dict.fromkeys(map(str, known), 0), **below(counters, prefix)}
            for value, count in sorted(counts.items()):
                family.add_metric([value], count)
            yield family
        for name, counter, text in PLAIN_COUNTERS:
            yield CounterMetricFamily(PREFIX + name, text, value=counters.get(counter, 0))
        yield _gauge("tasks_pending", "Tasks that are not finished", pending)
        yield from self._gauges()
        yield from _histograms(counters)

    def _gauges(self) -> Iterator[Metric]:
        redis = self._store.redis
        undelivered = sum(Outbox(redis).undelivered(self._store.limits.result_ttl).values())
        leased: Any = redis.smembers(LEASED)
        depths = {queue.value: count for queue, count in Queues(redis).depths().items()}
        workers = worker_statuses(redis)
        ready = {one.worker: int(one.is_ready) for one in workers}
        used = {one.worker: one.memory_used for one in workers}
        total = {one.worker: one.memory_total for one in workers}
        yield _gauge("tasks_undelivered", "Finished tasks that Label Studio lacks", undelivered)
        age = self._longest_wait(leased)
        yield _gauge("oldest_pending_seconds", "Age of the oldest task that no worker holds", age)
        yield _gauge("leases_active", "Tasks that workers hold", len(leased))
        yield _labelled_gauge("queue_depth", "Entries that wait in a queue", "queue", depths)
        yield _labelled_gauge("worker_ready", "1 if the worker answers tasks", "worker", ready)
        text = "Memory in use on the worker's GPU, or by the worker itself; 0 if unknown"
        yield _labelled_gauge("worker_memory_used_bytes", text, "worker", used)
        text = "Memory of the worker's GPU, or of its machine or container; 0 if unknown"
        yield _labelled_gauge("worker_memory_total_bytes", text, "worker", total)

    def _longest_wait(self, leased: Set[bytes]) -> float:
        """Return the age in seconds of the oldest job that no worker holds; 0 without one."""
        oldest: Any = self._store.redis.zrange(PENDING, 0, len(leased), withscores=True)
        waiting = (since for key, since in oldest if key not in leased)
        now = milliseconds(self._store.redis) / 1000
        return max(0.0, now - next(waiting, math.inf))


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(PREFIX + name, text, value=value)


def _labelled_gauge(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, text, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def _histograms(counters: Mapping[str, int]) -> Iterator[Metric]:
    text = "Time from submitting a model request to its completion, waiting for a batch included"
    model = HistogramMetricFamily(PREFIX + "model_request_seconds", text, labels=[])
    _add_histogram(model, [], counters, MODEL)
    yield model
    text = "Time from a task's address to the bytes of its picture"
    fetches = HistogramMetricFamily(PREFIX + "fetch_seconds", text, labels=["outcome"])
    for outcome in sorted(FETCHES | {name.split(":")[0] for name in below(counters, FETCH)}):
        _add_histogram(fetches, [outcome], counters, f"{FETCH}{outcome}:")
    yield fetches


def _add_histogram(
    family: HistogramMetricFamily, labels: list[str], counters: Mapping[str, int], prefix: str
) -> None:
    total, buckets = 0, []
    for bound in (*BOUNDS, math.inf):
        total += counters.get(prefix + _bucket(bound), 0)
        buckets.append(("+Inf" if bound == math.inf else str(float(bound)), float(total)))
    family.add_metric(labels, buckets, counters.get(prefix + "ns", 0) * NS)


def below(counters: Mapping[str, int], prefix: str) -> dict[str, int]:
    """Return the counters under `prefix`, by the rest of their names."""
    return {name.removeprefix(prefix): n for name, n in counters.items() if name.startswith(prefix)}
