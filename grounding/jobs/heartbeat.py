"""What each worker process says of itself: whether its model is loading, ready or failed.

The web process reads it for `/ready`; it never loads the model or waits for it.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from redis import Redis
from redis.exceptions import RedisError

from grounding.jobs.store import PREFIX

log = logging.getLogger(__name__)

WORKERS = PREFIX + "worker:"
NAMES = PREFIX + "workers"
"""Whose reports there may be: looking for them among all keys takes long among a million jobs."""
PERIOD_SECONDS = 3.0
LOG_SECONDS = 5.0
TTL_SECONDS = 12
"""A worker silent for this long counts as gone: four periods."""
FAILED_TTL_SECONDS = 90
"""Why a worker could not start is told until its next try, which `up` makes within a minute."""


@dataclass(frozen=True, slots=True)
class WorkerStatus:
    """One worker's word: its phase, how far it is (0 to 1, None unknown), and the details."""

    worker: str
    model: str
    phase: Literal["starting", "downloading", "loading", "ready", "failed"] = "starting"
    done: float | None = None
    detail: str = ""

    @property
    def line(self) -> str:
        """The phase, how far it is and what of, for people."""
        done = "" if self.done in (None, 1.0) else f" {self.done:.0%}"
        return f"{self.phase}{done} {self.detail}".strip()


class Heartbeat:
    """Publishes this worker's report every few seconds, and at once when it changes."""

    def __init__(self, redis: Redis, worker: str, model: str) -> None:
        self._redis = redis
        self._report = WorkerStatus(worker, model)
        self._telling = threading.Lock()
        self._stopped = threading.Event()
        self._logged = 0.0

    def start(self) -> None:
        """Begin; returns at once."""
        self._publish()
        threading.Thread(target=self._loop, name="presence", daemon=True).start()

    def stop(self) -> None:
        """Publish no more, and take the report back unless it tells of a failure."""
        self._stopped.set()
        if self._report.phase == "failed":
            return
        try:
            self._redis.delete(WORKERS + self._report.worker)  # its name is dropped by who reads
        except RedisError as exc:  # then it lapses
            log.warning("the report was not taken back: %s", exc)

    def tell(self, **changes: object) -> None:
        """Change the report (its fields by name), publish it, and log it now and then."""
        with self._telling:  # slots tell what they hear of a server, several at once
            before, self._report = self._report, replace(self._report, **changes)  # type: ignore[arg-type]
            self._publish()
        now = time.monotonic()
        if self._report.phase != before.phase or now - self._logged >= LOG_SECONDS:
            self._logged = now
            level = logging.ERROR if self._report.phase == "failed" else logging.INFO
            log.log(level, "%s", self._report.line)

    def _publish(self) -> None:
        try:
            text = json.dumps(asdict(self._report))
            kept = FAILED_TTL_SECONDS if self._report.phase == "failed" else TTL_SECONDS
            pipe = self._redis.pipeline()
            pipe.set(WORKERS + self._report.worker, text, ex=kept)
            pipe.sadd(NAMES, self._report.worker)
            pipe.execute()
        except RedisError as exc:  # Redis may be away for a while; the next period tells it
            log.warning("presence waits for Redis: %s", exc)

    def _loop(self) -> None:
        while not self._stopped.wait(PERIOD_SECONDS):
            try:
                with self._telling:
                    self._publish()
            except Exception:  # without a next round a living worker would be taken for gone
                log.exception("the report was not published; it tries again")


def reports(redis: Redis) -> list[WorkerStatus]:
    """Return what every living worker says of itself, by name."""
    members: Any = redis.smembers(NAMES)
    names = sorted(name.decode() for name in members)
    found: Any = redis.mget([WORKERS + name for name in names]) if names else []
    gone = [name for name, text in zip(names, found, strict=True) if text is None]
    if gone:  # one that comes back this very moment names itself again in a period
        redis.srem(NAMES, *gone)
    return [WorkerStatus(**json.loads(text)) for text in found if text is not None]


def any_ready(redis: Redis) -> bool:
    """Say whether some worker has its model loaded."""
    return any(report.phase == "ready" for report in reports(redis))


def readiness(workers: Sequence[WorkerStatus]) -> str:
    """Return "ready" where some worker is, or else why none is."""
    if any(worker.phase == "ready" for worker in workers):
        return "ready"
    if not workers:
        return "no worker is running. Start one with `python -m grounding worker`"
    # One that is on its way says more than the failure that it may have come after.
    return min(workers, key=lambda one: one.phase == "failed").line
