"""How far the long jobs are: questions that are answered, of how many, such as those of a film."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from grounding.jobs.keys import redis_key, text

log = logging.getLogger(__name__)

KEPT_SECONDS = 3600
"""How long a note stays without a newer one: longer than a question takes."""


def note_progress(redis: Redis, key: str, done: int, total: int) -> None:
    """Note how far the job `key` is; without Redis nothing is noted, and nothing fails."""
    try:
        redis.set(redis_key("progress", key=key), f"{done}/{total}", ex=KEPT_SECONDS)
    except RedisError as exc:
        log.warning("job %s: how far it is was not noted: %s", key, exc)


def read_progress(redis: Redis, keys: Sequence[str]) -> Mapping[str, str]:
    """Return how far the jobs are that say so, such as 3/12."""
    if not keys:
        return {}
    found: Any = redis.mget([redis_key("progress", key=key) for key in keys])
    return {key: text(note) for key, note in zip(keys, found, strict=True) if note}
