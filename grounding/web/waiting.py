"""Which requests may wait, and how long: each kind has places of its own.

A request that finds no free place is answered at once with what is ready. So annotators, tasks
being opened and Retrieve predictions never keep one another out, and the server keeps threads for
everything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from threading import BoundedSemaphore

from redis import Redis

from grounding.jobs.heartbeat import any_ready
from grounding.settings import Settings
from grounding.web.bodies import RequestKind


class Places:
    """The waiting places of one web process, by kind of request; safe to share between threads."""

    def __init__(self, settings: Settings) -> None:
        self.bounds: Mapping[RequestKind, int] = {
            RequestKind.INTERACTIVE: settings.max_interactive_requests,
            RequestKind.PAGE: settings.max_page_requests,
            RequestKind.BULK: settings.max_bulk_requests,
        }
        self._free = {kind: BoundedSemaphore(bound) for kind, bound in self.bounds.items()}

    @contextmanager
    def take(self, kind: RequestKind) -> Iterator[bool]:
        """Hold a place around the block; yield False if none was free."""
        taken = self._free[kind].acquire(blocking=False)
        try:
            yield taken
        finally:
            if taken:
                self._free[kind].release()


def deadline(kind: RequestKind, settings: Settings, redis: Redis) -> float:
    """Return how many seconds after its arrival a request is answered at the latest.

    A page gets 0 while no worker has its model loaded: it would hang for nothing.
    """
    if kind is RequestKind.PAGE and not any_ready(redis):
        return 0.0
    return {
        RequestKind.INTERACTIVE: settings.interactive_deadline,
        RequestKind.PAGE: settings.page_deadline,
        RequestKind.BULK: settings.bulk_deadline,
    }[kind]
