"""The last answers that the operator's page shows: each a small picture and what was found on it.

A bounded number, each for an hour, in Redis's memory. What is large is the picture, a JPEG of a few
kilobytes; the places stay as Label Studio has them, in percent, and the page draws them.
"""

from __future__ import annotations

import json
import math
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from redis import Redis

from grounding.errors import DataError
from grounding.jobs.keys import redis_key
from grounding.jobs.operating import scripts
from grounding.jobs.payloads import build

KEPT_SECONDS = 3600
MAX_BYTES = 65_536
"""Largest picture and longest result that are kept."""


@dataclass(frozen=True, slots=True)
class LastAnswer:
    """One answer: whose it is, when it came in Unix seconds, its result, and its picture's key.

    `size` is that of the upright original, in pixels.
    """

    key: str
    project: str
    task: int | None
    at: float
    size: Sequence[int]
    result: Sequence[Mapping[str, Any]]


class LastAnswers:
    """The last `most` answers of all projects, over one Redis connection pool."""

    def __init__(self, redis: Redis, most: int) -> None:
        self._redis = redis
        self._most = most
        self._keep = scripts.KEEP_ANSWER.bind(redis)

    def keep(
        self,
        task: tuple[str, int | None],
        size: tuple[int, int],
        result: list[dict[str, Any]],
        picture: bytes,
    ) -> None:
        """Keep the answer to a task of a project, in place of the oldest; not one too large.

        Raises `RedisError`, also where Redis's memory is used up.
        """
        project, number = task
        facts = LastAnswer(
            secrets.token_urlsafe(9), project, number, time.time(), size, tuple(result)
        )
        answer = json.dumps(asdict(facts), separators=(",", ":"))
        if len(answer) <= MAX_BYTES and len(picture) <= MAX_BYTES:
            kept = {"most": self._most, "seconds": KEPT_SECONDS}
            self._keep(key=facts.key, answer=answer, picture=picture, **kept)

    def read(self) -> list[LastAnswer]:
        """Return the answers, the latest first; not what another release wrote in another way."""
        if not self._most:
            return []
        rows: Any = self._redis.lrange(redis_key("answers"), 0, self._most - 1)
        return [found for row in rows if (found := _read(row)) is not None]

    def picture(self, key: str) -> bytes | None:
        """Return the picture under `key`, a JPEG; None where it is kept no more."""
        found = self._redis.get(redis_key("thumbnail", key=key)) if self._most else None
        return found if isinstance(found, bytes) else None


def _read(row: bytes) -> LastAnswer | None:
    try:
        found = build(LastAnswer, json.loads(row))
    except (ValueError, AttributeError, RecursionError, DataError):
        return None
    return found if _is_sound(found) else None


def _is_sound(one: LastAnswer) -> bool:
    has_names = isinstance(one.key, str) and isinstance(one.project, str)
    has_time = isinstance(one.at, int | float) and 0 < one.at < math.inf
    has_lists = isinstance(one.size, list) and isinstance(one.result, list)
    return has_names and has_time and has_lists and len(one.size) == 2 and _are_sides(one.size)


def _are_sides(size: Sequence[object]) -> bool:
    return all(isinstance(side, int | float) and 0 < side < math.inf for side in size)
