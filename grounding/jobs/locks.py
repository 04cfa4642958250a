"""Locks and marks in Redis that last for a short time, whatever becomes of Redis's clock."""

from __future__ import annotations

from typing import Any

from redis import Redis


def shorten(redis: Redis, lock: str, term_ms: int) -> None:
    """Shorten `lock` to `term_ms` where it has longer to run: Redis's clock was set back."""
    left: Any = redis.pttl(lock)
    if left > term_ms:
        redis.pexpire(lock, term_ms)
