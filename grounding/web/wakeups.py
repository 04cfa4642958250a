"""Wakes the requests of a web process when the jobs that they wait for are finished.

Each process has an inbox, a list in Redis. A request registers the inbox for its jobs; finishing
or cancelling a job adds the job's key to every inbox that is registered for it. One thread per
process takes the keys and wakes the requests.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from redis.exceptions import RedisError

from grounding.jobs.connection import REDIS_BACKOFF
from grounding.jobs.keys import text
from grounding.jobs.store import PREFIX, JobStore

log = logging.getLogger(__name__)

TAKE_SECONDS = 1
"""How long one blocking read waits for a key; less than Redis may take to answer (1.5 s)."""
LEFT_SECONDS = 0.25
"""How often a waiting request looks whether its caller has hung up."""
CHECK_SECONDS = 2.0
"""How often a waiting request looks by itself, in case a wake-up was lost."""


class _Waiter:
    """One waiting request: the jobs that are not finished, and whether there is news of them."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.unfinished = set(keys)
        self.news = threading.Event()
        self.is_registered = False


class Wakeups:
    """The wake-ups of one web process; safe to wait on from many threads."""

    def __init__(self, store: JobStore) -> None:
        self._store = store
        self._inbox = f"{PREFIX}inbox:{secrets.token_hex(8)}"
        self._lock = threading.Lock()
        self._waiters: defaultdict[str, set[_Waiter]] = defaultdict(set)
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="wakeups", daemon=True)

    def start(self) -> None:
        """Start the thread that reads the inbox."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread; requests that still wait return at once."""
        self._stopped.set()
        self._notify_all()
        with suppress(RedisError):  # then the thread ends with its read
            self._store.redis.rpush(self._inbox, "")
        self._thread.join()
        with suppress(RedisError):  # then it expires
            self._store.redis.delete(self._inbox)

    def wait(
        self,
        keys: Sequence[str],
        until: float,
        report: Callable[[int], None] = lambda _: None,
        has_left: Callable[[], bool] = lambda: False,
    ) -> None:
        """Return when all jobs in `keys` are finished, at `until` (monotonic) at the latest.

        Returns also soon after `has_left` is true. `report` hears at least every two seconds how
        many are unfinished.
        """
        with self._entered(_Waiter(keys)) as waiter:
            while not self._stopped.is_set() and time.monotonic() < until and not has_left():
                waiter.news.clear()
                self._check(waiter)
                report(len(waiter.unfinished))
                if not waiter.unfinished:
                    return
                self._rest(waiter, min(until, time.monotonic() + CHECK_SECONDS), has_left)

    def _rest(self, waiter: _Waiter, until: float, has_left: Callable[[], bool]) -> None:
        """Return when there is news of `waiter`'s jobs, its caller has left, or at `until`."""
        while (left := until - time.monotonic()) > 0:
            if waiter.news.wait(min(left, LEFT_SECONDS)) or has_left():
                return

    @contextmanager
    def _entered(self, waiter: _Waiter) -> Iterator[_Waiter]:
        keys = list(waiter.unfinished)
        with self._lock:
            for key in keys:
                self._waiters[key].add(waiter)
        try:
            yield waiter
        finally:
            with self._lock:
                for key in keys:
                    self._waiters[key].discard(waiter)
                    if not self._waiters[key]:
                        del self._waiters[key]

    def _check(self, waiter: _Waiter) -> None:
        """Take the jobs that are finished out of `waiter`, after one look at Redis.

        The first look also registers the inbox, each job in one step, so that none is missed.
        While Redis is away nothing changes: accepted jobs are kept, and it may return in time.
        """
        with self._lock:
            keys = list(waiter.unfinished)
        try:
            if waiter.is_registered:
                finished = set(keys).difference(self._store.unfinished(keys))
            else:
                finished = set(self._store.watch(keys, self._inbox))
                waiter.is_registered = True
        except RedisError as exc:
            log.warning("a request waits for Redis: %s", exc)
            return
        with self._lock:
            waiter.unfinished -= finished

    def _loop(self) -> None:
        failures = 0
        while not self._stopped.is_set():
            try:
                taken: Any = self._store.redis.blpop([self._inbox], timeout=TAKE_SECONDS)
                if failures:
                    self._recover()
                failures = 0
                if taken is not None:
                    self._wake(text(taken[1]))
            except RedisError as exc:
                log.warning("wake-ups wait for Redis: %s", exc)
                self._stopped.wait(REDIS_BACKOFF.delay(failures))
                failures += 1
            except Exception:  # if this thread ended, each request would wait for its own checks
                log.exception("a wake-up failed; trying again")
                self._stopped.wait(REDIS_BACKOFF.delay(failures))
                failures += 1

    def _wake(self, key: str) -> None:
        with self._lock:
            for waiter in self._waiters.get(key, ()):
                waiter.unfinished.discard(key)
                if not waiter.unfinished:
                    waiter.news.set()

    def _recover(self) -> None:
        """After an outage, register and check anew: Redis may have lost the last second."""
        with self._lock:
            for waiter in self._all_waiters():
                waiter.is_registered = False
        self._notify_all()

    def _notify_all(self) -> None:
        with self._lock:
            for waiter in self._all_waiters():
                waiter.news.set()

    def _all_waiters(self) -> set[_Waiter]:
        return {waiter for waiters in self._waiters.values() for waiter in waiters}
