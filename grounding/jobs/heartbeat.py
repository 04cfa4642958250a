"""The status that each worker process publishes in Redis: loading its model, ready or failed.

The web process reads it for `/ready` and never waits for a worker. Workers of an older or newer
release may publish other fields and phases: reading accepts all of them.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from grounding.engines.base import DeviceMemory
from grounding.jobs.keys import json_object, text
from grounding.jobs.store import PREFIX

log = logging.getLogger(__name__)

WORKERS = PREFIX + "worker:"
NAMES = PREFIX + "workers"
"""The set of workers that may have a status: scanning a million keys for them takes long."""
PERIOD_SECONDS = 3.0
LOG_SECONDS = 5.0
TTL_SECONDS = 12
"""A worker that is silent for four periods counts as gone."""
FAILED_TTL_SECONDS = 90
"""How long a failure is shown: `up` starts the worker again within a minute."""
MAX_BYTES = 2**53
"""More than any memory has; JSON's readers are exact up to it."""
UNKNOWN = "unknown"
"""The phase of a worker whose status cannot be read."""


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """The status of one worker on the machine `host`.

    `phase` is "starting", "downloading", "loading", "ready" or "failed"; other releases may have
    more. `done` is the progress in 0..1, or None if unknown. `obstacle` is why it answers nothing
    until a person has helped, though it works; empty where there is none. The memory is that of
    `device`, in bytes; 0 where it is unknown.
    """

    worker: str
    model: str = ""
    host: str = ""
    phase: str = "starting"
    done: float | None = None
    detail: str = ""
    obstacle: str = ""
    device: str = ""
    memory_used: int = 0
    memory_total: int = 0

    @classmethod
    def parse(cls, worker: str, published: bytes) -> WorkerStatus:
        """Return the status that `worker` has `published`; never raises.

        Fields that are unknown are ignored, and those that are missing or of another type have
        their defaults. If it is no JSON object, the phase is "unknown".
        """
        fields = json_object(published)
        return cls(
            worker,
            model=_text(fields, "model"),
            host=_text(fields, "host"),
            phase=_text(fields, "phase") or UNKNOWN,
            done=_fraction(fields.get("done")),
            detail=_text(fields, "detail"),
            obstacle=_text(fields, "obstacle"),
            device=_text(fields, "device"),
            memory_used=_bytes(fields, "memory_used"),
            memory_total=_bytes(fields, "memory_total"),
        )

    @property
    def is_ready(self) -> bool:
        """Whether it answers tasks."""
        return self.phase == "ready" and not self.obstacle

    @property
    def line(self) -> str:
        """Phase, progress and details on one line."""
        done = "" if self.done in (None, 1.0) else f" {self.done:.0%}"
        return f"{self.phase}{done} {self.detail}".strip()


class Heartbeat:
    """Publishes this worker's status every few seconds, and at once when it changes."""

    def __init__(self, redis: Redis, worker: str, model: str, *, host: str = "") -> None:
        self._redis = redis
        self._status = WorkerStatus(worker, model, host or socket.gethostname())
        self._changing = threading.Lock()
        self._stopped = threading.Event()
        self._logged = 0.0
        self.measure: Callable[[], DeviceMemory | None] = lambda: None
        """Asked for the memory each time that the status is published."""

    def start(self) -> None:
        """Publish, and start the thread that repeats it."""
        with self._changing:
            self._publish()
        threading.Thread(target=self._loop, name="heartbeat", daemon=True).start()

    def stop(self) -> None:
        """Stop publishing, and withdraw the status unless it is a failure."""
        with self._changing:  # what is being published now would come back after the withdrawal
            self._stopped.set()
        if self._status.phase == "failed":
            return
        try:
            # Whoever reads the names next removes this one from them.
            self._redis.delete(WORKERS + self._status.worker)
        except RedisError as exc:  # then it expires
            log.warning("the worker's status was not withdrawn: %s", exc)

    def update(self, **changes: object) -> None:
        """Change the status (its fields by name), publish it, and log it if it is news."""
        with self._changing:  # several slots may report an outage of a server at once
            before, self._status = self._status, replace(self._status, **changes)  # type: ignore[arg-type]
            self._publish()
        now = time.monotonic()
        if self._status.phase != before.phase or now - self._logged >= LOG_SECONDS:
            self._logged = now
            level = logging.ERROR if self._status.phase == "failed" else logging.INFO
            log.log(level, "%s", self._status.line)

    def _publish(self) -> None:
        if self._stopped.is_set():
            return
        try:
            text = json.dumps(asdict(self._measured()))
            kept = FAILED_TTL_SECONDS if self._status.phase == "failed" else TTL_SECONDS
            pipe = self._redis.pipeline()
            pipe.set(WORKERS + self._status.worker, text, ex=kept)
            pipe.sadd(NAMES, self._status.worker)
            pipe.execute()
        except RedisError as exc:  # the next period publishes it
            log.warning("the worker's status waits for Redis: %s", exc)

    def _measured(self) -> WorkerStatus:
        memory = self.measure()
        if memory is None:
            return self._status
        return replace(
            self._status,
            device=memory.device,
            memory_used=memory.used,
            memory_total=memory.total,
        )

    def _loop(self) -> None:
        while not self._stopped.wait(PERIOD_SECONDS):
            try:
                with self._changing:
                    self._publish()
            except Exception:  # if this thread ended, a running worker would count as gone
                log.exception("the worker's status was not published; trying again")


def worker_statuses(redis: Redis) -> list[WorkerStatus]:
    """Return the status of every running worker, sorted by name."""
    members: Any = redis.smembers(NAMES)
    names = sorted(text(name) for name in members)
    texts: Any = redis.mget([WORKERS + name for name in names]) if names else []
    gone = [name for name, text in zip(names, texts, strict=True) if text is None]
    if gone:  # a worker that returns at this moment adds its name again within a period
        redis.srem(NAMES, *gone)
    published = zip(names, texts, strict=True)
    return [WorkerStatus.parse(name, text) for name, text in published if text is not None]


def any_ready(redis: Redis) -> bool:
    """Return whether some worker answers tasks."""
    return any(status.is_ready for status in worker_statuses(redis))


def readiness(workers: Sequence[WorkerStatus]) -> str:
    """Return "ready" if some worker is, else the reason why none is."""
    if any(worker.is_ready for worker in workers):
        return "ready"
    if not workers:
        return (
            "no worker is running yet. One that starts takes some seconds; if none was started: "
            "`python -m grounding worker`"
        )
    # A worker that is starting says more than one that failed before it.
    nearest = min(workers, key=lambda one: one.phase == "failed")
    return nearest.obstacle or nearest.line


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value if isinstance(value, str) else ""


def _bytes(fields: Mapping[str, Any], name: str) -> int:
    value = fields.get(name)
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return value if is_count and 0 <= value <= MAX_BYTES else 0  # type: ignore[operator,return-value]


def _fraction(value: object) -> float | None:
    """Return a progress in 0..1; None for anything else, such as NaN, which JSON cannot carry."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and 0 <= value <= 1 else None  # type: ignore[operator,arg-type]
