"""A job store with undelivered predictions, a loopback Label Studio, and a delivery to step."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from redis import Redis

from grounding.jobs.outbox.delivery import PAUSE, Delivery, DeliveryBackoff
from grounding.jobs.outbox.outbox import Outbox
from grounding.jobs.store import DELIVERIES, UNDELIVERED, Job, JobStore, QueueName, job_key
from grounding.labelstudio.client.api import Api, Importer
from tests.faults.label_studio import CONTROL, TOKEN, Studio

PROJECT = "7.1795316671"
NUMBER = 7
VERSION = "shapes-1"


def prediction(number: int, control: str = CONTROL) -> dict[str, Any]:
    region = {"from_name": control, "value": {"x": number}}
    return {"result": [region], "score": 0.5, "model_version": VERSION}


class OutboxRig:
    """A job store, its outbox, and a delivery to a Label Studio whose rounds a test starts."""

    def __init__(self, redis: Redis, studio: Studio, token: str = TOKEN) -> None:
        self.redis = redis
        self.studio = studio
        self.store = JobStore(redis)
        self.outbox = Outbox(redis)
        self.delivery = Delivery(redis, Importer(Api(studio.url, token)))
        studio.add(NUMBER, range(1000))

    def finish(self, *numbers: int, **changes: Any) -> list[str]:
        """Accept a job a task, and finish it after its request has ended; return the keys."""
        keys = self.accept(*numbers)
        for key, number in zip(keys, numbers, strict=True):
            self.store.finish(key, prediction(number) | changes, "found")
        return keys

    def accept(self, *numbers: int, deliver_after: float | None = 0) -> list[str]:
        jobs = [Job(str(n), QueueName.BULK, PROJECT, {"id": n}) for n in numbers]
        self.store.accept(jobs, deliver_after=deliver_after)
        return [job.key for job in jobs]

    def answer(self, keys: Sequence[str], *, asked: float = 0, to: str = "BULK") -> list[str]:
        """Ask as Label Studio does, and return the keys that are answered."""
        return list(self.outbox.answer(keys, PROJECT, asked=asked, to=to))

    def end_all_waits(self) -> None:
        """Let every hold and wait run out, and every push grow old."""
        for key in self.redis.zrangebyscore(UNDELIVERED + PROJECT, "-inf", "(+inf"):
            self.redis.zadd(UNDELIVERED + PROJECT, {key: int(time.time() * 1000) - 1000})
        for name in self.redis.scan_iter(job_key("*")):
            for field in ("held_until", "answered"):
                if self.redis.hexists(name, field):
                    self.redis.hset(name, field, 1)
        self.end_backoff()

    def pass_time(self, ms: int) -> None:
        """Let so much time pass for what falls due, and for what waits after a failure."""
        for key in self.redis.zrangebyscore(UNDELIVERED + PROJECT, "-inf", "(+inf"):
            self.redis.zincrby(UNDELIVERED + PROJECT, -ms, key)
        self.end_backoff()

    def end_backoff(self) -> None:
        self.redis.delete(PAUSE + PROJECT)

    def results(self) -> dict[str, int]:
        """Return how many entries came to each end."""
        counted = self.store.read_totals()[0].items()
        return {k.removeprefix(DELIVERIES): n for k, n in counted if k.startswith(DELIVERIES)}

    def undelivered(self) -> int:
        return self.outbox.undelivered(self.store.limits.result_ttl).get(PROJECT, 0)

    def reason(self) -> str:
        """Return why the entries cannot be delivered."""
        return DeliveryBackoff(self.redis).reasons([PROJECT])[PROJECT]
