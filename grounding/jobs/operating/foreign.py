"""Takes out of Redis what others wrote under the queue's keys, so that it stops nobody for ever.

A key of another type, or a count that is no number, makes every script fail that meets it, and each
round of the reconciler with it. Redis counts the commands that it refuses: only when that number
has grown, all keys of the queue are looked at. What is there is not ours, and is removed, with one
line in the log for each; a job that has lost its record by this fails at the next sweep.
"""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

from redis import Redis

from grounding.jobs.keys import PREFIX, TYPES, text
from grounding.jobs.operating import scripts

log = logging.getLogger(__name__)

COMMANDS = ("cmdstat_evalsha", "cmdstat_hincrby")
"""Commands that fail at a count that is no number; scripts that the server lacks do not count."""
LONGEST_PAUSE = 600.0
SHORTEST_PAUSE = 5.0
SHARE = 0.02
"""Shortest and longest time between two looks, and the part of the time that they may take."""
BATCH = 1000
COUNTS = ("counters", "totals", "configs", "unfinished")
"""Hashes of integers that scripts add to."""
JOB_NUMBERS = ("blob", "deaths", "suspected", "askers", "lost", "due", "held_until", "answered")
"""Fields of a job's record that scripts reckon with."""

_INTEGER = re.compile(rb"-?\d{1,18}")


class ForeignKeys:
    """What is not ours under the queue's keys; one for each process that looks."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._remove = scripts.REMOVE_FOREIGN.bind(redis)
        self._remove_numbers = scripts.REMOVE_NO_NUMBERS.bind(redis)
        self._refused: int | None = None
        self._next = 0.0

    def remove(self) -> bool:
        """Remove what is foreign if Redis has refused commands since the last look; say if any was.

        A job may have lost its record by it, or its place in a list.
        """
        refused, now = self._read_refused(), time.monotonic()
        if refused == self._refused or now < self._next:
            return False
        first, self._refused = self._refused is None, refused
        found = self._look() if refused or not first else 0
        took = time.monotonic() - now
        self._next = now + min(max(SHORTEST_PAUSE, took / SHARE), LONGEST_PAUSE)
        return found > 0

    def _read_refused(self) -> int:
        errors: Any = self._redis.info("errorstats")
        wrong, unknown = (
            errors.get(f"errorstat_{name}", {}).get("count", 0)
            for name in ("WRONGTYPE", "NOSCRIPT")
        )
        calls: Any = self._redis.info("commandstats")
        failed = sum(calls.get(name, {}).get("failed_calls", 0) for name in COMMANDS)
        return int(wrong + failed - unknown)

    def _look(self) -> int:
        found = 0
        names = self._redis.scan_iter(match=f"{PREFIX}*", count=BATCH)
        for batch in _batches(name for name in names if b"\n" not in name):  # no key of ours
            found += self._check_types(batch)
            self._check_numbers(batch)
        return found

    def _check_types(self, names: list[bytes]) -> int:
        """Remove those of `names` whose type is another's; return how many."""
        known = [name for name in names if _family(name) in TYPES]
        kinds = "\n".join(TYPES[_family(name)] for name in known)
        removed: Any = self._remove(names=b"\n".join(known), kinds=kinds)
        for name, kind in zip(removed[::2], removed[1::2], strict=True):
            log.error(
                "%s was a %s of another program, and is removed: see that nothing else writes to "
                "the queue's Redis",
                text(name),
                text(kind),
            )
        return len(removed) // 2

    def _check_numbers(self, names: list[bytes]) -> None:
        for name in names:
            family = _family(name)
            if family in COUNTS:
                rows: Any = self._redis.hgetall(name)
                strange = [field for field, value in rows.items() if not _INTEGER.fullmatch(value)]
                self._drop_fields(name, strange)
            elif family == "blob_bytes":
                held: Any = self._redis.get(name)
                if held is not None and not _INTEGER.fullmatch(held):
                    self._redis.delete(name)
            elif family == "finishes":
                times: Any = self._redis.lrange(name, 0, -1)
                if not all(map(_INTEGER.fullmatch, times)):
                    self._redis.delete(name)
        self._check_jobs([name for name in names if _family(name) == "job"])

    def _check_jobs(self, names: list[bytes]) -> None:
        removed = self._remove_numbers(names=b"\n".join(names), fields=json.dumps(JOB_NUMBERS))
        if removed:
            log.error("%d values of tasks that are no numbers are removed", removed)

    def _drop_fields(self, name: bytes, fields: list[Any]) -> None:
        if fields:
            self._redis.hdel(name, *fields)
            log.error(
                "%s held %d values that are no numbers; they are removed", text(name), len(fields)
            )


def _family(name: bytes) -> str:
    """Return the first word of a key behind the prefix."""
    return text(name).removeprefix(PREFIX).partition(":")[0]


def _batches(names: Iterable[bytes]) -> Iterator[list[bytes]]:
    rest = iter(names)
    while batch := list(islice(rest, BATCH)):
        yield batch
