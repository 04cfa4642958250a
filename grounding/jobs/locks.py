"""What the locks in Redis have in common: each is set for a short term, and none outlasts it."""

from __future__ import annotations

from typing import Any

from redis import Redis


def shorten(redis: Redis, lock: str, term_ms: int) -> None:
    """Let a lock run no longer than one is set for: Redis's clock has been set back since."""
    left: Any = redis.pttl(lock)
    if left > term_ms:
        redis.pexpire(lock, term_ms)
