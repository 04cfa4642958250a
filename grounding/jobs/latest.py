"""The newest question of each annotator on each task: nobody looks at the answer to an older one.

Label Studio's page takes the newest answer only, and does not tell us that it gave up waiting.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from grounding.jobs.store import PREFIX, JobStore

KEPT_SECONDS = 120
"""Longer than any question may wait."""


@dataclass(frozen=True, slots=True)
class Requester:
    """Who asks about what: a user, by what Label Studio calls him, and a task of a project."""

    project: str
    task: int | None
    user: str

    @property
    def slot(self) -> str:
        """The Redis key; nobody's address is to be read there."""
        who = f"{self.project} {self.task} {self.user}".encode(errors="surrogatepass")
        return f"{PREFIX}newest:{hashlib.sha256(who).hexdigest()[:40]}"


class LatestRequests:
    """Which job is the newest question of each asker; one whose user is unknown has none."""

    def __init__(self, store: JobStore) -> None:
        self._store = store

    def enter(self, asker: Requester, key: str) -> None:
        """Note that `key` is the newest, and drop the one before it, if no worker has it yet."""
        if not asker.user:
            return
        before = self._store.redis.set(asker.slot, key, ex=KEPT_SECONDS, get=True)
        if isinstance(before, bytes) and before.decode() != key:
            self._store.cancel([before.decode()])

    def is_replaced(self, asker: Requester, key: str) -> bool:
        """Say whether another than `key` is the newest by now."""
        latest = self._store.redis.get(asker.slot) if asker.user else None
        return latest is not None and latest != key.encode()
