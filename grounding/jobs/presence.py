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
from typing import Literal

from redis import Redis
from redis.exceptions import RedisError

from grounding.jobs.ledger import PREFIX

log = logging.getLogger(__name__)

WORKERS = PREFIX + "worker:"
PERIOD_SECONDS = 3.0
LOG_SECONDS = 5.0
TTL_SECONDS = 12
"""A worker silent for this long counts as gone: four periods."""


@dataclass(frozen=True, slots=True)
class Report:
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


class Presence:
    """Publishes this worker's report every few seconds, and at once when it changes."""

    def __init__(self, redis: Redis, worker: str, model: str) -> None:
        self._redis = redis
        self._report = Report(worker, model)
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
            self._redis.delete(WORKERS + self._report.worker)
        except RedisError as exc:  # then it lapses
            log.warning("the report was not taken back: %s", exc)

    def tell(self, **changes: object) -> None:
        """Change the report (its fields by name), publish it, and log it now and then."""
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
            self._redis.set(WORKERS + self._report.worker, text, ex=TTL_SECONDS)
        except RedisError as exc:  # Redis may be away for a while; the next period tells it
            log.warning("presence waits for Redis: %s", exc)

    def _loop(self) -> None:
        while not self._stopped.wait(PERIOD_SECONDS):
            self._publish()


def reports(redis: Redis) -> list[Report]:
    """Return what every living worker says of itself."""
    keys = list(redis.scan_iter(match=WORKERS + "*", count=1000))
    found = redis.mget(keys) if keys else []
    told = [Report(**json.loads(text)) for text in found if text is not None]
    return sorted(told, key=lambda report: report.worker)


def any_ready(redis: Redis) -> bool:
    """Say whether some worker has its model loaded."""
    return any(report.phase == "ready" for report in reports(redis))


def readiness(workers: Sequence[Report]) -> str:
    """Return "ready" where some worker is, or else why none is."""
    if any(worker.phase == "ready" for worker in workers):
        return "ready"
    if not workers:
        return "no worker is running. Start one with `python -m grounding worker`"
    return min(workers, key=lambda one: one.phase != "failed").line
