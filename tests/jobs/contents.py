"""What Redis holds of a job store, for tests to look at."""

from __future__ import annotations

from typing import Any

from redis import Redis

from grounding.jobs import scripts
from grounding.jobs.keys import redis_key
from grounding.jobs.store import PENDING, JobStore

GRACE_SECONDS = scripts.GRACE_MS / 1000
"""How long the reconciler leaves a job alone that is on its way."""


def pending_keys(store: JobStore) -> set[str]:
    """Return the unfinished jobs."""
    keys: Any = store.redis.zrange(PENDING, 0, -1)
    return {key.decode() for key in keys}


def blob_bytes(redis: Redis) -> int:
    """Return the bytes that all blobs together are said to have."""
    count: Any = redis.get(redis_key("blob_bytes"))
    return int(count or 0)
