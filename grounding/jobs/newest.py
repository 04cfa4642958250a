"""The newest question of each annotator on each task: nobody looks at the answer to an older one.

Label Studio's page takes the newest answer only, and does not tell us that it gave up waiting.
"""

from __future__ import annotations

import hashlib

from redis import Redis

from grounding.jobs.ledger import PREFIX

KEPT_SECONDS = 120
"""Longer than any question may wait."""


class Newest:
    """Which job is the newest of a user on a task."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def take(self, project: str, task: int | None, user: str, key: str) -> str:
        """Note that `key` is the newest, and return the one before it; empty if there is none."""
        slot = _slot(project, task, user)
        before = self._redis.set(slot, key, ex=KEPT_SECONDS, get=True)
        return before.decode() if isinstance(before, bytes) else ""

    def is_taken(self, project: str, task: int | None, user: str, key: str) -> bool:
        """Say whether another than `key` is the newest by now."""
        newest = self._redis.get(_slot(project, task, user))
        return newest is not None and newest != key.encode()


def _slot(project: str, task: int | None, user: str) -> str:
    """Return the Redis key; people's addresses are not to be read there."""
    who = hashlib.sha256(f"{project} {task} {user}".encode()).hexdigest()[:40]
    return f"{PREFIX}newest:{who}"
