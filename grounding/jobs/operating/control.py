"""What an operator does to a project's jobs: drop those that wait, and ask failed ones again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from redis import Redis

from grounding.jobs.keys import json_object, redis_key, text
from grounding.jobs.operating import scripts
from grounding.jobs.store import PENDING

BATCH = 500
"""Jobs that one round trip looks at: what it takes is over before anyone else would notice."""


@dataclass(frozen=True, slots=True)
class FailedTask:
    """A task that failed, as it is kept to be asked again.

    `payload` is the record of the job `key`, and empty where it was too long to be kept; `config`
    is the text of its labelling config, None where it is kept no more. `delivers` is whether Label
    Studio wants the prediction, though no request waits for it.
    """

    task: str
    key: str
    payload: Mapping[str, Any]
    config: str | None
    delivers: bool

    @property
    def is_whole(self) -> bool:
        """Whether all is there that asking again takes: a picture in the task itself is not.

        Nor is the annotator whose question it was: asked without them, it would be another one.
        """
        known = self.payload.get("data") and self.config
        return bool(known) and self.payload.get("context") is None


class ProjectControl:
    """The jobs of one project, as an operator changes them; each method may be repeated."""

    def __init__(self, redis: Redis, project: str) -> None:
        self._redis = redis
        self._project = project
        self._drop = scripts.DROP.bind(redis)
        self._reopen = scripts.REOPEN.bind(redis)
        self._forget = scripts.FORGET_FAILURE.bind(redis)

    def drop_pending(self) -> int:
        """Drop the project's bulk jobs that no worker holds, and its films; return how many.

        A film that runs ends within seconds, whatever holds it. What is dropped counts as failed
        with the code `cancelled`, and may be asked again at once. Requests that wait for it are
        answered without it.
        """
        keys: Any = self._redis.zrange(PENDING, 0, -1)
        dropped = 0
        for start in range(0, len(keys), BATCH):
            pipe = self._redis.pipeline(transaction=False)
            for key in keys[start : start + BATCH]:
                self._drop(pipe, key=text(key), project=self._project)
            dropped += sum(int(done) for done in pipe.execute())
        return dropped

    def failed(self) -> list[FailedTask]:
        """Return the project's failed tasks that are kept, the oldest first."""
        rows: Any = self._redis.zrange(redis_key("failures", project=self._project), 0, -1)
        tasks = [text(row) for row in rows]
        pipe = self._redis.pipeline(transaction=False)
        for task in tasks:
            name = redis_key("failure", project=self._project, task=task)
            pipe.hmget(name, "key", "payload", "config", "delivers")
        found = [row for row in zip(tasks, pipe.execute(), strict=True) if row[1][0] is not None]
        configs = self._read_configs({text(config) for _, (*_, config, _) in found if config})
        return [
            FailedTask(
                task,
                text(key),
                json_object(payload),
                configs.get(text(config)) if config else None,
                delivers == b"1",
            )
            for task, (key, payload, config, delivers) in found
        ]

    def _read_configs(self, digests: Iterable[str]) -> dict[str, str]:
        names = list(digests)
        texts: Any = self._redis.mget([redis_key("config", digest=name) for name in names] or ["-"])
        found = zip(names, texts, strict=False)
        return {name: text(config) for name, config in found if config is not None}

    def reopen(self, keys: Iterable[str]) -> None:
        """Forget that the jobs `keys` failed, so that they may be accepted again."""
        pipe = self._redis.pipeline(transaction=False)
        for key in keys:
            self._reopen(pipe, key=key)
        pipe.execute()

    def forget(self, tasks: Iterable[str]) -> None:
        """Take `tasks` off the list of failures."""
        pipe = self._redis.pipeline(transaction=False)
        for task in tasks:
            self._forget(pipe, project=self._project, task=task)
        pipe.execute()
