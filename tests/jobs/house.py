"""A ledger with jobs owed to a loopback Label Studio, and a delivery whose rounds are a test's."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from redis import Redis

from grounding.jobs.metrics import describe_queue
from grounding.jobs.outbox.backoff import TROUBLES
from grounding.jobs.outbox.delivery import Delivery
from grounding.jobs.outbox.outbox import Outbox
from grounding.jobs.store import DELIVERIES, OWED, Job, JobStore, QueueName, job_key
from grounding.labelstudio.client.api import Api
from grounding.labelstudio.client.importing import Importer
from tests.faults.label_studio import CONTROL, TOKEN, Studio

PROJECT = "7.1795316671"
NUMBER = 7
VERSION = "shapes-1"


def prediction(number: int, control: str = CONTROL) -> dict[str, Any]:
    region = {"from_name": control, "value": {"x": number}}
    return {"result": [region], "score": 0.5, "model_version": VERSION}


class House:
    """A ledger with jobs owed to a Label Studio, and a delivery whose rounds are ours to start."""

    def __init__(self, redis: Redis, studio: Studio, token: str = TOKEN) -> None:
        self.redis = redis
        self.studio = studio
        self.store = JobStore(redis)
        self.entries = Outbox(redis)
        self.delivery = Delivery(redis, Importer(Api(studio.url, token)))
        studio.add(NUMBER, range(1000))

    def owe(self, *numbers: int, **changes: Any) -> list[str]:
        """Accept a job a task and finish it, when its request has ended; return the keys."""
        keys = self.accept(*numbers)
        for key, number in zip(keys, numbers, strict=True):
            self.store.finish(key, prediction(number) | changes, "found")
        return keys

    def accept(self, *numbers: int, wait: float | None = 0) -> list[str]:
        jobs = [Job(str(n), QueueName.BULK, PROJECT, {"id": n}) for n in numbers]
        self.store.accept(jobs, wait=wait)
        return [job.key for job in jobs]

    def answered(self, keys: Sequence[str], *, asked: float = 0, to: str = "BULK") -> list[str]:
        """Ask as Label Studio does, and return the keys that are answered."""
        return list(self.entries.answer(keys, PROJECT, asked=asked, to=to))

    def later(self) -> None:
        """Let all holds and waits run out, and what was pushed grow old."""
        for key in self.redis.zrangebyscore(OWED + PROJECT, "-inf", "(+inf"):
            self.redis.zadd(OWED + PROJECT, {key: int(time.time() * 1000) - 1000})
        for name in self.redis.scan_iter(job_key("*")):
            for field in ("closed", "answered"):
                if self.redis.hexists(name, field):
                    self.redis.hset(name, field, 1)
        self.redis.delete(TROUBLES)

    def pass_time(self, ms: int) -> None:
        """Let so much time pass for what is to fall due, and for what waits after a trouble."""
        for key in self.redis.zrangebyscore(OWED + PROJECT, "-inf", "(+inf"):
            self.redis.zincrby(OWED + PROJECT, -ms, key)
        self.redis.delete(TROUBLES)

    def outcomes(self) -> dict[str, int]:
        counted = self.store.counters().items()
        return {k.removeprefix(DELIVERIES): n for k, n in counted if k.startswith(DELIVERIES)}

    def project(self) -> dict[str, Any]:
        (shown,) = describe_queue(self.store)["projects"]
        return dict(shown)
